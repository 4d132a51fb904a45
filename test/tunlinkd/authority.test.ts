/** The path that older kubelets send as `:authority`: frames and header blocks, byte by byte. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { AuthorityFilter } from '../../src/node/device-plugin/authority.ts'

const test = suite('authority')

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
/** A frame of HTTP/2: type, flags, payload; stream 1. */
const frame = (type: number, flags: number, payload: string) => {
  const bytes = Buffer.from(payload.replaceAll(' ', ''), 'hex')
  return Buffer.concat([Buffer.from([0, 0, bytes.length, type, flags, 0, 0, 0, 1]), bytes])
}
const HEADERS = 1
/** `:method: POST`, `:path: /a`, a literal name with a value, `te: trailers` never indexed. */
const [METHOD, PATH, OTHER, TE] = ['83', '44 02 2f61', '40 0161 012f', '1f 26 08 747261696c657273']
const LOCALHOST = '41 09 6c6f63616c686f7374'
for (const [title, authority] of [
  ['plain', '41 0b 2f72756e2f612e736f636b'],
  ['compressed', '41 87 62c1f5c3a8d9bf'],
  ['not to be indexed', '01 0b 2f72756e2f612e736f636b'],
] as const)
  test(`AuthorityFilter puts localhost in the place of a path, ${title}, and changes nothing else`, () => {
    const block = (authority: string) => `3f e11f ${METHOD} ${PATH} ${OTHER} ${authority} ${TE} be`
    const wanted = authority.startsWith('01') ? LOCALHOST.replace('41', '01') : LOCALHOST
    const settings = frame(4, 0, '0002 00000000')
    const data = frame(0, 1, '00 00000000')
    const sent = [PREFACE, settings, frame(HEADERS, 4, block(authority)), data]
    const got = [PREFACE, settings, frame(HEADERS, 4, block(wanted)), data]
    assert.is(new AuthorityFilter().push(Buffer.concat(sent)).toString('hex'), Buffer.concat(got).toString('hex'))
    const byByte = new AuthorityFilter()
    const parts = [...Buffer.concat(sent)].map(byte => byByte.push(Buffer.from([byte])))
    assert.is(Buffer.concat(parts).toString('hex'), Buffer.concat(got).toString('hex'))
  })
test('AuthorityFilter passes over padding and priority, and leaves an authority alone', () => {
  const path = '41 0b 2f72756e2f612e736f636b'
  const filtered = (payload: string, flags: number) => {
    const filter = new AuthorityFilter()
    filter.push(PREFACE)
    return filter.push(frame(HEADERS, flags, payload)).toString('hex')
  }
  const padded = (authority: string) => `02 00000000 10 ${METHOD} ${authority} ${TE} 0000`
  assert.is(filtered(padded(path), 0x2c), frame(HEADERS, 0x2c, padded(LOCALHOST)).toString('hex'))
  for (const other of [LOCALHOST, '41 8c f1e3c2e5f23a6ba0ab90f4ff', ''])
    assert.is(filtered(`${METHOD} ${other} ${TE}`, 4), frame(HEADERS, 4, `${METHOD} ${other} ${TE}`).toString('hex'))
  assert.throws(
    () => filtered(`${METHOD} 41 7f`, 4),
    (error: Error) => error instanceof RangeError,
  )
})

test.run()
