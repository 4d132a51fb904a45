/** The library: `import { TunDevice } from 'tunlink'`. */
export type { Address } from '../linux/address-messages.ts'
export type { LinkStats } from '../linux/link.ts'
export { IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_TUN, IFF_VNET_HDR } from '../linux/uapi.ts'
export { TunDevice, type TunDeviceOptions } from './tun-device.ts'
