/**
 * What Multus does to a pod, as far as its delegates see it: the cluster's network on eth0, then
 * one network after the other on net1, net2 …, each a configuration of its own to libcni.
 */
import { join } from 'node:path'
import { environment, inside, type Lab, type Output } from '../support.ts'

/** The configuration of a NetworkAttachmentDefinition, and what the pod's annotation asks for. */
export interface Network {
  /** With `type`: one plugin, as most NetworkAttachmentDefinitions have it. */
  conf: Record<string, unknown> & { name: string; type: string }
  /** The annotation's `ips`. */
  ips?: string[]
  /** The annotation's `default-route`. */
  defaultRoute?: string
  /** Of a device plugin, where the NetworkAttachmentDefinition names a resource. */
  deviceID?: string
}

/** One pod; the first network is the cluster's. */
export class MultusPod {
  readonly netns: string
  readonly #lab: Lab
  readonly #networks: Network[]
  /** libcni's cache: results by interface. */
  readonly results: Record<string, Output['json']> = {}

  constructor(lab: Lab, networks: Network[]) {
    this.#lab = lab
    this.#networks = networks
    this.netns = lab.netns()
  }

  static ifname = (index: number) => (index === 0 ? 'eth0' : `net${index}`)

  /** All in order; what fails has all of them removed, the failed one first, and is returned. */
  add(): Output | undefined {
    const moves = this.#networks.some(({ defaultRoute }) => defaultRoute !== undefined)
    for (const [index, network] of this.#networks.entries()) {
      const output = this.#call('ADD', index)
      if (output.status !== 0) {
        this.#delete(index)
        return output
      }
      const ifname = MultusPod.ifname(index)
      this.results[ifname] = output.json
      if (moves) this.#moveDefaultRoute(ifname, network.defaultRoute)
    }
    return undefined
  }

  /** Each in order; the outputs by interface. */
  check(): Record<string, Output> {
    return Object.fromEntries(this.#networks.map((_, index) => [MultusPod.ifname(index), this.#call('CHECK', index)]))
  }

  /** In reverse order, all of them, whatever fails; the outputs by interface. */
  del(): Record<string, Output> {
    return this.#delete(this.#networks.length - 1)
  }

  /** The cluster's network alone is asked to collect garbage. */
  gc(): Output {
    return this.#call('GC', 0)
  }

  #delete(last: number): Record<string, Output> {
    const outputs: Record<string, Output> = {}
    for (let index = last; index >= 0; index--) outputs[MultusPod.ifname(index)] = this.#call('DEL', index)
    return outputs
  }

  /** Only the network that asks for it keeps or gets one, in the kernel and in libcni's cache. */
  #moveDefaultRoute(ifname: string, gateway: string | undefined): void {
    const ip = (...words: string[]) => inside(this.netns, 'ip', 'route', ...words)
    const result = this.results[ifname]
    for (const line of ip('show', 'default', 'dev', ifname).trim().split('\n').filter(Boolean))
      ip('del', ...line.trim().split(/\s+/), 'dev', ifname)
    result.routes = (result.routes ?? []).filter(({ dst }: { dst: string }) => dst !== '0.0.0.0/0')
    if (gateway === undefined) return
    ip('add', 'default', 'via', gateway, 'dev', ifname)
    result.routes.push({ dst: '0.0.0.0/0', gw: gateway })
  }

  #call(command: string, index: number): Output {
    const { conf, ips, deviceID } = this.#networks[index]!
    const ifname = MultusPod.ifname(index)
    const capabilities = (conf.capabilities ?? {}) as Record<string, boolean>
    const runtimeConfig = { ...(ips && capabilities.ips && { ips }), ...(deviceID && capabilities.deviceID && { deviceID }) }
    const prevResult = ['CHECK', 'DEL'].includes(command) ? this.results[ifname] : undefined
    const input = {
      ...conf,
      ...(deviceID && { deviceID, pciBusID: deviceID }),
      ...(Object.keys(runtimeConfig).length > 0 && { runtimeConfig }),
      ...(prevResult && { prevResult }),
      ...(command === 'GC' && { 'cni.dev/valid-attachments': [{ containerID: this.netns, ifname }] }),
    }
    const args = [
      'IgnoreUnknown=true',
      'K8S_POD_NAMESPACE=default',
      'K8S_POD_NAME=vpn-client',
      `K8S_POD_INFRA_CONTAINER_ID=${this.netns}`,
      'K8S_POD_UID=4a2c',
      ...(ips && command === 'ADD' ? [`IP=${ips.join()}`] : []),
    ]
    const env = { ...environment(command, this.netns), CNI_IFNAME: ifname, CNI_ARGS: args.join(';') }
    const run = () => this.#lab.run(env, JSON.stringify(input))
    return conf.type === 'tunlink' ? run() : this.#lab.with(join('/usr/lib/cni', conf.type), run)
  }
}
