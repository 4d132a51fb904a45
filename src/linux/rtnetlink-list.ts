/** ip -d link show: all devices of a namespace. */
import { attributes, type NetlinkSocket } from './netlink.ts'
import { decodeLink, type Link as OneLink } from './rtnetlink.ts'
import * as uapi from './uapi.ts'

/** `running`: the device has a carrier. */
export type Link = Pick<OneLink, 'index' | 'name' | 'alias' | 'kind'> & { running: boolean }

export function linkList(netlink: NetlinkSocket): Link[] {
  return netlink.get(uapi.RTM_GETLINK, uapi.NLM_F_DUMP, uapi.ifinfomsg.encode({})).map(payload => {
    const carrier = attributes(payload.subarray(uapi.ifinfomsg.size)).get(uapi.IFLA_CARRIER)
    return { ...decodeLink(payload), running: carrier?.readUInt8() === 1 }
  })
}
