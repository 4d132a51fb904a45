/**
 * What the sweeps share: a node with a pod whose verbs go wrong, and a neighbour that must not
 * notice.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { ask, noAgent } from '../../src/agent/client.ts'
import { lockPath } from '../../src/agent/protocol.ts'
import { lockHolder } from '../../src/linux/lock.ts'
import { inside, Lab, type Output } from '../support.ts'
import { linkOf } from './seccomp.ts'
import { kill, type Run, Supervisor } from './supervisor.ts'
import type { Watch } from './watch.ts'

/** A verb that has not ended by then hangs: the longest wait of tunlink's own is 10 s. */
const HANG_MS = 120_000

export interface Ran extends Output {
  signal: string | null
  /** It was ended after HANG_MS. */
  hangs: boolean
}

/** An agent whose calls all succeed has taken up its links by then. */
const TAKE_UP_MS = 1_000

const RANGES = [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]]

export class Bench {
  readonly lab: Lab
  readonly supervisor: Supervisor
  readonly pod: string
  readonly neighbour: string
  #ping: ChildProcess
  #lost = ''
  #isWaiting = false

  static async start(executable: string): Promise<Bench> {
    const lab = new Lab(executable)
    return new Bench(lab, await Supervisor.start(lab))
  }

  private constructor(lab: Lab, supervisor: Supervisor) {
    this.lab = lab
    this.supervisor = supervisor
    this.pod = lab.netns()
    this.neighbour = lab.netns()
    const conf = { ...this.#base, agent: { spawn: false } }
    // directories and table are there then
    for (const command of ['ADD', 'DEL']) lab.must(command, this.pod, conf)
    lab.must('ADD', this.neighbour, conf)
    this.#ping = spawn('ip', ['netns', 'exec', this.neighbour, 'ping', '-q', '-i', '0.01', '-W', '60', '10.66.0.1'])
    this.#ping.stdout!.setEncoding('utf8').on('data', (text: string) => (this.#lost += text))
  }

  get #base() {
    return { ipMasq: true, ipam: { type: 'tunlink', ranges: RANGES } }
  }

