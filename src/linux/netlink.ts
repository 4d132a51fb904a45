/**
 * Netlink messages: see netlink(7). A message is a header, a family struct, then attributes padded
 * to four bytes; host byte order.
 */
import { closeSync } from 'node:fs'
import { parseAddress } from '../address.ts'
import { errnoName } from './errno.ts'
import { recv, send, setsockopt, socket } from './libc.ts'
import * as uapi from './uapi.ts'

const align = (length: number) => (length + 3) & ~3 // NLMSG_ALIGN, NLA_ALIGN
const ONE = Buffer.from([1, 0, 0, 0])

/** One attribute, padded. */
export function attribute(type: number, payload: Buffer): Buffer {
  const length = uapi.nlattr.size + payload.length
  const bytes = Buffer.alloc(align(length))
  uapi.nlattr.encode({ len: length, type }).copy(bytes)
  payload.copy(bytes, uapi.nlattr.size)
  return bytes
}

/** An attribute that contains attributes. */
export const nested = (type: number, ...attributes: Buffer[]) => attribute(type | uapi.NLA_F_NESTED, Buffer.concat(attributes))

export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

/** A string with its terminating zero, as most kernel attributes want it. */
export const text = (value: string): Buffer => Buffer.from(`${value}\0`)

/** The bytes of an address, and its AF_ number. Throws SyntaxError. */
export function inet(address: string): { family: number; bytes: Buffer } {
  const parsed = parseAddress(address)
  if (parsed === undefined) throw new SyntaxError(`Cannot parse address "${address}"`)
  return { family: parsed.family === 4 ? uapi.AF_INET : uapi.AF_INET6, bytes: parsed.bytes }
}

export function message(type: number, flags: number, seq: number, body: Buffer[]): Buffer {
  const payload = Buffer.concat(body)
  return Buffer.concat([uapi.nlmsghdr.encode({ len: uapi.nlmsghdr.size + payload.length, type, flags, seq }), payload])
}

/**
 * The attributes in `bytes` by type; of several of one type the last. Throws RangeError when they
 * are truncated.
 */
export function attributes(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>()
  for (let at = 0; at < bytes.length; ) {
    const { len, type } = uapi.nlattr.decode(bytes.subarray(at))
    if (len < uapi.nlattr.size || at + len > bytes.length)
      throw new RangeError(`Cannot decode attribute ${type}: length ${len} of ${bytes.length - at} bytes`)
    found.set(type & uapi.NLA_TYPE_MASK, bytes.subarray(at + uapi.nlattr.size, at + len))
    at += align(len)
  }
  return found
}

export interface Message {
  type: number
  flags: number
  seq: number
  payload: Buffer
}

/** The messages in a datagram. Throws RangeError when they are truncated. */
export function messages(bytes: Buffer): Message[] {
  const found: Message[] = []
  for (let at = 0; at < bytes.length; ) {
    const { len, type, flags, seq } = uapi.nlmsghdr.decode(bytes.subarray(at))
    if (len < uapi.nlmsghdr.size || at + len > bytes.length)
      throw new RangeError(`Cannot decode netlink message ${type}: length ${len} of ${bytes.length - at} bytes`)
    found.push({ type, flags, seq, payload: bytes.subarray(at + uapi.nlmsghdr.size, at + len) })
    at += align(len)
  }
  return found
}

/**
 * The kernel refused a request; `code` is the errno's name, the message has the kernel's own words
 * when it sent some.
 */
export class NetlinkError extends Error {
  override name = 'NetlinkError'
  readonly errno: number
  readonly code: string
  constructor(errno: number, words = '') {
    const [code, text] = errnoName(errno)
    super(`netlink: ${code} (${words || text})`)
    this.errno = errno
    this.code = code
  }
}

/** Throws NetlinkError unless `reply`, an NLMSG_ERROR message, is an acknowledgement. */
export function acknowledge(reply: Message): void {
  if (reply.payload.length < 4) throw new RangeError(`Cannot decode an acknowledgement of ${reply.payload.length} bytes`)
  const errno = -reply.payload.readInt32LE(0)
  if (errno !== 0) throw new NetlinkError(errno, extendedAck(reply))
}

/**
 * NLMSGERR_ATTR_MSG: it follows the request's header or, without NLM_F_CAPPED, the whole request.
 */
function extendedAck({ flags, payload }: Message): string {
  if ((flags & uapi.NLM_F_ACK_TLVS) === 0) return ''
  const echoed = flags & uapi.NLM_F_CAPPED ? uapi.nlmsghdr.size : align(uapi.nlmsghdr.decode(payload.subarray(4)).len)
  const words = attributes(payload.subarray(4 + echoed)).get(uapi.NLMSGERR_ATTR_MSG)
  return words === undefined ? '' : words.toString('latin1').replace(/\0$/, '')
}

export interface Request {
  type: number
  flags: number
  body: Buffer[]
  /** The kernel never acknowledges this request. */
  silent?: boolean
  /** What the request does, for errors: "add address 10.0.0.1/32". */
  doing?: string
}

const MOST_DUMPS = 20
const EINTR = 4

/**
 * The receive buffer of all sockets: a reply is parsed, and the needed parts copied, before the
 * next one is received.
 */
const REPLY = Buffer.alloc(65536)

/** Bytes that every socket accepts in one datagram. */
const ROOMY = 128 << 10

/**
 * Requests in one datagram. Their acknowledgements all wait in the receive buffer, where each takes
 * some 770 bytes: the kernel's default of 208 KiB has room for 270.
 */
const MOST_REQUESTS = 100

