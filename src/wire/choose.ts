/**
 * Which wire a link gets. Whether a wire is possible is found by trying, once; a refusal is looked
 * at again after a while, as it may have been a shortage.
 */
import { closeSync } from 'node:fs'
import { CniError, CODE } from '../cni/error.ts'
import { inNewNetns } from '../linux/netns.ts'
import { createTun, setOffloads, setPersist } from '../linux/tun.ts'
import { kernelWireRefusal } from './kernel.ts'
import type { Wire } from './wire.ts'

const AGAIN_MS = 60_000

/** `find` with a memory: it is called once, and again after a while when it returned a refusal. */
export function remembered(find: () => string | undefined): () => string | undefined {
  let tried: { refusal: string | undefined; atMs: number } | undefined
  return () => {
    if (tried === undefined || (tried.refusal !== undefined && performance.now() - tried.atMs > AGAIN_MS))
      tried = { refusal: find(), atMs: performance.now() }
    return tried.refusal
  }
}

/** Why the kernel wire is not possible here; undefined when it is. */
export const kernelRefusal = remembered(kernelWireRefusal)

/** Why datagrams cannot pass before they are segmented; undefined when they can. */
export const usoRefusal = remembered(() => {
  try {
    return inNewNetns(hasUso) ? undefined : 'TUNSETOFFLOAD: EINVAL: this kernel lacks TUN_F_USO4 and TUN_F_USO6 (Linux 6.2)'
  } catch (error) {
    return (error as Error).message
  }
})

function hasUso(): boolean {
  const fd = createTun({ name: 'probe-tun', vnetHdr: true })
  try {
    setPersist(fd, true) // otherwise closing it would wait for its deletion
    return setOffloads(fd).uso
  } finally {
    closeSync(fd)
  }
}

/**
 * Bytes. bpf_skb_change_head() refuses packets beyond BPF_SKB_MAX_LEN, which was SKB_MAX_ALLOC
 * (four pages less overhead) before it grew: see net/core/filter.c. What is still to be segmented
 * passes whole, so only the MTU counts.
 */
const KERNEL_WIRE_MAX_MTU = 16_000

/**
 * The wire of a link with this MTU (bytes). Throws CniError 50 when `wanted` is `kernel` and that
 * is not possible.
 */
export function chooseWire(wanted: Wire | 'auto', mtu: number): Wire {
  if (wanted === 'thread') return 'thread'
  const tooLarge = mtu > KERNEL_WIRE_MAX_MTU ? `it carries an MTU of at most ${KERNEL_WIRE_MAX_MTU}, not ${mtu}` : undefined
  const refusal = tooLarge ?? kernelRefusal()
  if (refusal === undefined) return 'kernel'
  if (wanted === 'auto') return 'thread'
  throw new CniError(CODE.pluginNotAvailable, 'the kernel wire cannot be had here', `${refusal}; "wire": "auto" would use a thread instead`)
}

/** Why no TUN device can be made in another network namespace; undefined when one can be made. */
export function tunRefusal(): string | undefined {
  try {
    inNewNetns(() => closeSync(createTun({ name: 'probe-tun', vnetHdr: false })))
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}
