/** The qdisc tbf, a token bucket filter: see tc-tbf(8). */
import { attribute, attributes, type NetlinkSocket, nested, type Request, text, u32 } from './netlink.ts'
import { struct, u8, u16, u32 as u32Field, u64 } from './struct.ts'
import { tcmsg } from './traffic-control.ts'
import * as uapi from './uapi.ts'

/** The limit of what a device sends. */
export interface Shape {
  /** Bytes per second. */
  rate: number
  /** Bytes that may pass at once after a rest. */
  burst: number
}

// <linux/pkt_sched.h>: struct tc_ratespec is in it twice
const tbfQopt = struct({
  cellLog: u8,
  linklayer: u8,
  overhead: u16,
  cellAlign: u16,
  mpu: u16,
  rate: u32Field,
  peak1: u32Field,
  peak2: u32Field,
  peak3: u32Field,
  limit: u32Field,
  buffer: u32Field,
  mtu: u32Field,
})
const rate64 = struct({ rate: u64 })
const TC_H_ROOT = 0xffffffff
const HANDLE = 0x10000 // "1:"
const TC_LINKLAYER_ETHERNET = 1
const UINT32_MAX = 0xffffffff

/** The queue: this many seconds of the rate, and at least this many bytes; more is dropped. */
const QUEUE_SECONDS = 0.05
const LEAST_QUEUE_BYTES = 128 * 1024

/**
 * Equivalent to: tc qdisc add dev INDEX root handle 1: tbf rate RATE burst BURST limit LIMIT. The
 * device sends no faster; packets that come faster wait, up to 50 ms of the rate. (tc sends a rate
 * table too, which the kernel has not used since Linux 3.8.)
 */
export function tbfAddition(ifindex: number, { rate, burst }: Shape): Request {
  const limit = Math.min(Math.max(Math.ceil(rate * QUEUE_SECONDS), LEAST_QUEUE_BYTES), UINT32_MAX)
  const qopt = tbfQopt.encode({ linklayer: TC_LINKLAYER_ETHERNET, rate: Math.min(rate, UINT32_MAX), limit })
  return {
    type: uapi.RTM_NEWQDISC,
    flags: uapi.NLM_F_CREATE | uapi.NLM_F_EXCL,
    body: [
      tcmsg.encode({ ifindex, handle: HANDLE, parent: TC_H_ROOT }),
      attribute(uapi.TCA_KIND, text('tbf')),
      nested(
        uapi.TCA_OPTIONS,
        attribute(uapi.TCA_TBF_PARMS, qopt),
        attribute(uapi.TCA_TBF_BURST, u32(burst)),
        ...(rate > UINT32_MAX ? [attribute(uapi.TCA_TBF_RATE64, rate64.encode({ rate }))] : []),
      ),
    ],
    doing: `limit it to ${rate} bytes per second`,
  }
}

/**
 * The rate of a device's root qdisc in bytes per second, if that is a tbf: tc qdisc show dev INDEX
 * root.
 */
export function tbfRate(netlink: NetlinkSocket, ifindex: number): number | undefined {
  for (const payload of netlink.get(uapi.RTM_GETQDISC, uapi.NLM_F_DUMP, tcmsg.encode({ ifindex }))) {
    const header = tcmsg.decode(payload)
    if (header.ifindex === ifindex && header.parent === TC_H_ROOT) return decodeRate(payload)
  }
  return undefined
}

/** The payload of an RTM_NEWQDISC message. */
export function decodeRate(payload: Buffer): number | undefined {
  const found = attributes(payload.subarray(tcmsg.size))
  if (found.get(uapi.TCA_KIND)?.toString('latin1') !== 'tbf\0') return undefined
  const options = attributes(found.get(uapi.TCA_OPTIONS) ?? Buffer.alloc(0))
  const large = options.get(uapi.TCA_TBF_RATE64)
  const parms = options.get(uapi.TCA_TBF_PARMS)
  if (large !== undefined) return rate64.decode(large).rate
  return parms === undefined ? undefined : tbfQopt.decode(parms).rate
}
