/** The verbs against `ptp` with `host-local`: whole processes, started as a runtime starts them. */
import { spawn, spawnSync } from 'node:child_process'
import { inNetns } from '../src/linux/netns.ts'
import type { Lab } from '../test/support.ts'
import { compare, figure, interleave, type Label, median, type Row, type Target } from './measure.ts'
import { PTP, withPaths } from './paths.ts'

const PEER = 'ptp+host-local'

interface Plugin {
  path: string
  conf: object
}

/** Both plugins on one node, and calls of them timed. */
class Verbs {
  readonly lab: Lab
  readonly host: Plugin
  readonly attach: Plugin
  readonly dual: Plugin
  readonly ptp: Plugin
  readonly ptpDual: Plugin

  constructor(lab: Lab) {
    this.lab = lab
    const agent = { idleSeconds: 0 } // it is here for all of the bench
    const own = (conf: object): Plugin => ({ path: lab.executable, conf: { ...lab.conf, cniVersion: '1.0.0', agent, ...conf } })
    const peer = (name: string, ranges: object): Plugin => ({
      path: PTP,
      conf: { cniVersion: '1.0.0', name, type: 'ptp', ipam: { type: 'host-local', dataDir: `${lab.dataDir}/host-local`, ...ranges } },
    })
    this.host = own({ wire: 'kernel', ipam: { type: 'tunlink', subnet: '10.66.0.0/16' } })
    this.attach = own({ name: 'attached', farEnd: 'attach', owner: 1000, ipam: { type: 'tunlink', subnet: '10.67.0.0/16' } })
    this.dual = own({ name: 'dual', ipam: { type: 'tunlink', ranges: [[{ subnet: '10.68.0.0/16' }], [{ subnet: 'fd68::/64' }]] } })
    this.ptp = peer('peer', { subnet: '10.76.0.0/16' })
    this.ptpDual = peer('peer-dual', { ranges: [[{ subnet: '10.77.0.0/16' }], [{ subnet: 'fd77::/64' }]] })
    // the agent is warm, as it is on every node but at its first pod
    this.time(this.host, 'ADD', lab.netns())
  }

  /** Milliseconds of one call, which must succeed. */
  time(plugin: Plugin, command: string, pod: string, ifname = 'eth0'): number {
    return inNetns(`/run/netns/${this.lab.node}`, () => {
      const started = performance.now()
      const { status, stdout } = spawnSync(plugin.path, { input: JSON.stringify(plugin.conf), env: environment(command, pod, ifname) })
      if (status !== 0) throw new Error(`${command} by ${plugin.path}: ${stdout}`)
      return performance.now() - started
    })
  }

  /** Milliseconds of a call for each of `pods`, so many at a time. */
  async burst(plugin: Plugin, command: string, pods: string[], atATime: number): Promise<number> {
    const queue = [...pods]
    const started = performance.now()
    const call = (pod: string) =>
      new Promise<void>((done, fail) => {
        const child = inNetns(`/run/netns/${this.lab.node}`, () => ({
          process: spawn(plugin.path, { env: environment(command, pod, 'eth0'), stdio: ['pipe', 'ignore', 'inherit'] }),
        })).process
        child.stdin.end(JSON.stringify(plugin.conf))
        child.on('close', status => (status === 0 ? done() : fail(new Error(`${command} by ${plugin.path} failed for ${pod}`))))
      })
    await Promise.all(
      Array.from({ length: atATime }, async () => {
        for (let next = queue.shift(); next !== undefined; next = queue.shift()) await call(next)
      }),
    )
    return performance.now() - started
  }

  netns(count: number): string[] {
    return Array.from({ length: count }, () => this.lab.netns())
  }
}

const environment = (command: string, pod: string, ifname: string) => ({
  PATH: process.env.PATH,
  CNI_COMMAND: command,
  CNI_CONTAINERID: pod,
  CNI_NETNS: `/run/netns/${pod}`,
  CNI_IFNAME: ifname,
  CNI_PATH: '/usr/lib/cni',
})

const withVerbs = <T>(body: (verbs: Verbs) => Promise<T>): Promise<T> => withPaths(paths => body(new Verbs(paths.lab())))

/** These are short: more rounds cost little, and single calls vary much. */
const CALLS_PER_ROUND = 3

/**
 * ADD and DEL one by one, an empty start of the same executable, and the most memory that an ADD
 * takes.
 */
