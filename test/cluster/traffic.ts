/** A TCP transfer between two pods whose bytes are counted and hashed at both ends. */
import { type ChildProcess, spawn } from 'node:child_process'
import { resolve } from 'node:path'
import { eventually } from '../support.ts'
import { type Pod, podCommand } from './pods.ts'

const SCRIPT = resolve(import.meta.dirname, '../transfer.ts')

interface End {
  process: ChildProcess
  output: string
  errors: string
}

function run(pod: Pod, ...args: string[]): End {
  const [file, words] = podCommand(pod, process.execPath, SCRIPT, ...args)
  const child = spawn(file, words, { stdio: ['ignore', 'pipe', 'pipe'] })
  const end: End = { process: child, output: '', errors: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    end.output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    end.errors += text
  })
  return end
}

const ended = ({ process: child }: End) => child.exitCode !== null || child.signalCode !== null

export class Transfer {
  readonly #receiver: End
  readonly #sender: End
  readonly #started = Date.now()

  private constructor(receiver: End, sender: End) {
    this.#receiver = receiver
    this.#sender = sender
  }

  /** Sends `bytes`, or until finish() when that is Infinity, with a pause after each MiB. */
  static async start(from: Pod, to: Pod, { bytes = Number.POSITIVE_INFINITY, pauseMs = 0, port = 5001 } = {}): Promise<Transfer> {
    const receiver = run(to, 'receive', String(port))
    await eventually('the receiver listens', () => receiver.output.includes('listening'))
    return new Transfer(receiver, run(from, 'send', to.ip, String(port), String(bytes), String(pauseMs)))
  }

  /** False when the connection has broken, or all was sent. */
  get running(): boolean {
    return !ended(this.#receiver) && !ended(this.#sender)
  }

  /**
   * Ends an endless one, else waits; throws unless the same bytes arrived. Returns bytes and bit/s.
   */
  async finish(seconds = 30, endless = true): Promise<{ bytes: number; rate: number; longestPauseMs: number }> {
    if (endless) this.#sender.process.kill('SIGTERM')
    try {
      await eventually('both ends of the transfer have ended', () => ended(this.#sender) && ended(this.#receiver), seconds)
    } finally {
      this.#sender.process.kill('SIGKILL')
      this.#receiver.process.kill('SIGKILL')
    }
    const [sent, received] = [this.#sender, this.#receiver].map(({ output }) => output.trim().split('\n').at(-1)!)
    if (sent !== received || !/^\d+ [0-9a-f]{64}$/.test(sent!))
      throw new Error(`Sent "${sent}", received "${received}": ${this.#sender.errors}${this.#receiver.errors}`)
    const bytes = Number(sent!.split(' ')[0])
    const longestPauseMs = Number(/longest pause (\d+) ms/.exec(this.#receiver.errors)![1])
    return { bytes, longestPauseMs, rate: (bytes * 8000) / (Date.now() - this.#started) }
  }
}
