/**
 * The wire format of Protocol Buffers, as far as the device plugin API needs it: strings and
 * messages. See "Encoding" in the documentation of Protocol Buffers.
 */

/** A message as [field number, value] pairs, in order; a repeated field has several pairs. */
export type Fields = [field: number, value: string | Fields][]

const VARINT = 0
const I64 = 1
const LEN = 2
const I32 = 5

/** The bytes of a message. */
export function encode(fields: Fields): Buffer {
  const parts = fields.map(([field, value]) => {
    const bytes = typeof value === 'string' ? Buffer.from(value) : encode(value)
    return Buffer.concat([Buffer.from([...varint((field << 3) | LEN), ...varint(bytes.length)]), bytes])
  })
  return Buffer.concat(parts)
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)]
}

/**
 * The values of the field `wanted` that have a length: strings and messages, in order. Other fields
 * are skipped. Throws RangeError when the message is cut short or has a wire type that does not
 * exist.
 */
export function decode(message: Buffer, wanted: number): Buffer[] {
  const found: Buffer[] = []
  for (let offset = 0; offset < message.length; ) {
    const tag = readVarint(message, offset)
    const type = tag.value & 7
    if (type === VARINT) {
      offset = readVarint(message, tag.end).end
      continue
    }
    const length = type === LEN ? readVarint(message, tag.end) : { value: fixedSize(type), end: tag.end }
    offset = length.end + length.value
    if (offset > message.length) throw new RangeError(`a message of ${message.length} bytes ends within a field`)
    if (type === LEN && tag.value >>> 3 === wanted) found.push(message.subarray(length.end, offset))
  }
  return found
}

/** Values above 32 bits lose their upper bits: no length has any. */
function readVarint(message: Buffer, start: number): { value: number; end: number } {
  let value = 0
  for (let end = start, shift = 0; ; shift += 7) {
    const byte = message.readUInt8(end++)
    if (shift < 32) value = (value | ((byte & 0x7f) << shift)) >>> 0
    if (byte < 0x80) return { value, end }
  }
}

function fixedSize(type: number): number {
  if (type === I64) return 8
  if (type === I32) return 4
  throw new RangeError(`there is no wire type ${type}`)
}
