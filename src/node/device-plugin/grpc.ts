/**
 * gRPC over unix sockets. The only door to @grpc/grpc-js; messages are bytes to it, so that nothing
 * parses a .proto file.
 */
import { createServer, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { Client, credentials, Server, ServerCredentials, type ServerUnaryCall, type ServerWritableStream, status } from '@grpc/grpc-js'
import { AuthorityFilter } from './authority.ts'

const CALL_MS = 5_000

/** Its registry of servers and clients would keep those that are closed. */
const OPTIONS = { 'grpc.enable_channelz': 0 }

const asIs = (bytes: Buffer): Buffer => bytes

/** Sends one message of a stream. */
export type Send = (message: Buffer) => void

export interface Service {
  /** By name. What one throws is the caller's error UNAVAILABLE. */
  unary: Record<string, (request: Buffer) => Buffer>
  /** By name. The function returned is called when the stream has ended, whoever ended it. */
  streams: Record<string, (send: Send) => () => void>
}

/** Ends all streams and closes the socket. */
export type Close = () => void

/** Serves `service` at the unix socket `path`, which must not exist. */
export function serve(path: string, name: string, service: Service): Promise<Close> {
  const server = new Server(OPTIONS)
  const method = (method: string, responseStream: boolean) => ({
    path: `/${name}/${method}`,
    requestStream: false,
    responseStream,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  })
  const unary = Object.entries(service.unary).map(([key, body]) => [key, method(key, false), answering(body)] as const)
  const streams = Object.entries(service.streams).map(([key, body]) => [key, method(key, true), streaming(body)] as const)
  const all = [...unary, ...streams]
  server.addService(
    Object.fromEntries(all.map(([key, definition]) => [key, definition])),
    Object.fromEntries(all.map(([key, , body]) => [key, body])),
  )
  const connections = server.createConnectionInjector(ServerCredentials.createInsecure())
  const sockets = new Set<Socket>()
  const listener = createServer(socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    connections.injectConnection(withAuthority(socket))
  })
  const close = () => {
    listener.close()
    for (const socket of sockets) socket.destroy()
    server.forceShutdown()
  }
  return new Promise((resolve, reject) => {
    listener.on('error', cause => {
      server.forceShutdown()
      reject(new Error(`Cannot listen at ${path}: ${cause.message}`, { cause }))
    })
    listener.listen(path, () => resolve(close))
  })
}

/** A connection whose `:authority` is one, see AuthorityFilter. */
function withAuthority(socket: Socket): Duplex {
  const filter = new AuthorityFilter()
  const connection = new Duplex({
    read: () => void socket.resume(),
    write: (chunk: Buffer, _encoding, written) => void socket.write(chunk, written),
    final: ended => void socket.end(ended),
    destroy: (error, destroyed) => {
      socket.destroy()
      destroyed(error)
    },
  })
  socket.on('data', chunk => {
    try {
      const passed = filter.push(chunk)
      if (passed.length > 0 && !connection.push(passed)) socket.pause()
    } catch (error) {
      connection.destroy(error as Error) // no HTTP/2
    }
  })
  socket.on('end', () => connection.push(null))
  socket.on('close', () => connection.destroy())
  socket.on('error', () => {}) // `close` follows
  connection.on('error', () => {})
  return connection
}

type Answer = (error: { code: status; details: string } | null, message?: Buffer) => void

const answering = (body: (request: Buffer) => Buffer) => (call: ServerUnaryCall<Buffer, Buffer>, answer: Answer) => {
  let message: Buffer
  try {
    message = body(call.request)
  } catch (error) {
    answer({ code: status.UNAVAILABLE, details: (error as Error).message })
    return
  }
  answer(null, message)
}

const streaming = (body: (send: Send) => () => void) => (call: ServerWritableStream<Buffer, Buffer>) => {
  const ended = body(message => call.write(message))
  call.once('close', ended)
  call.on('error', () => {}) // `close` follows
}

/** One call at the unix socket `path`. Rejects with the server's words, or after 5 s. */
export function call(path: string, name: string, method: string, request: Buffer): Promise<Buffer> {
  const client = new Client(`unix:${path}`, credentials.createInsecure(), OPTIONS)
  return new Promise<Buffer>((resolve, reject) => {
    client.makeUnaryRequest(`/${name}/${method}`, asIs, asIs, request, { deadline: Date.now() + CALL_MS }, (error, message) => {
      if (error === null) resolve(message!)
      else reject(error)
    })
  }).finally(() => client.close())
}