export const addAndDel = (rounds: number): Promise<Row[]> =>
  withVerbs(async verbs => {
    const { host, attach, ptp } = verbs
    const dels: Record<'host' | 'attach' | 'ptp', number[]> = { host: [], attach: [], ptp: [] }
    const add = (plugin: Plugin, into: number[]) => () => {
      const pod = verbs.lab.netns()
      const taken = verbs.time(plugin, 'ADD', pod)
      into.push(verbs.time(plugin, 'DEL', pod))
      return taken
    }
    const adds = await interleave(rounds * CALLS_PER_ROUND, {
      host: add(host, dels.host),
      version: () => verbs.time(host, 'VERSION', verbs.lab.node),
      attach: add(attach, dels.attach),
      ptp: add(ptp, dels.ptp),
    })
    const label = (bench: string, what: string, target?: Target): Label => ({
      bench,
      what,
      unit: 'ms',
      peer: PEER,
      ...(target && { target }),
    })
    return [
      compare({ ...label('add', 'ADD, agent warm', { most: 1.4, goal: 1.25 }), peer: 'VERSION' }, adds.host, adds.version),
      compare(label('add', 'ADD, agent warm', { most: 1.25, goal: 0.95 }), adds.host, adds.ptp),
      compare(label('add', 'ADD attach, agent warm'), adds.attach, adds.ptp),
      compare(label('del', 'DEL'), dels.host, dels.ptp),
      compare(label('del', 'DEL attach'), dels.attach, dels.ptp),
      peakMemory(verbs),
    ]
  })

function peakMemory({ lab, host }: Verbs): Row {
  const kilobytes = Array.from({ length: 5 }, () => {
    const env = environment('ADD', lab.netns(), 'eth0')
    const { stderr } = inNetns(`/run/netns/${lab.node}`, () =>
      spawnSync('/usr/bin/time', ['-f', '%M', host.path], { input: JSON.stringify(host.conf), env, encoding: 'utf8' }),
    )
    return Number(stderr.trim().split('\n').at(-1))
  })
  return figure({ bench: 'add', what: 'peak memory of one ADD', unit: 'MB' }, median(kilobytes) / 1024, kilobytes.length)
}

/**
 * IPv4 and IPv6 together: `ptp` waits for duplicate address detection, which a link without
 * neighbours does not have.
 */
export const dualStack = (rounds: number): Promise<Row[]> =>
  withVerbs(async verbs => {
    const { ours, theirs } = await interleave(Math.min(rounds, 3), {
      ours: () => verbs.time(verbs.dual, 'ADD', verbs.lab.netns()),
      theirs: () => verbs.time(verbs.ptpDual, 'ADD', verbs.lab.netns()),
    })
    return [compare({ bench: 'dualstack', what: 'ADD dual-stack', unit: 'ms', peer: PEER }, ours, theirs)]
  })

const BURST = 200
const AT_A_TIME = 16

/** As after a reboot: many at once. */
export const burst = (rounds: number): Promise<Row[]> =>
  withVerbs(async verbs => {
    const dels: Record<'ours' | 'theirs', number[]> = { ours: [], theirs: [] }
    const sample = (plugin: Plugin, into: number[]) => async () => {
      const pods = verbs.netns(BURST)
      const taken = await verbs.burst(plugin, 'ADD', pods, AT_A_TIME)
      into.push(await verbs.burst(plugin, 'DEL', pods, AT_A_TIME))
      return taken
    }
    const adds = await interleave(Math.min(rounds, 3), {
      ours: sample(verbs.host, dels.ours),
      theirs: sample(verbs.ptp, dels.theirs),
    })
    const label = (what: string): Label => ({ bench: 'burst', what, unit: 'ms', peer: PEER })
    return [
      compare({ ...label(`${BURST} ADDs, ${AT_A_TIME} at a time`), target: { most: 0.95, goal: 0.7 } }, adds.ours, adds.theirs),
      compare(label(`${BURST} DELs, ${AT_A_TIME} at a time`), dels.ours, dels.theirs),
    ]
  })

const MANY_LINKS = 250

/** The same ADD beside one link and beside many. */
export const scale = (rounds: number): Promise<Row[]> =>
  withVerbs(async few =>
    withVerbs(async many => {
      await many.burst(many.host, 'ADD', many.netns(MANY_LINKS - 1), 8)
      const { ours, theirs } = await interleave(rounds * CALLS_PER_ROUND, {
        ours: () => many.time(many.host, 'ADD', many.lab.netns()),
        theirs: () => few.time(few.host, 'ADD', few.lab.netns()),
      })
      return [compare({ bench: 'scale', what: `ADD beside ${MANY_LINKS} links`, unit: 'ms', peer: 'beside one' }, ours, theirs)]
    }),
  )
