/** A CRI v1 client as small as the tests need: gRPC over HTTP/2 on a unix socket, and Protocol Buffers' wire format. */
import { type ClientHttp2Session, connect } from 'node:http2'
import { createConnection } from 'node:net'

/** A message as [field number, value] pairs: text and nested messages are length-delimited, numbers and booleans are varints. */
export type Fields = [field: number, value: string | number | boolean | Fields][]

const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(Math.floor(value / 128))])

/** Protocol Buffers' encoding of a message. */
export function encode(fields: Fields): Buffer {
  const parts = fields.map(([field, value]) => {
    if (typeof value === 'number' || typeof value === 'boolean') return Buffer.from([...varint(field << 3), ...varint(Number(value))])
    const bytes = typeof value === 'string' ? Buffer.from(value) : encode(value)
    return Buffer.concat([Buffer.from([...varint((field << 3) | 2), ...varint(bytes.length)]), bytes])
  })
  return Buffer.concat(parts)
}

/** The values of field `wanted`, in order: Buffers for what is length-delimited, numbers for varints. No other wire type is used by CRI. */
export function fieldsOf(message: Buffer, wanted: number): (Buffer | number)[] {
  let offset = 0
  const next = () => {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = message.readUInt8(offset++)
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
  }
  const found: (Buffer | number)[] = []
  while (offset < message.length) {
    const tag = next()
    const value = next()
    const length = (tag & 7) === 2 ? value : 0
    if (tag >> 3 === wanted) found.push((tag & 7) === 2 ? message.subarray(offset, offset + length) : value)
    offset += length
  }
  return found
}

const nested = (message: Buffer, field: number) => fieldsOf(message, field) as Buffer[]
const text = (message: Buffer, field: number) => String(fieldsOf(message, field)[0] ?? '')

/** One RPC of runtime.v1.RuntimeService; rejects with gRPC's message, or after a minute. */
function call(session: ClientHttp2Session, method: string, request: Fields): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const path = `/runtime.v1.RuntimeService/${method}`
    const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' })
    const chunks: Buffer[] = []
    const finish = (headers: Record<string, unknown>) => {
      if (headers['grpc-status'] === undefined || headers['grpc-status'] === '0') return
      reject(new Error(`${method}: ${decodeURIComponent(String(headers['grpc-message']))}`))
    }
    stream.on('response', finish).on('trailers', finish).on('error', reject)
    stream.setTimeout(60_000, () => stream.destroy(new Error(`${method}: no answer within 60 s`)))
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('end', () => resolve(Buffer.concat(chunks).subarray(5)))
    const body = encode(request)
    const header = Buffer.alloc(5) // not compressed, length
    header.writeUInt32BE(body.length, 1)
    stream.end(Buffer.concat([header, body]))
  })
}

export interface Sandbox {
  /** What PodSandboxStatus shows: the first address, then the others. */
  ips: string[]
  /** Path of its network namespace. */
  netns: string
}

/** A client of the runtime at `socket`. Field numbers: k8s.io/cri-api, pkg/apis/runtime/v1/api.proto. */
export class Cri {
  readonly #session: ClientHttp2Session

  constructor(socket: string) {
    // containerd refuses the path of the socket as :authority
    this.#session = connect('http://localhost', { createConnection: () => createConnection(socket) })
    this.#session.on('error', () => {}) // each call that it breaks is rejected
  }

  async networkReady(): Promise<boolean> {
    const conditions = nested(nested(await call(this.#session, 'Status', []), 1)[0]!, 1)
    return conditions.some(condition => text(condition, 1) === 'NetworkReady' && fieldsOf(condition, 2)[0] === 1)
  }

  /** Returns the sandbox's ID. */
  async runPodSandbox(name: string, logDirectory: string): Promise<string> {
    const metadata: Fields = [
      [1, name],
      [2, `uid-${name}`],
      [3, 'default'],
    ]
    const pidOfContainer: Fields = [[2, 1]]
    const linux: Fields = [[2, [[1, pidOfContainer]]]]
    const config: Fields = [
      [1, metadata],
      [2, name],
      [3, logDirectory],
      [8, linux],
    ]
    return text(await call(this.#session, 'RunPodSandbox', [[1, config]]), 1)
  }

  async podSandboxStatus(id: string): Promise<Sandbox> {
    const request: Fields = [
      [1, id],
      [2, true],
    ]
    const answer = await call(this.#session, 'PodSandboxStatus', request)
    const network = nested(nested(answer, 1)[0]!, 5)[0]!
    const info = JSON.parse(text(nested(answer, 2)[0]!, 2))
    const netns = info.runtimeSpec.linux.namespaces.find(({ type }: { type: string }) => type === 'network').path
    return { ips: [text(network, 1), ...nested(network, 2).map(other => text(other, 1))], netns }
  }

  async stopPodSandbox(id: string): Promise<void> {
    await call(this.#session, 'StopPodSandbox', [[1, id]])
  }

  async removePodSandbox(id: string): Promise<void> {
    await call(this.#session, 'RemovePodSandbox', [[1, id]])
  }

  /** IDs of all sandboxes. */
  async listPodSandbox(): Promise<string[]> {
    return nested(await call(this.#session, 'ListPodSandbox', []), 1).map(sandbox => text(sandbox, 1))
  }

  close(): void {
    this.#session.destroy()
  }
}
