/**
 * The agent's socket: lines in, lines out. Nothing that a client sends can end the agent, make it
 * wait, or let it grow without bound.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'

/** The longest request, in bytes: configuration and annotations of a pod are some KiB. */
export const MAX_LINE = 1 << 20
/** The most bytes of answers that a client does not read. */
const MAX_UNREAD = 8 << 20
const SILENT_MS = 60_000
/**
 * Beyond this number, the connection that has been silent for longest is closed. Its client may
 * connect again: see ask().
 */
const MAX_CONNECTIONS = 512
/** The time that a refused client has to read the reason. */
const LINGER_MS = 1_000
/** The time that close() waits for requests under way. */
const CLOSE_MS = 30_000

/** The client. */
export interface Caller {
  /** True when the client has closed its end: nobody waits for the answer. */
  isGone(): boolean
}

export interface ServerOptions {
  /** A listening socket. The server owns it from now on. */
  listening: number
  /**
   * Makes the answer to a line; undefined closes the connection without an answer. Must not reject.
   */
  respond(line: string, caller: Caller): Promise<string | undefined>
  /** The answer to a line that is longer than MAX_LINE; the connection is closed after it. */
  tooLong: string
  /** A connection without a request is closed after this time; default: a minute. */
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
   * Accepts no more connections, closes idle ones, and resolves when the requests under way are
   * answered, or after half a minute.
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

  /**
   * Removed from the list at once: its "close" event comes later, and many connections may be
   * accepted in between.
   */
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
  /** Waits until every line that has arrived is answered. */
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

  /** Resolves when the requests that have arrived are answered and the answers are sent. */
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
    if (this.#ending) return // the client finds the connection closed, and asks the next agent
    this.#received += chunk
    if (this.#answering === undefined) {
      this.#answering = this.#answerAll().finally(() => {
        this.#answering = undefined
      })
    }
    if (this.#received.length > MAX_LINE) this.#refuse()
  }

  /** One line after another, in the order of arrival. */
  async #answerAll(): Promise<void> {
    for (let end = this.#received.indexOf('\n'); end >= 0; end = this.#received.indexOf('\n')) {
      const line = this.#received.slice(0, end)
      this.#received = this.#received.slice(end + 1)
      // The end of a connection is read after the data before it: two turns of the event loop later
      // it is known whether the caller is gone.
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
