/**
 * The kubelet's side of the device plugin API: takes a plugin's registration, then asks it for its
 * devices, as the real one does. Messages are read and written by the codec of the CRI client.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, type ClientReadableStream, credentials, Server, ServerCredentials, type ServiceError, status } from '@grpc/grpc-js'
import { encode, type Fields, fieldsOf } from '../clients/cri.ts'

const asIs = (bytes: Buffer): Buffer => bytes
const texts = (message: Buffer, field: number) => fieldsOf(message, field).map(String)
const nested = (message: Buffer, field: number) => fieldsOf(message, field) as Buffer[]

export interface Registration {
  version: string
  endpoint: string
  resource: string
}

export interface DeviceSpec {
  containerPath: string
  hostPath: string
  permissions: string
}

export class FakeKubelet {
  readonly directory = mkdtempSync(join(tmpdir(), 'tlk-'))
  readonly registrations: Registration[] = []
  /** Health by device ID, as the plugin said last; undefined while no stream is open. */
  devices: Map<string, string> | undefined
  /** Messages of ListAndWatch, of all streams. */
  lists = 0
  /** `:authority` of its calls; undefined: the path of the plugin's socket, as before 1.26. */
  authority: string | undefined
  /** What Register answers instead of success. */
  refusal: string | undefined
  /** Called when a registration has come, before it is answered. */
  registering = () => {}
  #server: Server | undefined
  #plugin: Client | undefined
  #stream: ClientReadableStream<Buffer> | undefined

  /** Empties the directory, then serves: as the kubelet does when it starts. */
  async start(): Promise<void> {
    for (const name of readdirSync(this.directory)) rmSync(join(this.directory, name), { recursive: true })
    this.#server = new Server()
    const register = {
      path: '/v1beta1.Registration/Register',
      requestStream: false,
      responseStream: false,
      requestSerialize: asIs,
      requestDeserialize: asIs,
      responseSerialize: asIs,
      responseDeserialize: asIs,
    }
    this.#server.addService(
      { register },
      {
        register: (call: { request: Buffer }, answer: (error: object | null, message?: Buffer) => void) => {
          const [version = '', endpoint = '', resource = ''] = [1, 2, 3].map(field => texts(call.request, field)[0])
          this.registrations.push({ version, endpoint, resource })
          this.registering()
          if (this.refusal !== undefined) return answer({ code: status.UNKNOWN, details: this.refusal })
          answer(null, Buffer.alloc(0))
          this.#watch(endpoint)
        },
      },
    )
    await new Promise<void>((done, fail) =>
      this.#server!.bindAsync(`unix:${join(this.directory, 'kubelet.sock')}`, ServerCredentials.createInsecure(), error =>
        error === null ? done() : fail(error),
      ),
    )
  }

  /** Ends as a kubelet that is killed: its socket stays. */
  stop(): void {
    this.#forget()
    this.#server?.forceShutdown()
    this.#server = undefined
  }

  /** Ends the stream of ListAndWatch and nothing else. */
  forget(): void {
    this.#forget()
  }

  /** GetDevicePluginOptions: the bytes. */
  options(): Promise<Buffer> {
    return this.#call('GetDevicePluginOptions', [])
  }

  /** Allocate for containers with these devices: what each container gets. */
  async allocate(...containers: string[][]): Promise<DeviceSpec[][]> {
    const request = containers.map((ids): Fields[number] => [1, ids.map((id): Fields[number] => [1, id])])
    const answer = await this.#call('Allocate', request)
    return nested(answer, 1).map(container =>
      nested(container, 3).map(spec => {
        const [containerPath = '', hostPath = '', permissions = ''] = [1, 2, 3].map(field => texts(spec, field)[0])
        return { containerPath, hostPath, permissions }
      }),
    )
  }

  close(): void {
    this.stop()
    rmSync(this.directory, { recursive: true })
  }

  #watch(endpoint: string): void {
    this.#forget()
    const path = join(this.directory, endpoint)
    this.#plugin = new Client(`unix:${path}`, credentials.createInsecure(), { 'grpc.default_authority': this.authority ?? path })
    const stream = this.#plugin.makeServerStreamRequest('/v1beta1.DevicePlugin/ListAndWatch', asIs, asIs, Buffer.alloc(0))
    this.#stream = stream
    stream.on('data', (list: Buffer) => {
      this.lists++
      this.devices = new Map(nested(list, 1).map(device => [texts(device, 1)[0]!, texts(device, 2)[0]!]))
    })
    stream.on('error', () => {}) // `end` follows
    stream.on('end', () => {
      if (this.#stream === stream) this.devices = undefined
    })
  }

  #forget(): void {
    this.#stream?.cancel()
    this.#plugin?.close()
    this.#stream = undefined
    this.#plugin = undefined
    this.devices = undefined
  }

  #call(method: string, request: Fields): Promise<Buffer> {
    return new Promise((done, fail) => {
      const finish = (error: ServiceError | null, message?: Buffer) => (error === null ? done(message!) : fail(error))
      this.#plugin!.makeUnaryRequest(`/v1beta1.DevicePlugin/${method}`, asIs, asIs, encode(request), finish)
    })
  }
}
