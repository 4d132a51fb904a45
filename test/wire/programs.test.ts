/** The two programs of a kernel wire, instruction by instruction. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { encode } from '../../src/linux/bpf.ts'
import { inProgram, outProgram } from '../../src/wire/programs.ts'

const test = suite('programs')
/** One instruction a line: opcode, registers, offset, constant. */
const instructions = (text: string) => Buffer.from(text.replace(/#.*$/gm, '').replace(/\s+/g, ''), 'hex')

test('out puts a header in front and redirects to the egress of the veth end', () => {
  const expected = instructions(`
    bf 16 0000 00000000   # r6 = r1, the packet
    61 67 1000 00000000   # r7 = skb->protocol
    b7 02 0000 0e000000   # r2 = 14
    b7 03 0000 00000000
    85 00 0000 2b000000   # bpf_skb_change_head(skb, 14, 0)
    55 00 0f00 00000000   # if it failed, to the drop at the end
    62 0a f0ff 02746c00   # on the stack: MAC of the node's end, MAC of the pod's, protocol
    62 0a f4ff 00010274
    62 0a f8ff 6c000002
    6b 7a fcff 00000000
    bf 61 0000 00000000
    b7 02 0000 00000000
    bf a3 0000 00000000
    07 03 0000 f0ffffff
    b7 04 0000 0e000000
    b7 05 0000 00000000
    85 00 0000 09000000   # bpf_skb_store_bytes(skb, 0, stack - 16, 14, 0)
    b7 01 0000 e91c0000   # 7401
    b7 02 0000 00000000
    85 00 0000 17000000   # bpf_redirect(7401, 0)
    95 00 0000 00000000
    b7 00 0000 02000000   # TC_ACT_SHOT
    95 00 0000 00000000`)
  assert.equal(encode(outProgram(7401)), expected)
})
test('in redirects to the ingress of the TUN', () => {
  const expected = instructions(`
    b7 01 0000 e81c0000   # 7400
    b7 02 0000 01000000   # BPF_F_INGRESS
    85 00 0000 17000000
    95 00 0000 00000000`)
  assert.equal(encode(inProgram(7400)), expected)
})

test.run()
