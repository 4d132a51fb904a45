/**
 * The agent's socket: lines in, lines out. Whatever comes in, no client can end the agent, or make
 * it wait or grow without bound.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'

/** The longest request: configuration and annotations of a pod are some KiB. */
export const MAX_LINE = 1 << 20
/** Answers that nobody reads. */
const MAX_UNREAD = 8 << 20
const SILENT_MS = 60_000
/**
 * With more, the one that has been silent for longest is closed. It asks again if it has something
 * to ask: see ask().
 */
const MAX_CONNECTIONS = 512
/** A client that has been refused has so long to read why. */
const LINGER_MS = 1_000
/** Requests under way are waited for so long when the server closes. */
const CLOSE_MS = 30_000

/** Who asked. */
export interface Caller {
  /** True when its end of the connection is closed: nobody waits for the answer. */
  isGone(): boolean
}

export interface ServerOptions {
  /** A listening socket that is this object's from now on. */
  listening: number
  /**
   * The answer to a line, which goes out as a line; undefined: the connection is closed without
   * one. Must not reject.
   */
  respond(line: string, caller: Caller): Promise<string | undefined>
  /** The answer to a line that is longer than MAX_LINE; the connection is closed after it. */
  tooLong: string
  /** A connection without a request for so long is closed; default: a minute. */
  silentMs?: number
}

export class LineServer {
  readonly #options: ServerOptions
  readonly #server: Server
  readonly #connections = new Set<Connection>()

  constructor(options: ServerOptions) {
    this.#options = options
    this.#server = createServer(socket => this.#accept(socket))
  }

  /** Resolves when connections are accepted. */
  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.on('error', reject)
      this.#server.listen({ fd: this.#options.listening }, resolve)
    })
  }

  /**
   * Accepts no more, closes every connection at rest, and resolves when the requests under way have
   * been answered, or not for half a minute.
   */
  async close(): Promise<void> {
    this.#server.close()
    const ended = [...this.#connections].map(connection => connection.endWhenIdle())
    let timer: NodeJS.Timeout | undefined
    const tooLate = new Promise<void>(resolve => {
      timer = setTimeout(resolve, CLOSE_MS)
    })
    await Promise.race([Promise.all(ended), tooLate])
    clearTimeout(timer)
  }

  #accept(socket: Socket): void {
    const connection = new Connection(socket, this.#options, () => this.#connections.delete(connection))
    this.#connections.add(connection)
    if (this.#connections.size > MAX_CONNECTIONS) this.#drop([...this.#connections].find(({ isIdle }) => isIdle))
  }

  /** At once out of the list: its "close" comes later, and many may be accepted in between. */
  #drop(connection: Connection | undefined): void {
    if (connection === undefined) return
    this.#connections.delete(connection)
    connection.destroy()
  }
}

class Connection {
  readonly #socket: Socket
  readonly #options: ServerOptions
  #received = ''
  #gone = false
  #ending = false
  /** Until every line that has come has been answered. */
  #answering: Promise<void> | undefined

  constructor(socket: Socket, options: ServerOptions, onClose: () => void) {
    this.#socket = socket
    this.#options = options
    socket.setEncoding('utf8')
    socket.setTimeout(options.silentMs ?? SILENT_MS)
    socket.on('timeout', () => (this.#ending || this.isIdle) && socket.destroy())
    socket.on('error', () => socket.destroy())
    socket.on('end', () => {
      this.#gone = true
    })
    socket.on('close', () => {
      this.#gone = true
      onClose()
    })
    socket.on('data', (chunk: string) => this.#receive(chunk))
  }

  get isIdle(): boolean {
    return this.#answering === undefined
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** Resolves when the requests that have come are answered and the answers are sent. */
  async endWhenIdle(): Promise<void> {
    this.#ending = true
    if (this.#answering === undefined) return this.destroy()
    await this.#answering
    if (this.#socket.destroyed) return
    await new Promise<void>(resolve => {
      this.#socket.on('close', resolve)
      this.#socket.end(() => this.#socket.destroy())
    })
  }

  #receive(chunk: string): void {
    if (this.#ending) return // whoever asks finds the connection closed, and asks the next agent
    this.#received += chunk
    if (this.#answering === undefined) {
      this.#answering = this.#answerAll().finally(() => {
        this.#answering = undefined
      })
    }
    if (this.#received.length > MAX_LINE) this.#refuse()
  }

  /** One line after another, in the order in which they came. */
  async #answerAll(): Promise<void> {
    for (let end = this.#received.indexOf('\n'); end >= 0; end = this.#received.indexOf('\n')) {
      const line = this.#received.slice(0, end)
      this.#received = this.#received.slice(end + 1)
      // The end of a connection is read after what came before it: two turns later the caller's
      // death is known.
      await nextTurn()
      await nextTurn()
      const answer = await this.#options.respond(line, { isGone: () => this.#gone })
      if (answer === undefined) return this.destroy()
      this.#write(answer)
    }
  }

  #write(line: string): void {
    if (this.#socket.destroyed) return
    this.#socket.write(`${line}\n`)
    if (this.#socket.writableLength > MAX_UNREAD) this.destroy()
  }

  #refuse(): void {
    this.#received = ''
    this.#ending = true
    this.#write(this.#options.tooLong)
    this.#socket.end()
    this.#socket.setTimeout(LINGER_MS)
  }
}
