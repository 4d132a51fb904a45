/** Pods without privilege get /dev/net/tun by asking the kubelet for a resource. */
import type { DevicePlugin } from '../device-plugin/device-plugin.ts'
import { log } from '../log.ts'
import type { State } from '../state.ts'
import type { Part } from './part.ts'

export function devicePluginPart(state: State): Part {
  const { netTunDevices: devices, devicePluginDir: directory, netTunPath: devicePath } = state.options
  let plugin: DevicePlugin | undefined
  return {
    name: 'devicePlugin',
    everyMs: 1_000,
    async run() {
      if (devices === 0) return
      if (plugin === undefined) {
        // gRPC is loaded only where it is used
        const { DevicePlugin } = await import('../device-plugin/device-plugin.ts')
        plugin = new DevicePlugin({ directory, devices, devicePath })
      }
      if (await plugin.ensure()) log.info('device plugin registered', { directory, devices, healthy: plugin.isHealthy })
      const missing = `${devicePath} is not there, so no pod gets it: load the module tun on this node`
      state.notifier.warnWhile('NetTunMissing', plugin.isHealthy ? undefined : missing)
    },
    end() {
      plugin?.end()
    },
  }
}
