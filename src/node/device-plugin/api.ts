/**
 * Messages of the kubelet's device plugin API, v1beta1: k8s.io/kubelet,
 * pkg/apis/deviceplugin/v1beta1/api.proto. The numbers are those of its fields.
 */
import { decode, encode, type Fields } from './protobuf.ts'

export const VERSION = 'v1beta1'
export const REGISTRATION = 'v1beta1.Registration'
export const DEVICE_PLUGIN = 'v1beta1.DevicePlugin'

/** Empty, and any message of which nothing is set, such as DevicePluginOptions. */
export const EMPTY = Buffer.alloc(0)

/**
 * RegisterRequest. `endpoint` is the name of the plugin's socket in the kubelet's directory. The
 * options stay at their default: neither PreStartContainer nor GetPreferredAllocation is called.
 */
export const registerRequest = (endpoint: string, resource: string): Buffer =>
  encode([
    [1, VERSION],
    [2, endpoint],
    [3, resource],
  ])

export interface Device {
  id: string
  healthy: boolean
}

/** ListAndWatchResponse: all devices, each time. */
export const deviceList = (devices: Device[]): Buffer =>
  encode(
    devices.map(({ id, healthy }): Fields[number] => [
      1,
      [
        [1, id],
        [2, healthy ? 'Healthy' : 'Unhealthy'],
      ],
    ]),
  )

/** Of each container of an AllocateRequest, the IDs of its devices. Throws RangeError. */
export const allocateRequest = (message: Buffer): string[][] =>
  decode(message, 1).map(container => decode(container, 1).map(id => id.toString()))

/** AllocateResponse: each of `count` containers gets the device file `path`, to read and write. */
export function allocateResponse(count: number, path: string): Buffer {
  const device: Fields = [
    [1, path],
    [2, path],
    [3, 'rw'],
  ]
  return encode(Array.from({ length: count }, (): Fields[number] => [1, [[3, device]]]))
}
