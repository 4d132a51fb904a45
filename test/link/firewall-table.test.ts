/**
 * The messages of the table `inet tunlink`, byte by byte, and the comparison of answers with them.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { elementRequests, elementsOf, replaceTableRequests, tableParts } from '../../src/link/firewall-table.ts'
import { holds } from '../../src/linux/attribute-list.ts'
import { attribute, message, nested } from '../../src/linux/netlink.ts'
import { concerns } from '../../src/linux/nf-watch.ts'
import { NFT_MSG_DELSETELEM, NFT_MSG_NEWSETELEM, NFT_MSG_NEWTABLE, nftRequest, tableBody } from '../../src/linux/nfnetlink.ts'
import { newSet } from '../../src/linux/nft-sets.ts'

const test = suite('firewall table')
const hex = (text: string) => Buffer.from(text.replace(/\s+/g, ''), 'hex')
const bytesOf = ({ type, flags, body }: ReturnType<typeof nftRequest>) => message(type, flags, 1, body)

/** What holds() says; false where it throws RangeError, and nothing else. */
function heldOrCut(wanted: Buffer, answer: Buffer): boolean {
  try {
    return holds(wanted, answer)
  } catch (error) {
    assert.instance(error, RangeError)
    return false
  }
}

test('elementRequests() encodes `nft add element inet tunlink links { "tl0" }`, then masq4', () => {
  const requests = elementRequests(NFT_MSG_NEWSETELEM, elementsOf([{ link: 'tl0', masquerade: ['10.66.0.2'] }]))
  assert.equal(requests.map(bytesOf), [
    hex(`4c000000 0c0a 0004 01000000 00000000   01 00 0000   0c00 0100 74756e6c696e6b00   0a00 0200 6c696e6b7300 0000
           2000 0380 1c00 0180 1800 0180 1400 0100 746c3000000000000000000000000000`),
    hex(`40000000 0c0a 0004 01000000 00000000   01 00 0000   0c00 0100 74756e6c696e6b00   0a00 0200 6d6173713400 0000
           1400 0380 1000 0180 0c00 0180 0800 0100 0a420002`),
  ])
})
test('elementsOf() refuses what is no name of a device, and what is no address', () => {
  for (const link of ['', 'sixteen-letters-', 'büroflur-vorne0']) assert.throws(() => elementsOf([{ link, masquerade: [] }]), RangeError)
  assert.is(elementsOf([{ link: 'fifteen-letters', masquerade: [] }]).length, 1)
  assert.throws(() => elementsOf([{ link: 'tl0', masquerade: ['10.66.0.2/24'] }]), /Cannot parse address "10.66.0.2\/24"/)
})
test('newSet() says to nft(8) that names are in the order of the host', () => {
  const { type, body } = tableParts(false).sets[0]!
  assert.equal(
    bytesOf(newSet(body, type, 1)),
    hex(`58000000 090a 0004 01000000 00000000   01 00 0000   0c00 0100 74756e6c696e6b00   0a00 0200 6c696e6b7300 0000
         0800 0300 00000000   0800 0400 00000029   0800 0500 00000010   0800 0a00 00000001   0a00 0d00 000401000000 0000`),
  )
})
test('replaceTableRequests() deletes what is there, and splits what is too long for an attribute', () => {
  const kinds = (count: number, ...masquerade: string[]) => {
    const entries = Array.from({ length: count }, (_, i) => ({ link: `tl${i}`, masquerade }))
    return replaceTableRequests(entries).map(({ type }) => type & 0xff)
  }
  const table = [0, 2, 0, 9, 9, 9, 3, 6, 6, 6, 6]
  assert.equal(kinds(0), table)
  assert.equal(kinds(1000), [...table, 12])
  assert.equal(kinds(1001), [...table, 12, 12])
  assert.equal(kinds(1, '10.66.0.2'), [0, 2, 0, 9, 9, 9, 3, 3, 6, 6, 6, 6, 6, 6, 12, 12], 'with the chain postrouting')
})
test('holds() takes absent zeros and unknown attributes for equal, and nothing else', () => {
  const zero = attribute(2, Buffer.alloc(4))
  const one = attribute(1, Buffer.from([1]))
  assert.ok(holds(Buffer.concat([one, zero]), one), 'the kernel leaves out flags that are 0')
  assert.ok(holds(one, Buffer.concat([attribute(9, Buffer.from('new')), one])), 'a later kernel says more')
  assert.not.ok(holds(zero, attribute(2, Buffer.from([0, 0, 0, 1]))))
  assert.not.ok(holds(one, zero))
  const list = (...members: Buffer[]) => nested(4, ...members)
  assert.ok(holds(list(one, one), attribute(4, Buffer.concat([one, one]))), 'the kernel does not flag what is nested')
  assert.not.ok(holds(list(one, one), list(one)))
  assert.not.ok(holds(list(one), list(one, one)))
  assert.not.ok(holds(list(one, attribute(1, Buffer.from([2]))), list(attribute(1, Buffer.from([2])), one)), 'another order')
})
test('holds() of a rule and any other rule of ours, or the rule cut short, is never true', () => {
  const bodies = tableParts(true).rules.map(({ body }) => body)
  for (const one of bodies) for (const other of bodies) assert.is(holds(one, other), one === other)
  const [rule] = bodies
  // A cut between two attributes, or in the padding behind one, shows as an absence.
  for (let length = 1; length < rule!.length; length++) assert.not.ok(heldOrCut(rule!, rule!.subarray(0, length)), `${length} bytes`)
})
test('concerns() hears of the table, not of another one or of elements', () => {
  const notified = (kind: number, table: string) => bytesOf(nftRequest(kind, 0, tableBody(table)))
  assert.ok(concerns(Buffer.concat([notified(NFT_MSG_NEWTABLE, 'other'), notified(NFT_MSG_NEWTABLE, 'tunlink')]), 'tunlink'))
  assert.not.ok(concerns(notified(NFT_MSG_NEWTABLE, 'tunlink-cluster'), 'tunlink'))
  for (const kind of [NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM]) assert.not.ok(concerns(notified(kind, 'tunlink'), 'tunlink'))
})

test.run()
