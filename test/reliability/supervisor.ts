/** Runs processes on a lab's node, and decides over each of their system calls. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { eventually, type Lab } from '../support.ts'
import type { Ended, Report, Start } from './launcher.ts'
import { type Call, Listener } from './seccomp.ts'

/** What becomes of a call: undefined lets it pass, a number is the errno that it fails with. */
export type Verdict = undefined | 'kill' | number

/** `pid` is the process of the thread that makes the call. */
export type Judge = (call: Call, pid: number) => Verdict

/** A process that was started; `ended` resolves when it and its output have ended. */
export interface Run {
  pid: number
  ended: Promise<Ended>
}

/** Milliseconds that the event loop may wait for a call: it has nothing else to do meanwhile. */
const TURN_MS = 1

export class Supervisor {
  readonly #launcher: ChildProcess
  readonly #listener: Listener
  readonly #reports = new Map<number, (report: Report) => void>()
  readonly #pids = new Map<number, number>()
  #count = 0
  #isOpen = true
  /** Decides over each call; without it all pass. */
  judge: Judge | undefined

  static async start(lab: Lab): Promise<Supervisor> {
    const launcher = spawn(process.execPath, [join(import.meta.dirname, 'launcher.ts'), lab.node], { stdio: ['pipe', 'pipe', 'inherit'] })
    let listener: Listener | undefined
    await eventually(
      'the launcher is supervised',
      () => {
        listener = Listener.of(launcher.pid!)
        return listener !== undefined
      },
      60,
    )
    return new Supervisor(launcher, listener!)
  }

  private constructor(launcher: ChildProcess, listener: Listener) {
    this.#launcher = launcher
    this.#listener = listener
    createInterface({ input: launcher.stdout! }).on('line', line => {
      const report = JSON.parse(line) as Report
      this.#reports.get(report.id)!(report)
    })
    void this.#work()
  }

  /** Starts `command` on the node. Resolves when it runs. */
  start(command: string[], env: Start['env'] = {}, stdin = ''): Promise<Run> {
    const id = this.#count++
    this.#pids.clear() // a number may be another process's by now
    return new Promise(running => {
      let report: (ended: Ended) => void
      const ended = new Promise<Ended>(resolve => {
        report = resolve
      })
      this.#reports.set(id, found => {
        if ('pid' in found) return running({ pid: found.pid, ended })
        this.#reports.delete(id)
        report(found)
      })
      this.#launcher.stdin!.write(`${JSON.stringify({ id, command, env, stdin } satisfies Start)}\n`)
    })
  }

  close(): void {
    this.#isOpen = false
    this.#launcher.kill('SIGKILL')
    this.#listener[Symbol.dispose]()
  }

  async #work(): Promise<void> {
    while (this.#isOpen) {
      for (let call = this.#listener.next(TURN_MS); call !== undefined; call = this.#listener.next(0)) this.#decide(call)
      await nextTurn()
    }
  }

  #decide(call: Call): void {
    const pid = this.#processOf(call.tid)
    const verdict = pid === this.#launcher.pid ? undefined : this.judge?.(call, pid)
    if (verdict === 'kill') kill(pid)
    else this.#listener.answer(call, verdict)
  }

  #processOf(tid: number): number {
    const known = this.#pids.get(tid) ?? tgidOf(tid)
    this.#pids.set(tid, known)
    return known
  }
}

function tgidOf(tid: number): number {
  try {
    return Number(/^Tgid:\s+(\d+)/m.exec(readFileSync(`/proc/${tid}/status`, 'utf8'))![1])
  } catch {
    return tid // it has ended meanwhile
  }
}

/** SIGKILL; a process that has ended is no error. */
export function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
