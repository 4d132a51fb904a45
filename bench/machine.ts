/** The machine that is measured on, and whether it has anything else to do. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'

export const machine = () => ({
  kernel: execFileSync('uname', ['-sr'], { encoding: 'utf8' }).trim(),
  cpu: cpus()[0]!.model,
  cpus: cpus().length,
  date: new Date().toISOString().slice(0, 10),
})

/** Seconds of all CPUs since the machine started, see proc_stat(5). */
export interface CpuTimes {
  /** By programs and by the kernel, its handling of packets included. */
  used: number
  idle: number
  /** Taken by the hypervisor for others. */
  stolen: number
}

const TICKS_PER_SECOND = 100 // USER_HZ, the same on every architecture that we build for

/** The times of the line `cpu` of /proc/stat. */
export function parseCpuTimes(stat: string): CpuTimes {
  const [user, nice, system, idle, iowait, irq, softirq, steal] = stat.split('\n')[0]!.trim().split(/\s+/).slice(1, 9).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  const seconds = (ticks: number) => ticks / TICKS_PER_SECOND
  return { used: seconds(user + nice + system + irq + softirq), idle: seconds(idle + iowait), stolen: seconds(steal) }
}

export const cpuTimes = (): CpuTimes => parseCpuTimes(readFileSync('/proc/stat', 'utf8'))

export interface Noise {
  /** Shares of the CPUs' time: used by anybody, and stolen. */
  busy: number
  steal: number
  load: number
}

export const isNoisy = ({ busy, steal }: Noise) => busy > 0.1 || steal > 0.02

/** Looks for a second while nothing is measured. */
async function noise(): Promise<Noise> {
  const before = cpuTimes()
  await new Promise(resolve => setTimeout(resolve, 1000))
  const after = cpuTimes()
  const [used, idle, stolen] = [after.used - before.used, after.idle - before.idle, after.stolen - before.stolen]
  const total = used + idle + stolen
  return { busy: 1 - idle / total, steal: stolen / total, load: loadavg()[0]! }
}

const CALM_TRIES = 20

/**
 * Waits until the machine is calm, for 20 s at most: the kernel may still be taking down what the
 * bench before has made.
 */
export async function calm(tries = CALM_TRIES): Promise<Noise> {
  for (;;) {
    const found = await noise()
    if (!isNoisy(found) || --tries <= 0) return found
  }
}
