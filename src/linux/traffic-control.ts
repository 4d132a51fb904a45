/** Traffic control: the clsact qdisc and BPF filters on it, see tc(8), tc-bpf(8). */
import { attribute, attributes, type NetlinkSocket, nested, type Request, text, u32 } from './netlink.ts'
import { s32, struct, u8, u16, u32 as u32Field } from './struct.ts'
import * as uapi from './uapi.ts'

/** struct tcmsg of <linux/rtnetlink.h>: the head of every message of traffic control. */
export const tcmsg = struct({ family: u8, pad1: u8, pad2: u16, ifindex: s32, handle: u32Field, parent: u32Field, info: u32Field })

// <linux/pkt_sched.h>: the parents of a device's clsact filters.
const TC_H_CLSACT = 0xfffffff1
const CLSACT_HANDLE = 0xffff0000
export const INGRESS = 0xfffffff2 // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
export const EGRESS = 0xfffffff3 // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)
export type Hook = typeof INGRESS | typeof EGRESS

/** tcm_info of a filter: priority 1, every protocol (ETH_P_ALL in network byte order). */
const PRIORITY_1_ALL = (1 << 16) | 0x0300
const HANDLE_1 = 1

/** Equivalent to: tc qdisc add dev INDEX clsact */
export const clsactAddition = (ifindex: number): Request => ({
  type: uapi.RTM_NEWQDISC,
  flags: uapi.NLM_F_CREATE | uapi.NLM_F_EXCL,
  body: [tcmsg.encode({ ifindex, handle: CLSACT_HANDLE, parent: TC_H_CLSACT }), attribute(uapi.TCA_KIND, text('clsact'))],
  doing: 'add qdisc clsact',
})

/**
 * Equivalent to: tc filter add dev INDEX ingress|egress prio 1 handle 1 bpf direct-action
 * object-pinned ... `program` is a descriptor of this process.
 */
export const filterAddition = (ifindex: number, hook: Hook, name: string, program: number): Request => ({
  type: uapi.RTM_NEWTFILTER,
  flags: uapi.NLM_F_CREATE | uapi.NLM_F_EXCL,
  body: [
    tcmsg.encode({ ifindex, handle: HANDLE_1, parent: hook, info: PRIORITY_1_ALL }),
    attribute(uapi.TCA_KIND, text('bpf')),
    nested(
      uapi.TCA_OPTIONS,
      attribute(uapi.TCA_BPF_FD, u32(program)),
      attribute(uapi.TCA_BPF_NAME, text(name)),
      attribute(uapi.TCA_BPF_FLAGS, u32(uapi.TCA_BPF_FLAG_ACT_DIRECT)),
    ),
  ],
  doing: `add filter ${name}`,
})

/** True when the device has a clsact qdisc: tc qdisc show dev INDEX clsact. */
export const hasClsact = (netlink: NetlinkSocket, ifindex: number): boolean =>
  netlink.get(uapi.RTM_GETQDISC, uapi.NLM_F_DUMP, tcmsg.encode({ ifindex })).some(payload => {
    const kind = attributes(payload.subarray(tcmsg.size)).get(uapi.TCA_KIND)
    return tcmsg.decode(payload).ifindex === ifindex && kind?.toString('latin1') === 'clsact\0'
  })

export interface BpfFilter {
  priority: number
  name: string
  /** 16 hex digits: see programTag(). */
  tag: string
  /** The program's return value decides about the packet. */
  directAction: boolean
}

/**
 * The filters of a hook in the order in which they run: tc filter show dev INDEX ingress|egress.
 * Those that are not BPF have an empty tag.
 */
export const filterList = (netlink: NetlinkSocket, ifindex: number, hook: Hook): BpfFilter[] =>
  netlink
    .get(uapi.RTM_GETTFILTER, uapi.NLM_F_DUMP, tcmsg.encode({ ifindex, parent: hook }))
    .filter(payload => tcmsg.decode(payload).handle !== 0) // each priority begins with a header
    .map(decodeFilter)

/** The payload of an RTM_NEWTFILTER message. */
export function decodeFilter(payload: Buffer): BpfFilter {
  const found = attributes(payload.subarray(tcmsg.size))
  const options = attributes(found.get(uapi.TCA_OPTIONS) ?? Buffer.alloc(0))
  return {
    priority: tcmsg.decode(payload).info >>> 16,
    name: (options.get(uapi.TCA_BPF_NAME) ?? Buffer.alloc(0)).toString().replace(/\0$/, ''),
    tag: (options.get(uapi.TCA_BPF_TAG) ?? Buffer.alloc(0)).toString('hex'),
    directAction: ((options.get(uapi.TCA_BPF_FLAGS)?.readUInt32LE() ?? 0) & uapi.TCA_BPF_FLAG_ACT_DIRECT) !== 0,
  }
}