function during(doing: string | undefined, cause: NetlinkError): Error {
  if (doing === undefined || doing === '') return cause
  return Object.assign(new Error(`${doing}: ${cause.message}`, { cause }), { code: cause.code, doing })
}

/** Repeats `call` when a signal interrupted it before it did anything: see signal(7). */
function unlessInterrupted(call: () => number): number {
  for (let tries = 1; ; tries++) {
    try {
      return call()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EINTR' || tries === MOST_INTERRUPTIONS) throw error
    }
  }
}

const MOST_INTERRUPTIONS = 100

/** A netlink socket of the network namespace in which it was opened. */
export class NetlinkSocket implements Disposable {
  readonly fd: number
  /** The sequence numbers that wait for an acknowledgement, and the first of their batch. */
  readonly #waiting = new Map<number, string>()
  #first = 0
  #seq = 0
  isOpen = true

  constructor(protocol: number = uapi.NETLINK_ROUTE) {
    this.fd = socket(uapi.AF_NETLINK, uapi.SOCK_RAW | uapi.SOCK_CLOEXEC, protocol)
    try {
      for (const option of [uapi.NETLINK_CAP_ACK, uapi.NETLINK_EXT_ACK, uapi.NETLINK_GET_STRICT_CHK])
        setsockopt(this.fd, uapi.SOL_NETLINK, option, ONE, 4)
    } catch (error) {
      closeSync(this.fd)
      throw error
    }
  }

  /**
   * Sends requests and waits for every acknowledgement. Throws the first refusal: a NetlinkError,
   * or an error with the same code that says what was being done. Up to MOST_REQUESTS requests go
   * in one datagram; a transaction of nf_tables, which ends with a silent request, always does.
   */
  requestBatch(requests: Request[]): void {
    const most = requests.some(({ silent }) => silent) ? requests.length : MOST_REQUESTS
    for (let at = 0; at < requests.length; at += most) {
      this.#send(this.prepare(requests.slice(at, at + most)))
      this.awaitAcknowledgements()
    }
  }

  /**
   * The datagram that requestBatch() would send, for callers that send it in another way and then
   * call awaitAcknowledgements().
   */
  prepare(requests: Request[]): Buffer {
    this.#first = this.#seq + 1
    this.#waiting.clear()
    const datagram = requests.map(request => {
      const seq = ++this.#seq
      if (!request.silent) this.#waiting.set(seq, request.doing ?? '')
      return message(request.type, uapi.NLM_F_REQUEST | (request.silent ? 0 : uapi.NLM_F_ACK) | request.flags, seq, request.body)
    })
    return Buffer.concat(datagram)
  }

  /** Throws the first refusal among the answers to the requests prepared last. */
  awaitAcknowledgements(): void {
    let failure: unknown
    while (this.#waiting.size > 0) {
      for (const reply of this.#receive()) {
        if (reply.seq < this.#first || reply.type !== uapi.NLMSG_ERROR) continue
        const doing = this.#waiting.get(reply.seq)
        this.#waiting.delete(reply.seq)
        try {
          acknowledge(reply)
        } catch (error) {
          failure ??= during(doing, error as NetlinkError)
          // the batch was refused as a whole: the answer names its first silent message
          if (doing === undefined) this.#waiting.clear()
        }
      }
    }
    if (failure !== undefined) throw failure
  }

  /**
   * Sends a query and returns the payloads of the answers: with NLM_F_DUMP in `flags` of all.
   * Throws NetlinkError.
   */
  get(type: number, flags: number, ...body: Buffer[]): Buffer[] {
    for (let tries = 1; ; tries++) {
      const found = this.#query(type, flags, body)
      if (found !== undefined) return found
      if (tries === MOST_DUMPS) throw new NetlinkError(EINTR, `what was listed changed ${tries} times meanwhile`)
    }
  }

  /**
   * undefined when something changed while the kernel listed it (NLM_F_DUMP_INTR): entries may be
   * missing, so the query must be repeated.
   */
  #query(type: number, flags: number, body: Buffer[]): Buffer[] | undefined {
    const seq = ++this.#seq
    const dump = (flags & uapi.NLM_F_DUMP) === uapi.NLM_F_DUMP
    this.#send(message(type, uapi.NLM_F_REQUEST | flags, seq, body))
    const found: Buffer[] = []
    let interrupted = false
    for (;;) {
      for (const reply of this.#receive()) {
        if (reply.seq !== seq) continue
        if (dump && reply.flags & uapi.NLM_F_DUMP_INTR) interrupted = true
        if (reply.type === uapi.NLMSG_ERROR) acknowledge(reply)
        if (reply.type === uapi.NLMSG_DONE) return interrupted ? undefined : found
        found.push(Buffer.from(reply.payload))
      }
      if (!dump && found.length > 0) return found
    }
  }

  /**
   * A datagram is taken whole or not at all: one larger than the socket's buffer
   * (net.core.wmem_default, 208 KiB) needs a larger buffer.
   */
  #send(bytes: Buffer): void {
    if (bytes.length > ROOMY) setsockopt(this.fd, uapi.SOL_SOCKET, uapi.SO_SNDBUFFORCE, u32(2 * bytes.length), 4)
    unlessInterrupted(() => send(this.fd, bytes, bytes.length, 0))
  }

  #receive(): Message[] {
    return messages(
      REPLY.subarray(
        0,
        unlessInterrupted(() => recv(this.fd, REPLY, REPLY.length, 0)),
      ),
    )
  }

  [Symbol.dispose](): void {
    if (this.isOpen) closeSync(this.fd)
    this.isOpen = false
  }
}
