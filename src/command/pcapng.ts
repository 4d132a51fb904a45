/**
 * The pcapng file format, as Wireshark and tcpdump read it: draft-ietf-opsawg-pcapng, sections 4.1
 * (section header), 4.2 (interface), 4.3 (packet) and 4.6 (statistics). Little-endian.
 */

const SECTION_HEADER = 0x0a0d0d0a
const BYTE_ORDER_MAGIC = 0x1a2b3c4d
const INTERFACE_DESCRIPTION = 1
const INTERFACE_STATISTICS = 5
const ENHANCED_PACKET = 6
/** LINKTYPE_RAW: a packet begins with its IPv4 or IPv6 header. */
const LINKTYPE_RAW = 101

const OPT_COMMENT = 1
const SHB_USERAPPL = 4
const IF_NAME = 2
const IF_TSRESOL = 9
const EPB_FLAGS = 2
const ISB_IFRECV = 4
const ISB_IFDROP = 5
/** Bits of EPB_FLAGS. */
const [INBOUND, OUTBOUND] = [1, 2]
/** 10^-9 seconds. */
const NANOSECONDS = 9

export interface Interface {
  name: string
  /** A description of the device, for the reader of the file. */
  comment: string
  /** The most bytes that are kept of a packet. */
  snapLength: number
  application: string
}

/** The head of a file: the section, and its one interface. */
export function beginning({ name, comment, snapLength, application }: Interface): Buffer {
  const header = Buffer.alloc(16)
  header.writeUInt32LE(BYTE_ORDER_MAGIC, 0)
  header.writeUInt16LE(1, 4) // version 1.0
  header.writeBigInt64LE(-1n, 8) // of a length that is not known
  const device = Buffer.alloc(8)
  device.writeUInt16LE(LINKTYPE_RAW, 0)
  device.writeUInt32LE(snapLength, 4)
  return Buffer.concat([
    block(SECTION_HEADER, header, options([SHB_USERAPPL, Buffer.from(application)])),
    block(
      INTERFACE_DESCRIPTION,
      device,
      options([OPT_COMMENT, Buffer.from(comment)], [IF_NAME, Buffer.from(name)], [IF_TSRESOL, Buffer.from([NANOSECONDS])]),
    ),
  ])
}

/** One packet: `time` in nanoseconds since the epoch, `length` in bytes before it was cut. */
export function packet(bytes: Buffer, length: number, time: bigint, isOutgoing: boolean): Buffer {
  const header = Buffer.alloc(20)
  header.writeUInt32LE(Number(time >> 32n), 4)
  header.writeUInt32LE(Number(time & 0xffff_ffffn), 8)
  header.writeUInt32LE(bytes.length, 12)
  header.writeUInt32LE(length, 16)
  const flags = Buffer.from([isOutgoing ? OUTBOUND : INBOUND, 0, 0, 0])
  return block(ENHANCED_PACKET, header, padded(bytes), options([EPB_FLAGS, flags]))
}

/** The end of a file: the number of packets, and the number that the kernel dropped. */
export function statistics(time: bigint, received: number, dropped: number): Buffer {
  const header = Buffer.alloc(12)
  header.writeUInt32LE(Number(time >> 32n), 4)
  header.writeUInt32LE(Number(time & 0xffff_ffffn), 8)
  return block(INTERFACE_STATISTICS, header, options([ISB_IFRECV, u64(received)], [ISB_IFDROP, u64(dropped)]))
}

const u64 = (value: number) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

const padded = (bytes: Buffer) => (bytes.length % 4 === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(4 - (bytes.length % 4))]))

/** The length stands at both ends of a block, so that a file can be read backwards. */
function block(type: number, ...body: Buffer[]): Buffer {
  const length = 12 + body.reduce((sum, { length }) => sum + length, 0)
  const [head, tail] = [Buffer.alloc(8), Buffer.alloc(4)]
  head.writeUInt32LE(type, 0)
  head.writeUInt32LE(length, 4)
  tail.writeUInt32LE(length, 0)
  return Buffer.concat([head, ...body, tail])
}

function options(...list: [code: number, value: Buffer][]): Buffer {
  const parts = list.flatMap(([code, value]) => {
    const head = Buffer.alloc(4)
    head.writeUInt16LE(code, 0)
    head.writeUInt16LE(value.length, 2)
    return [head, padded(value)]
  })
  return Buffer.concat([...parts, Buffer.alloc(4)]) // opt_endofopt
}