  /** Runs a verb about the pod. `conf` is over a configuration with two ranges. */
  async verb(command: string, conf: object, watch?: Watch): Promise<Ran> {
    const { lab, pod, neighbour, supervisor } = this
    const env = {
      PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
      CNI_COMMAND: command,
      CNI_CONTAINERID: pod,
      CNI_NETNS: `/run/netns/${pod}`,
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/opt/cni/bin',
    }
    const valid = { 'cni.dev/valid-attachments': [{ containerID: neighbour, ifname: 'eth0' }] }
    supervisor.judge = watch?.judge
    const run = await supervisor.start([lab.executable], env, JSON.stringify({ ...lab.conf, ...this.#base, ...valid, ...conf }))
    const timer = new AbortController()
    const limit = sleep(HANG_MS, 'hangs' as const, { signal: timer.signal }).catch(() => 'ended' as const)
    const hangs = (await Promise.race([run.ended, limit])) === 'hangs'
    timer.abort()
    if (hangs) kill(run.pid)
    const ended = await run.ended
    supervisor.judge = undefined
    return { ...ended, hangs, json: parse(ended.stdout) }
  }

  /** verb(), which must succeed. Throws an error with what it printed. */
  async must(command: string, conf: object): Promise<Ran> {
    const ran = await this.verb(command, conf)
    if (ran.status !== 0) throw new Error(`${command} afterwards: ${describe(ran)}`)
    return ran
  }

  /** The process ID of an agent that serves, which is started where none is. */
  async agent(): Promise<number> {
    const { dataDir } = this.lab
    if (lockHolder(lockPath(dataDir)) === undefined) await this.#startAgent()
    return this.#served()
  }

  /** Starts an agent that is watched; until it has taken up its links, or has ended. */
  async beginAgent(watch: Watch): Promise<Ran> {
    this.supervisor.judge = watch.judge
    this.#isWaiting = true
    const run = await this.#startAgent()
    const ended = await Promise.race([run.ended, this.#takenUp().then(() => undefined)])
    this.supervisor.judge = undefined
    this.#isWaiting = false
    return { status: null, signal: null, stdout: '', stderr: '', ...ended, hangs: false, json: undefined }
  }

  /** An agent whose calls fail may answer with an error, or not at all; it tries again. */
  async #takenUp(): Promise<void> {
    const status = () => ask(this.lab.dataDir, { op: 'status' }, TAKE_UP_MS).catch(() => undefined)
    for (const until = Date.now() + TAKE_UP_MS; this.#isWaiting && Date.now() < until; await sleep(10)) {
      const answer = await status()
      if (answer !== undefined && answer.held === answer.links) return
    }
  }

  #startAgent(): Promise<Run> {
    const env = { PATH: `${dirname(process.execPath)}:${process.env.PATH}` }
    return this.supervisor.start([this.lab.executable, 'agent', '--data-dir', this.lab.dataDir], env)
  }

  /** Resolves when an agent answers. */
  async #served(): Promise<number> {
    this.#isWaiting = true
    for (const until = Date.now() + HANG_MS; ; await sleep(10)) {
      try {
        return (await ask(this.lab.dataDir, { op: 'status' })).pid
      } catch (error) {
        if (!this.#isWaiting) return 0 // it has ended meanwhile
        if (!noAgent(error) || Date.now() > until) throw error
      }
    }
  }

  /** Ends the agent, if there is one. */
  async endAgent(): Promise<void> {
    const path = lockPath(this.lab.dataDir)
    for (let pid = lockHolder(path); pid !== undefined; pid = lockHolder(path)) {
      kill(pid)
      await sleep(5)
    }
  }

  /**
   * All that there is of the node, of both pods and on disk, as text. Without what an agent
   * changes: while it holds a TUN open, that has a carrier.
   */
  state(): string {
    const { lab, pod, neighbour } = this
    const own = lab.links(neighbour)
    const filters = own.flatMap(name => ['ingress', 'egress'].map(hook => `filter show dev ${name} ${hook}`))
    const script = [
      ...[lab.node, pod, neighbour].map(netns => inspect(netns, netns === neighbour ? filters : [])),
      `nsenter --net=/run/netns/${lab.node} nft list ruleset`,
      `cd ${lab.dataDir} && find links ipam '(' -type d -printf '%p/\\n' ')' -o -printf '%p %n %s\\n' | sort`,
    ]
    const text = execFileSync('sh', ['-c', script.join('\n')], { encoding: 'utf8' })
    return text.replaceAll(/NO-CARRIER,|,LOWER_UP| state [A-Z]+| linkdown| dead/g, '')
  }

  /** True when the pod has a link. */
  hasLink = (): boolean => this.lab.links(this.pod).length > 0

  /** Takes out what is left in the pod, by ip(8). */
  wipe(): void {
    for (const link of this.lab.links(this.pod)) inside(this.pod, 'ip', 'link', 'del', link)
  }

  /**
   * How many TUNs the agent holds open; 0 without an agent. One whose device a plugin has deleted,
   * which could not reach the agent, counts no more: the agent's sweep closes it.
   */
  heldTuns(): number {
    const pid = lockHolder(lockPath(this.lab.dataDir))
    if (pid === undefined) return 0
    const hasDevice = (fd: string) => {
      const path = `/proc/${pid}/fdinfo/${fd}`
      return existsSync(path) && /^iff:\t\S/m.test(readFileSync(path, 'utf8'))
    }
    return readdirSync(`/proc/${pid}/fd`).filter(fd => linkOf(pid, Number(fd)) === '/dev/net/tun' && hasDevice(fd)).length
  }

  /**
   * True when the node answers the pod. Whoever carries the packets may have to wait for a verdict.
   */
  async pings(): Promise<boolean> {
    const run = await this.supervisor.start(['nsenter', `--net=/run/netns/${this.pod}`, 'ping', '-c', '1', '-W', '10', '10.66.0.1'], {
      PATH: process.env.PATH,
    })
    return (await run.ended).status === 0
  }

  /** Throws when the neighbour has lost a packet while `what` was tested. */
  async verifyNeighbour(what: string): Promise<void> {
    this.#ping.kill('SIGINT') // it prints what was lost
    await new Promise(done => this.#ping.on('close', done))
    const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(this.#lost)!
    console.log(`figure: ${what}: ${received} of ${sent} packets of a neighbour arrived meanwhile`)
    assert.is(received, sent, this.#lost)
  }

  async close(): Promise<void> {
    this.#ping.kill('SIGKILL')
    await this.endAgent()
    this.supervisor.close()
    this.lab.close()
  }
}

/**
 * Commands that print devices, addresses, routes, queueing disciplines of a namespace, and what
 * `filters` ask.
 */
const inspect = (netns: string, filters: string[]): string => `echo "== ${netns}"
printf 'address show\\nroute show table all\\n' | ip -n ${netns} -d -batch -
printf '${['qdisc show', ...filters].join('\\n')}\\n' | tc -n ${netns} -batch -`

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export const describe = ({ status, signal, hangs, stdout, stderr }: Ran): string =>
  `${hangs ? 'hangs, ' : ''}${signal ?? `status ${status}`}: ${stdout}${stderr}`.trim()
