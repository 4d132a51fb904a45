/** Expressions of rules, byte by byte, as nft(8) 1.0.6 sends them (strace -e write=all). */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { NF_DROP } from '../../src/linux/nfnetlink.ts'
import {
  bitwise,
  cmp,
  fibSaddrIif,
  lookup,
  masq,
  meta,
  NF_NAT_RANGE_PROTO_RANDOM_FULLY,
  NFT_CMP_EQ,
  NFT_LOOKUP_F_INV,
  NFT_META_IIFNAME,
  payload,
  verdict,
} from '../../src/linux/nft-expressions.ts'

const test = suite('nft expressions')
const hex = (text: string) => Buffer.from(text.replace(/\s+/g, ''), 'hex')

for (const [rule, name, expression, bytes] of [
  ['iifname', 'meta', meta(NFT_META_IIFNAME), '2400 0180  0900 0100 6d65746100 000000  1400 0280  0800 0200 00000006  0800 0100 00000001'],
  [
    'ip saddr 10.0.0.0/20, its first part',
    'payload',
    payload(12, 4),
    `3400 0180  0c00 0100 7061796c6f616400  2400 0280
       0800 0100 00000001  0800 0200 00000001  0800 0300 0000000c  0800 0400 00000004`,
  ],
  [
    'ip saddr 10.0.0.0/20, its second part',
    'bitwise',
    bitwise(hex('fffff000')),
    `4400 0180  0c00 0100 6269747769736500  3400 0280
       0800 0100 00000001  0800 0200 00000001  0800 0300 00000004  0c00 0480 0800 0100 fffff000  0c00 0580 0800 0100 00000000`,
  ],
  [
    'ip saddr 10.0.0.0/20, its third part',
    'cmp',
    cmp(NFT_CMP_EQ, hex('0a000000')),
    '2c00 0180  0800 0100 636d7000  2000 0280  0800 0100 00000001  0800 0200 00000000  0c00 0380 0800 0100 0a000000',
  ],
  [
    'ip daddr != @d', // nft names the set by a number too, as it makes it in the same transaction
    'lookup',
    lookup('d', NFT_LOOKUP_F_INV),
    '2c00 0180  0b00 0100 6c6f6f6b757000 00  1c00 0280  0600 0100 6400 0000  0800 0200 00000001  0800 0500 00000001',
  ],
  [
    'fib saddr . iif oif missing',
    'fib',
    fibSaddrIif(),
    '2800 0180  0800 0100 66696200  1c00 0280  0800 0300 00000029  0800 0200 00000001  0800 0100 00000001',
  ],
  [
    'drop',
    'immediate',
    verdict(NF_DROP),
    '3000 0180  0e00 0100 696d6d65646961746500 0000  1c00 0280  0800 0100 00000000  1000 0280 0c00 0280 0800 0100 00000000',
  ],
  [
    'masquerade fully-random',
    'masq',
    masq(NF_NAT_RANGE_PROTO_RANDOM_FULLY),
    '1c00 0180  0900 0100 6d61737100 000000  0c00 0280  0800 0100 00000010',
  ],
] as [string, string, Buffer, string][])
  test(`${name} of "${rule}"`, () => assert.equal(expression, hex(bytes)))

test.run()
