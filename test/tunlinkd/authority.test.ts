/** The path that older kubelets send as `:authority`: frames and header blocks, byte by byte. */
import fc from 'fast-check'
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
test('AuthorityFilter leaves a header block of two frames alone, split within :authority', () => {
  const sent = Buffer.concat([PREFACE, frame(HEADERS, 0, `${METHOD} 41 0b 2f72`), frame(9, 4, '756e2f612e736f636b')])
  assert.is(new AuthorityFilter().push(sent).toString('hex'), sent.toString('hex'))
})
test('AuthorityFilter refuses a value that is longer than its block, and takes an empty one for no path', () => {
  const filtered = (payload: string) => new AuthorityFilter().push(Buffer.concat([PREFACE, frame(HEADERS, 4, payload)]))
  assert.throws(
    () => filtered(`${METHOD} 41 0b 2f72`),
    (error: Error) => error instanceof RangeError,
  )
  const empty = `${METHOD} 41 00 2f ${METHOD}`
  assert.is(filtered(empty).subarray(PREFACE.length).toString('hex'), frame(HEADERS, 4, empty).toString('hex'))
})
test('AuthorityFilter gives the same bytes, or a RangeError, however the connection is split', () => {
  const block = fc.oneof(fc.constantFrom(`${METHOD} 41 0b 2f72756e2f612e736f636b ${TE}`, METHOD), hexadecimal(20))
  const frames = fc.array(fc.tuple(fc.constantFrom(HEADERS, 0, 9), fc.constantFrom(0, 4, 0x2c), block), { maxLength: 5 })
  const cuts = fc.array(fc.nat(200), { maxLength: 8 })
  fc.assert(
    fc.property(frames, cuts, (frames, cuts) => {
      const bytes = Buffer.concat([PREFACE, ...frames.map(([type, flags, payload]) => frame(type, flags, payload))])
      const places = [0, ...cuts.sort((a, b) => a - b), bytes.length]
      const chunks = places.slice(1).map((end, index) => bytes.subarray(places[index], end))
      assert.is(passed(chunks), passed([bytes]))
    }),
  )
})

const hexadecimal = (maxLength: number) => fc.uint8Array({ maxLength }).map(bytes => Buffer.from(bytes).toString('hex'))

/** What a filter makes of chunks. */
function passed(chunks: Buffer[]): string {
  const filter = new AuthorityFilter()
  try {
    return Buffer.concat(chunks.map(chunk => filter.push(chunk))).toString('hex')
  } catch (error) {
    assert.instance(error, RangeError)
    return 'RangeError'
  }
}

test.run()
