/**
 * A CRI v1 client as small as the tests need: gRPC over HTTP/2 on a unix socket, and Protocol
 * Buffers' wire format.
 */
import { type ClientHttp2Session, connect } from 'node:http2'
import { createConnection } from 'node:net'

/**
 * A message as [field number, value] pairs: text and nested messages are length-delimited, numbers
 * and booleans are varints.
 */
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

/**
 * The values of field `wanted`, in order: Buffers for what is length-delimited, numbers for
 * varints. No other wire type is used by CRI.
 */
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

/**
 * One RPC of runtime.v1.RuntimeService; rejects with gRPC's message, or after a minute. The server
 * gives up after `seconds`.
 */
function call(session: ClientHttp2Session, method: string, request: Fields, seconds?: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const path = `/runtime.v1.RuntimeService/${method}`
    const deadline = seconds === undefined ? {} : { 'grpc-timeout': `${seconds}S` }
    const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers', ...deadline })
    const chunks: Buffer[] = []
    // A server whose deadline has passed may end the stream without saying so.
    let [status, message] = ['none', seconds === undefined ? 'the stream ended without a status' : 'deadline exceeded']
    const finish = (headers: Record<string, unknown>) => {
      if (headers['grpc-status'] === undefined) return
      status = String(headers['grpc-status'])
      message = decodeURIComponent(String(headers['grpc-message'] ?? ''))
    }
    stream.on('response', finish).on('trailers', finish).on('error', reject)
    stream.setTimeout(60_000, () => stream.destroy(new Error(`${method}: no answer within 60 s`)))
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('close', () => (status === '0' ? resolve(Buffer.concat(chunks).subarray(5)) : reject(new Error(`${method}: ${message}`))))
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

export interface Container {
  image: string
  command: string[]
  /** Devices of the node, such as /dev/net/tun. */
  devices?: string[]
  /** As in `vendor.com/class=name`. */
  cdiDevices?: string[]
  /** Directories of the node, which the container has at the same path. */
  directories?: string[]
  /** Beside those that the runtime gives everyone; none at all with `user`. */
  capabilities?: string[]
  /** Numeric uid and gid, without any capability and with no-new-privs; else root. */
  user?: number
}

const CONTAINER_EXITED = 2

/** What RunPodSandbox and CreateContainer say of a pod. */
export interface Pod {
  name: string
  logDirectory?: string
  annotations?: Record<string, string> | undefined
}

/** A PodSandboxConfig. */
function sandboxConfig({ name, logDirectory = '', annotations = {} }: Pod): Fields {
  const metadata: Fields = [
    [1, name],
    [2, `uid-${name}`],
    [3, 'default'],
  ]
  const pidOfContainer: Fields = [[2, 1]]
  return [
    [1, metadata],
    [2, name],
    [3, logDirectory],
    ...Object.entries(annotations).map(([key, value]): Fields[number] => [
      7,
      [
        [1, key],
        [2, value],
      ],
    ]),
    [8, [[2, [[1, pidOfContainer]]]]],
  ]
}

/** A ContainerConfig. */
function containerConfig(name: string, container: Container): Fields {
  const { image, command, devices = [], cdiDevices = [], directories = [], capabilities = [], user } = container
  const security: Fields = [
    [1, [...capabilities.map((name): Fields[number] => [1, name]), ...(user === undefined ? [] : [[2, 'ALL'] as Fields[number]])]],
  ]
  if (user !== undefined) security.push([5, [[1, user]]], [11, true], [12, [[1, user]]])
  return [
    [1, [[1, name]]],
    [2, [[1, image]]],
    ...command.map((word): Fields[number] => [3, word]),
    ...directories.map((path): Fields[number] => [
      7,
      [
        [1, path],
        [2, path],
      ],
    ]),
    ...devices.map((path): Fields[number] => [
      8,
      [
        [1, path],
        [2, path],
        [3, 'rwm'],
      ],
    ]),
    [15, [[2, security]]],
    ...cdiDevices.map((name): Fields[number] => [17, [[1, name]]]),
  ]
}

/**
 * A client of the runtime at `socket`. Field numbers: k8s.io/cri-api,
 * pkg/apis/runtime/v1/api.proto.
 */
export class Cri {
  readonly #session: ClientHttp2Session

  constructor(socket: string) {
    // containerd refuses the path of the socket as :authority
    this.#session = connect('http://localhost', { createConnection: () => createConnection(socket) })
    this.#session.on('error', () => {}) // each call that it breaks is rejected
  }

  async networkReady(): Promise<{ isReady: boolean; message: string }> {
    const conditions = nested(nested(await call(this.#session, 'Status', []), 1)[0]!, 1)
    const condition = conditions.find(condition => text(condition, 1) === 'NetworkReady')!
    return { isReady: fieldsOf(condition, 2)[0] === 1, message: text(condition, 4) }
  }

  /** Returns the sandbox's ID. Rejects when it is not up within `seconds`. */
  async runPodSandbox(pod: Pod, seconds?: number): Promise<string> {
    return text(await call(this.#session, 'RunPodSandbox', [[1, sandboxConfig(pod)]], seconds), 1)
  }

  /** Runs a container in a sandbox: its ID. */
  async startContainer(sandbox: string, name: string, container: Container): Promise<string> {
    const request: Fields = [
      [1, sandbox],
      [2, containerConfig(name, container)],
      [3, sandboxConfig({ name })],
    ]
    const id = text(await call(this.#session, 'CreateContainer', request), 1)
    await call(this.#session, 'StartContainer', [[1, id]])
    return id
  }

  /** Waits until the container has ended: its exit status. */
  async exitCode(container: string): Promise<number> {
    for (;;) {
      const status = nested(await call(this.#session, 'ContainerStatus', [[1, container]]), 1)[0]!
      if (fieldsOf(status, 3)[0] === CONTAINER_EXITED) return Number(fieldsOf(status, 7)[0] ?? 0)
      await new Promise(done => setTimeout(done, 50))
    }
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
