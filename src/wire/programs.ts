/**
 * Device indexes are constants in a program. The devices have the same indexes in nearly every pod,
 * so one loaded pair serves them all.
 */
import * as bpf from '../linux/bpf.ts'

/**
 * Locally administered, the same for all links: a pair has two ends, and no other device sees them.
 */
export const NODE_MAC = Buffer.from([0x02, 0x74, 0x6c, 0, 0, 1])
export const POD_MAC = Buffer.from([0x02, 0x74, 0x6c, 0, 0, 2])

const ETH_HLEN = 14
const TC_ACT_SHOT = 2
/** Offset on the stack, from its end, where the header is assembled. */
const HEADER = -16
const [R0, R1, R2, R3, R4, R5, SKB, PROTOCOL, STACK] = [0, 1, 2, 3, 4, 5, 6, 7, 10]

/** return bpf_redirect(INDEX, FLAGS) */
const redirect = (index: number, flags: number): bpf.Instruction[] => [
  bpf.movImm(R1, index),
  bpf.movImm(R2, flags),
  bpf.call(bpf.BPF_FUNC_redirect),
  bpf.exit(),
]

/** `vethIndex` is that of the pod's veth end. */
export function outProgram(vethIndex: number): bpf.Instruction[] {
  const macs = Buffer.concat([NODE_MAC, POD_MAC]) // destination, source
  const pushed = [
    bpf.store32(STACK, HEADER, macs.readInt32LE(0)),
    bpf.store32(STACK, HEADER + 4, macs.readInt32LE(4)),
    bpf.store32(STACK, HEADER + 8, macs.readInt32LE(8)),
    bpf.store16(STACK, HEADER + 12, PROTOCOL),
    // bpf_skb_store_bytes(skb, 0, header, ETH_HLEN, 0)
    bpf.movReg(R1, SKB),
    bpf.movImm(R2, 0),
    bpf.movReg(R3, STACK),
    bpf.addImm(R3, HEADER),
    bpf.movImm(R4, ETH_HLEN),
    bpf.movImm(R5, 0),
    bpf.call(bpf.BPF_FUNC_skb_store_bytes),
    ...redirect(vethIndex, 0),
  ]
  return [
    bpf.movReg(SKB, R1),
    bpf.load32(PROTOCOL, SKB, bpf.SKB_PROTOCOL),
    // bpf_skb_change_head(skb, ETH_HLEN, 0): made for redirects from layer 3 to layer 2; it leaves
    // GSO packets whole
    bpf.movImm(R2, ETH_HLEN),
    bpf.movImm(R3, 0),
    bpf.call(bpf.BPF_FUNC_skb_change_head),
    bpf.skipUnlessZero(R0, pushed.length),
    ...pushed,
    bpf.movImm(R0, TC_ACT_SHOT),
    bpf.exit(),
  ]
}

/** `tunIndex` is that of the pod's TUN. */
export const inProgram = (tunIndex: number): bpf.Instruction[] => redirect(tunIndex, bpf.BPF_F_INGRESS)

/** Names of program and filter, as `bpftool prog` and `tc filter show` print them. */
export const OUT = 'tunlink_out'
export const IN = 'tunlink_in'
