/** A conflist, run as libcni runs it: each plugin is given what those before it printed. */
import { environment, type Lab, type Output } from './support.ts'

type Plugin = { type: string; capabilities?: Record<string, boolean> } & Record<string, unknown>

export class Chain {
  readonly #lab: Lab
  readonly plugins: Plugin[]

  /** `plugins` as the conflist has them; those of type tunlink get the lab's directory. */
  constructor(lab: Lab, plugins: Plugin[]) {
    this.#lab = lab
    this.plugins = plugins.map(plugin =>
      plugin.type === 'tunlink' ? { dataDir: lab.dataDir, agent: { idleSeconds: 1 }, ...plugin } : plugin,
    )
  }

  /** The last plugin's result, or the first failure. */
  add(pod: string, runtimeConfig: Record<string, unknown> = {}): Output {
    let output: Output | undefined
    for (const plugin of this.plugins) {
      output = this.#call('ADD', pod, plugin, { runtimeConfig, prevResult: output?.json })
      if (output.status !== 0) return output
    }
    return output!
  }

  /** The failure of each plugin; undefined for those that found nothing wrong. */
  check(pod: string, prevResult: object): (string | undefined)[] {
    return this.plugins.map(plugin => failureOf(this.#call('CHECK', pod, plugin, { prevResult })))
  }

  /** In reverse, as libcni does; goes on after a failure. */
  del(pod: string, prevResult?: object): (string | undefined)[] {
    return this.plugins.toReversed().map(plugin => failureOf(this.#call('DEL', pod, plugin, { prevResult })))
  }

  /**
   * `pods` keep what they have. Debian's plugins do not know GC, which is of CNI 1.1.0: their IPAM,
   * ours, is called as newer ones call it.
   */
  gc(pods: string[]): (string | undefined)[] {
    const valid = pods.map(containerID => ({ containerID, ifname: 'eth0' }))
    const env = { CNI_COMMAND: 'GC', CNI_PATH: environment('GC', '').CNI_PATH }
    const conf = { cniVersion: '1.1.0', name: 'net', 'cni.dev/valid-attachments': valid }
    return this.plugins.map(plugin => failureOf(this.#lab.run(env, JSON.stringify({ ...conf, ...plugin }))))
  }

  #call(command: string, pod: string, { capabilities = {}, ...plugin }: Plugin, more: Record<string, unknown>): Output {
    const given = Object.entries(more.runtimeConfig ?? {}).filter(([key]) => capabilities[key])
    const stdin = JSON.stringify({ cniVersion: '1.0.0', name: 'net', ...plugin, ...more, runtimeConfig: Object.fromEntries(given) })
    const call = () => this.#lab.run(environment(command, pod), stdin)
    return plugin.type === 'tunlink' ? call() : this.#lab.with(`/usr/lib/cni/${plugin.type}`, call)
  }
}

const failureOf = ({ status, stdout, stderr }: Output): string | undefined => (status === 0 ? undefined : stdout || stderr)
