/** `ip address`: see rtnetlink(7), "RTM_NEWADDR". */
import { formatAddress } from '../address.ts'
import { attribute, attributes, inet, type NetlinkSocket, type Request } from './netlink.ts'
import * as uapi from './uapi.ts'

/** An address on a link. With `peer`, `prefix` is the peer's: `local peer PEER/PREFIX`. */
export interface Address {
  local: string
  prefix: number
  peer?: string
}

const CREATE = uapi.NLM_F_CREATE | uapi.NLM_F_EXCL

/** Equivalent to: ip address add LOCAL [peer PEER]/PREFIX dev INDEX */
export function addressAddition(index: number, { local, peer, prefix }: Address): Request {
  const { family, bytes } = inet(local)
  const flags = family === uapi.AF_INET6 ? uapi.IFA_F_NODAD : 0
  const body = [
    uapi.ifaddrmsg.encode({ family, prefixlen: prefix, flags, index }),
    attribute(uapi.IFA_LOCAL, bytes),
    attribute(uapi.IFA_ADDRESS, peer === undefined ? bytes : inet(peer).bytes),
  ]
  const doing = `add address ${local}${peer === undefined ? '' : ` peer ${peer}`}/${prefix}`
  return { type: uapi.RTM_NEWADDR, flags: CREATE, body, doing }
}

/** Equivalent to: ip address delete LOCAL [peer PEER]/PREFIX dev INDEX */
export const addressDeletion = (index: number, address: Address): Request => ({
  ...addressAddition(index, address),
  type: uapi.RTM_DELADDR,
  flags: 0,
  doing: `delete address ${address.local}/${address.prefix}`,
})

/**
 * Equivalent to: ip address show dev INDEX, without the addresses that the kernel made itself
 * (link-local, by SLAAC).
 */
export function addressList(netlink: NetlinkSocket, index: number): Address[] {
  return [uapi.AF_INET, uapi.AF_INET6].flatMap(family =>
    netlink.get(uapi.RTM_GETADDR, uapi.NLM_F_DUMP, uapi.ifaddrmsg.encode({ family, index })).map(decodeAddress),
  )
}

/** Reads the payload of an RTM_NEWADDR message. IPv6 leaves IFA_LOCAL out when there is no peer. */
export function decodeAddress(payload: Buffer): Address {
  const { prefixlen } = uapi.ifaddrmsg.decode(payload)
  const found = attributes(payload.subarray(uapi.ifaddrmsg.size))
  const far = found.get(uapi.IFA_ADDRESS)
  const near = found.get(uapi.IFA_LOCAL) ?? far
  if (near === undefined) throw new RangeError('Cannot decode an address without IFA_LOCAL and IFA_ADDRESS')
  const decoded: Address = { local: formatAddress(near), prefix: prefixlen }
  if (far !== undefined && !far.equals(near)) decoded.peer = formatAddress(far)
  return decoded
}
