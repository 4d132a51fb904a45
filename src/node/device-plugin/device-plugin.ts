/**
 * A device plugin of the kubelet: a pod that asks for the resource gets a device file. See "Device
 * Plugins" in the documentation of Kubernetes. Any number of pods may open /dev/net/tun, so the
 * devices of the list are so many permissions, all for the one file.
 */
import { rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { allocateRequest, allocateResponse, DEVICE_PLUGIN, type Device, deviceList, EMPTY, REGISTRATION, registerRequest } from './api.ts'
import { type Close, call, type Send, serve } from './grpc.ts'

/** The file in containers, and on the node as the runtime sees it. */
export const DEVICE = '/dev/net/tun'
export const RESOURCE = 'tunlink.dev/net-tun'
/** Name of the plugin's socket in the kubelet's directory. */
const ENDPOINT = 'tunlink.dev-net-tun.sock'
/**
 * After so long without the kubelet's ListAndWatch it counts as one that has forgotten us. Measured
 * by the monotonic clock.
 */
const WATCH_MS = 10_000

export interface DevicePluginOptions {
  /** The kubelet's directory, with its socket. */
  directory: string
  /** How many pods' containers may have the device at a time. */
  devices: number
  /** The node's device file as this process sees it. */
  devicePath: string
}

export class DevicePlugin {
  readonly #options: DevicePluginOptions
  readonly #kubelet: string
  readonly #socket: string
  readonly #watchers = new Set<Send>()
  #close: Close | undefined
  /** Identities of our socket and of the kubelet's, to which it is known. */
  #known: string | undefined
  #unwatchedMs = 0
  #isHealthy = false
  #isEnded = false

  constructor(options: DevicePluginOptions) {
    this.#options = options
    this.#kubelet = join(options.directory, 'kubelet.sock')
    this.#socket = join(options.directory, ENDPOINT)
  }

  /** False while the node has no device file. */
  get isHealthy(): boolean {
    return this.#isHealthy
  }

  /**
   * Serves and registers where that is missing: at first, and after a restart of the kubelet, which
   * empties its directory and makes its socket anew. Tells the kubelet when the device file comes
   * or goes. True when it has registered. Throws when there is no kubelet, or it refuses.
   */
  async ensure(): Promise<boolean> {
    this.#look()
    if (this.#isKnown()) return false
    const kubelet = identity(this.#kubelet)
    if (kubelet === undefined) throw new Error(`No kubelet listens at ${this.#kubelet}`)
    this.#release()
    this.#close = await serve(this.#socket, DEVICE_PLUGIN, {
      unary: {
        GetDevicePluginOptions: () => EMPTY,
        Allocate: request => this.#allocate(request),
      },
      streams: { ListAndWatch: send => this.#watch(send) },
    })
    if (this.#isEnded) {
      this.#release()
      return false
    }
    try {
      await call(this.#kubelet, REGISTRATION, 'Register', registerRequest(ENDPOINT, RESOURCE))
    } catch (cause) {
      this.#release()
      throw new Error(`Cannot register ${RESOURCE} with the kubelet at ${this.#kubelet}: ${(cause as Error).message}`, { cause })
    }
    if (this.#isEnded) return false
    // as it was before: a kubelet that has restarted since then does not know us
    this.#known = this.#identities(kubelet)
    this.#unwatchedMs = performance.now()
    return true
  }

  /**
   * Ends the kubelet's streams and removes the socket: it then gives the resource to no pod. An
   * ensure() that is under way does not register any more.
   */
  end(): void {
    this.#isEnded = true
    this.#release()
  }

  #release(): void {
    this.#close?.()
    this.#close = undefined
    this.#known = undefined
    this.#watchers.clear()
    rmSync(this.#socket, { force: true })
  }

  #look(): void {
    const isHealthy = statSync(this.#options.devicePath, { throwIfNoEntry: false })?.isCharacterDevice() ?? false
    if (isHealthy === this.#isHealthy) return
    this.#isHealthy = isHealthy
    for (const send of this.#watchers) send(this.#list())
  }

  #isKnown(): boolean {
    if (this.#known === undefined || this.#known !== this.#identities(identity(this.#kubelet))) return false
    return this.#watchers.size > 0 || performance.now() - this.#unwatchedMs < WATCH_MS
  }

  #identities(kubelet: string | undefined): string {
    return `${identity(this.#socket)} ${kubelet}`
  }

  #watch(send: Send): () => void {
    this.#watchers.add(send)
    send(this.#list())
    return () => {
      if (this.#watchers.delete(send)) this.#unwatchedMs = performance.now()
    }
  }

  #list(): Buffer {
    const { devices } = this.#options
    return deviceList(Array.from({ length: devices }, (_, index): Device => ({ id: `net-tun-${index}`, healthy: this.#isHealthy })))
  }

  #allocate(request: Buffer): Buffer {
    this.#look()
    if (!this.#isHealthy) throw new Error(`${DEVICE} is not there: load the module tun`)
    return allocateResponse(allocateRequest(request).length, DEVICE)
  }
}

/**
 * Device, inode and time of change: a socket made anew at the same path differs in them. undefined
 * when there is no file.
 */
function identity(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false, bigint: true })
  return found && `${found.dev}:${found.ino}:${found.ctimeNs}`
}
