/**
 * Kubelets before 1.26 send the path of the socket as `:authority`, which is no authority, and
 * the HTTP/2 of Node and of Bun refuses the request (kubernetes/kubernetes#112597). Here it becomes
 * `localhost`, as later kubelets send it. The frames are those of RFC 9113, the header block that
 * of RFC 7541; the rest of a connection passes as it is, and so does a header block of several
 * frames: the kubelet's fit into one.
 */

const PREFACE_BYTES = 24
const FRAME_HEADER_BYTES = 9
const HEADERS = 1
const END_HEADERS = 0x4
const PADDED = 0x8
const PRIORITY = 0x20
/** `:authority` in the static table of RFC 7541. */
const AUTHORITY_INDEX = 1
/** A string that is not compressed: its length, its bytes. */
const LOCALHOST = Buffer.concat([Buffer.from([9]), Buffer.from('localhost')])

/** What a client sends on one connection. */
export class AuthorityFilter {
  #pending = Buffer.alloc(0)
  #isFirst = true

  /**
   * Takes the next bytes of the connection. Returns the frames that are complete by now, with
   * `:authority` changed. Throws RangeError when a header block ends within a field.
   */
  push(chunk: Buffer): Buffer {
    this.#pending = Buffer.concat([this.#pending, chunk])
    const passed: Buffer[] = []
    for (let part = this.#next(); part !== undefined; part = this.#next()) passed.push(part)
    return Buffer.concat(passed)
  }

  /** The preface or a frame; undefined until all of it is there. */
  #next(): Buffer | undefined {
    const pending = this.#pending
    if (!this.#isFirst && pending.length < FRAME_HEADER_BYTES) return undefined
    const length = this.#isFirst ? PREFACE_BYTES : FRAME_HEADER_BYTES + pending.readUIntBE(0, 3)
    if (pending.length < length) return undefined
    const part = pending.subarray(0, length)
    const isFrame = !this.#isFirst
    this.#isFirst = false
    this.#pending = pending.subarray(length)
    return isFrame && part[3] === HEADERS ? headersFrame(part) : part
  }
}

/** A HEADERS frame with another `:authority`, where that is a path. */
function headersFrame(frame: Buffer): Buffer {
  const flags = frame.readUInt8(4)
  if (!(flags & END_HEADERS)) return frame
  const padding = flags & PADDED ? frame.readUInt8(FRAME_HEADER_BYTES) : 0
  const start = FRAME_HEADER_BYTES + (flags & PADDED ? 1 : 0) + (flags & PRIORITY ? 5 : 0)
  const end = frame.length - padding
  const value = authorityValue(frame.subarray(0, end), start)
  if (value === undefined) return frame
  const changed = Buffer.concat([frame.subarray(0, value.start), LOCALHOST, frame.subarray(value.end)])
  changed.writeUIntBE(changed.length - FRAME_HEADER_BYTES, 0, 3)
  return changed
}

/** A place in a buffer. */
interface Place {
  start: number
  end: number
}

/**
 * Where the value of `:authority` is, if it is a path that is sent whole. A later request may name
 * it by an index into the table that both sides keep: they number it alike, as the new value is
 * shorter.
 */
function authorityValue(block: Buffer, start: number): Place | undefined {
  for (let offset = start; offset < block.length; ) {
    const first = block.readUInt8(offset)
    if (first & 0x80 || (first & 0xe0) === 0x20) {
      // an indexed field, or a new size of the table
      offset = integer(block, offset, first & 0x80 ? 7 : 5).end
      continue
    }
    const name = integer(block, offset, first & 0x40 ? 6 : 4)
    const value = string(block, name.value === 0 ? string(block, name.end).end : name.end)
    if (name.value === AUTHORITY_INDEX && beginsWithSlash(block, value)) return value
    offset = value.end
  }
  return undefined
}

/** A string with its length. Throws RangeError when it is longer than the block. */
function string(block: Buffer, start: number): Place {
  const length = integer(block, start, 7)
  const end = length.end + length.value
  if (end > block.length) throw new RangeError(`a header block of ${block.length} bytes ends within a string`)
  return { start, end }
}

/** As it is, or compressed: the code of a slash is 011000. */
function beginsWithSlash(block: Buffer, { start, end }: Place): boolean {
  const begin = integer(block, start, 7).end
  if (begin === end) return false
  const first = block.readUInt8(begin)
  return block.readUInt8(start) & 0x80 ? first >> 2 === 0b011000 : first === 0x2f
}

/** An integer whose first byte has `bits` bits of it. Throws RangeError where the block ends. */
function integer(block: Buffer, start: number, bits: number): { value: number; end: number } {
  const most = 2 ** bits - 1
  let value = block.readUInt8(start) & most
  let end = start + 1
  if (value < most) return { value, end }
  for (let scale = 1; ; scale *= 128) {
    const byte = block.readUInt8(end++)
    value += (byte & 127) * scale
    if (byte < 128) return { value, end }
  }
}
