/** The messages of a kernel wire, byte by byte, as iproute2 sends them. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { message, type Request } from '../../src/linux/netlink.ts'
import { decodeRate, tbfAddition } from '../../src/linux/token-bucket.ts'
import { clsactAddition, decodeFilter, EGRESS, filterAddition } from '../../src/linux/traffic-control.ts'
import { NLM_F_ACK, NLM_F_REQUEST } from '../../src/linux/uapi.ts'
import { vethAddition } from '../../src/linux/veth.ts'

const test = suite('traffic control')
const hex = (text: string) => Buffer.from(text.replace(/\s+/g, ''), 'hex')
const sent = ({ type, flags, body }: Request) => message(type, NLM_F_REQUEST | NLM_F_ACK | flags, 1, body)

test('clsactAddition() encodes `tc qdisc add dev 5 clsact`', () => {
  assert.equal(
    sent(clsactAddition(5)),
    hex(`30000000 2400 0506 01000000 00000000   00000000 05000000 0000ffff f1ffffff 00000000   0b00 0100 636c73616374 0000`),
  )
})
test('filterAddition() encodes `tc filter add dev 5 egress prio 1 handle 1 bpf da`, with a descriptor', () => {
  assert.equal(
    sent(filterAddition(5, EGRESS, 'tunlink_out', 7)),
    hex(`50000000 2c00 0506 01000000 00000000   00000000 05000000 01000000 f3ffffff 00030100   0800 0100 62706600
         2400 0280   0800 0600 07000000   1000 0700 74756e6c696e6b5f6f757400   0800 0800 01000000`),
  )
})
test('decodeFilter() reads what the kernel answers: a tag of eight bytes among what else it says', () => {
  const answer = hex(`00000000 05000000 01000000 f3ffffff 00030100   0800 0100 62706600
    3000 0280   1000 0700 74756e6c696e6b5f6f757400   0c00 0a00 bf3fbc671c4cdaff   0800 0b00 2a000000   0800 0800 01000000`)
  assert.equal(decodeFilter(answer), { priority: 1, name: 'tunlink_out', tag: 'bf3fbc671c4cdaff', directAction: true })
})
test('tbfAddition() encodes `tc qdisc add dev 5 root handle 1: tbf rate 10mbit burst 64kb limit 128kb`', () => {
  assert.equal(
    sent(tbfAddition(5, { rate: 1_250_000, burst: 65_536 })),
    hex(`60000000 2400 0506 01000000 00000000   00000000 05000000 00000100 ffffffff 00000000   0800 0100 74626600
         3400 0280   2800 0100 00010000 00000000 d0121300 00000000 00000000 00000000 00000200 00000000 00000000   0800 0600 00000100`),
  )
})
test('decodeRate() reads a rate back, one of more than 32 bits too; undefined for another qdisc', () => {
  for (const rate of [1, 0xffffffff, 12_500_000_000]) {
    const [header, ...attributes] = tbfAddition(5, { rate, burst: 65_536 }).body
    assert.is(decodeRate(Buffer.concat([header!, ...attributes])), rate)
  }
  assert.is(decodeRate(Buffer.concat(clsactAddition(5).body)), undefined)
})
test('vethAddition() encodes `ip link add a address … type veth peer name b address … netns …`', () => {
  const [node, pod] = [hex('02746c000001'), hex('02746c000002')]
  assert.equal(
    sent(vethAddition({ name: 'a', mac: pod, index: 7401 }, { name: 'b', mac: node }, 9, 1500)),
    hex(`84000000 1000 0506 01000000 00000000   00 00 0000 e91c0000 80000000 80000000
         0600 0300 6100 0000   0a00 0100 02746c000002 0000   0800 0400 dc050000
         4800 1280   0800 0100 76657468   3c00 0280   3800 0180   00 00 0000 00000000 80000000 80000000
         0600 0300 6200 0000   0a00 0100 02746c000001 0000   0800 0400 dc050000   0800 1c00 09000000`),
  )
})

test.run()
