/** The verbs against `ptp` with `host-local`: whole processes, started as a runtime starts them. */
import { spawn, spawnSync } from 'node:child_process'
import { inNetns } from '../src/linux/netns.ts'
import { Lab } from '../test/support.ts'
import { compare, interleave, median, type Row } from './measure.ts'

const PTP = '/usr/lib/cni/ptp'
const PEER = 'ptp+host-local'
const DUAL = { ranges: [[{ subnet: '10.77.0.0/16' }], [{ subnet: 'fd77::/64' }]] }

interface Plugin {
  path: string
  conf: object
}

/** Both plugins on one node, and calls of them timed. */
class Verbs {
  readonly lab = new Lab()
  readonly host: Plugin
  readonly attach: Plugin
  readonly dual: Plugin
  readonly ptp: Plugin
  readonly ptpDual: Plugin

  constructor() {
    const { lab } = this
    const own = (conf: object): Plugin => ({ path: lab.executable, conf: { ...lab.conf, cniVersion: '1.0.0', ...conf } })
    const peer = (name: string, ranges: object): Plugin => ({
      path: PTP,
      conf: { cniVersion: '1.0.0', name, type: 'ptp', ipam: { type: 'host-local', dataDir: `${lab.dataDir}/host-local`, ...ranges } },
    })
    this.host = own({ ipam: { type: 'tunlink', subnet: '10.66.0.0/16' } })
    this.attach = own({ name: 'attached', farEnd: 'attach', owner: 1000, ipam: { type: 'tunlink', subnet: '10.67.0.0/16' } })
    this.dual = own({ name: 'dual', ipam: { type: 'tunlink', ranges: [[{ subnet: '10.68.0.0/16' }], [{ subnet: 'fd68::/64' }]] } })
    this.ptp = peer('peer', { subnet: '10.76.0.0/16' })
    this.ptpDual = peer('peer-dual', DUAL)
    this.time(this.host, 'ADD', lab.netns()) // the agent is warm, as it is on every node but at its first pod
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

  /** Milliseconds of a call for each of `targets`, so many at a time. */
  async burst(plugin: Plugin, command: string, targets: { pod: string; ifname: string }[], atATime: number): Promise<number> {
    const queue = [...targets]
    const started = performance.now()
    const call = ({ pod, ifname }: { pod: string; ifname: string }) =>
      new Promise<void>((done, fail) => {
        const child = inNetns(`/run/netns/${this.lab.node}`, () => ({
          process: spawn(plugin.path, { env: environment(command, pod, ifname), stdio: ['pipe', 'ignore', 'inherit'] }),
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
}

const environment = (command: string, pod: string, ifname: string) => ({
  PATH: process.env.PATH,
  CNI_COMMAND: command,
  CNI_CONTAINERID: pod,
  CNI_NETNS: `/run/netns/${pod}`,
  CNI_IFNAME: ifname,
  CNI_PATH: '/usr/lib/cni',
})

async function withVerbs<T>(body: (verbs: Verbs) => Promise<T>): Promise<T> {
  const verbs = new Verbs()
  try {
    return await body(verbs)
  } finally {
    verbs.lab.close()
  }
}

/** ADD and DEL one by one, and the most memory that an ADD takes. */
export const addAndDel = (rounds: number): Promise<Row[]> =>
  withVerbs(async verbs => {
    const plugins = { host: verbs.host, attach: verbs.attach, ptp: verbs.ptp }
    const [adds, dels] = [
      { host: [], attach: [], ptp: [] },
      { host: [], attach: [], ptp: [] },
    ] as Record<keyof typeof plugins, number[]>[]
    for (let round = 0; round < rounds; round++) {
      const order = Object.entries(plugins) as [keyof typeof plugins, Plugin][]
      for (const [name, plugin] of round % 2 === 0 ? order : order.toReversed()) {
        const pod = verbs.lab.netns()
        adds![name].push(verbs.time(plugin, 'ADD', pod))
        dels![name].push(verbs.time(plugin, 'DEL', pod))
      }
    }
    const row = (bench: string, what: string, most: number) => ({ bench, what, unit: 'ms', peer: PEER, target: { most } })
    return [
      compare(row('add', 'ADD host, agent warm', 0.9), adds!.host, adds!.ptp),
      compare(row('add', 'ADD attach, agent warm', 1.1), adds!.attach, adds!.ptp),
      compare(row('del', 'DEL host', 0.7), dels!.host, dels!.ptp),
      compare(row('del', 'DEL attach', 0.7), dels!.attach, dels!.ptp),
      peakMemory(verbs),
      ...(await withoutAgent(verbs, rounds)),
    ]
  })

/** `attach` where no agent runs: all in the plugin's own process. */
async function withoutAgent(verbs: Verbs, rounds: number): Promise<Row[]> {
  process.kill(verbs.lab.agentPid()!, 'SIGKILL')
  const [adds, dels]: { ours: number[]; theirs: number[] }[] = [
    { ours: [], theirs: [] },
    { ours: [], theirs: [] },
  ]
  for (let round = 0; round < rounds; round++) {
    const [one, two] = [verbs.lab.netns(), verbs.lab.netns()]
    adds!.ours.push(verbs.time(verbs.attach, 'ADD', one))
    adds!.theirs.push(verbs.time(verbs.ptp, 'ADD', two))
    dels!.ours.push(verbs.time(verbs.attach, 'DEL', one))
    dels!.theirs.push(verbs.time(verbs.ptp, 'DEL', two))
  }
  return [
    compare({ bench: 'add', what: 'ADD attach, no agent', unit: 'ms', peer: PEER, target: { most: 1.1 } }, adds!.ours, adds!.theirs),
    compare({ bench: 'del', what: 'DEL attach, no agent', unit: 'ms', peer: PEER }, dels!.ours, dels!.theirs),
  ]
}

function peakMemory({ lab, host }: Verbs): Row {
  const kilobytes = Array.from({ length: 5 }, () => {
    const env = environment('ADD', lab.netns(), 'eth0')
    const { stderr } = inNetns(`/run/netns/${lab.node}`, () =>
      spawnSync('/usr/bin/time', ['-f', '%M', host.path], { input: JSON.stringify(host.conf), env, encoding: 'utf8' }),
    )
    return Number(stderr.trim().split('\n').at(-1))
  })
  return { bench: 'add', what: 'peak memory of one ADD', unit: 'MB', ours: median(kilobytes) / 1024, n: 5, target: { most: 40 } }
}

/** IPv4 and IPv6 together: `ptp` waits for duplicate address detection, which a link without neighbours does not have. */
export const dualStack = (rounds: number): Promise<Row[]> =>
  withVerbs(async verbs => {
    const { ours, theirs } = await interleave(Math.min(rounds, 5), {
      ours: () => verbs.time(verbs.dual, 'ADD', verbs.lab.netns()),
      theirs: () => verbs.time(verbs.ptpDual, 'ADD', verbs.lab.netns()),
    })
    return [compare({ bench: 'dualstack', what: 'ADD dual-stack', unit: 'ms', peer: PEER, target: { most: 0.01 } }, ours, theirs)]
  })

/** As after a reboot: many at once. */
export const burst = (rounds: number): Promise<Row[]> =>
  withVerbs(async verbs => {
    const samples = { add: [[], []] as number[][], del: [[], []] as number[][] }
    for (let round = 0; round < Math.min(rounds, 3); round++) {
      for (const [index, plugin] of [verbs.host, verbs.ptp].entries()) {
        const targets = Array.from({ length: 200 }, () => ({ pod: verbs.lab.netns(), ifname: 'eth0' }))
        samples.add[index]!.push(await verbs.burst(plugin, 'ADD', targets, 16))
        samples.del[index]!.push(await verbs.burst(plugin, 'DEL', targets, 16))
      }
    }
    const row = (what: string) => ({ bench: 'burst', what, unit: 'ms', peer: PEER, target: { most: 1 } })
    return [
      compare(row('200 ADDs, 16 at a time'), samples.add[0]!, samples.add[1]!),
      compare(row('200 DELs, 16 at a time'), samples.del[0]!, samples.del[1]!),
    ]
  })

/** The same ADD beside one link and beside many. */
export const scale = (rounds: number, links = 1000): Promise<Row[]> =>
  withVerbs(async few =>
    withVerbs(async many => {
      const pod = many.lab.netns()
      const targets = Array.from({ length: links - 1 }, (_, index) => ({ pod, ifname: `n${index}` }))
      const extra = { ...many.host, conf: { ...many.host.conf, ipam: { type: 'tunlink', subnet: '10.66.0.0/16', routes: [] } } }
      await many.burst(extra, 'ADD', targets, 8) // all in one pod, where there can be but one default route
      const { ours, theirs } = await interleave(rounds, {
        ours: () => many.time(many.host, 'ADD', many.lab.netns()),
        theirs: () => few.time(few.host, 'ADD', few.lab.netns()),
      })
      return [
        compare(
          { bench: 'scale', what: `ADD beside ${links} links`, unit: 'ms', peer: 'beside one', target: { most: 1.15 } },
          ours,
          theirs,
        ),
      ]
    }),
  )
