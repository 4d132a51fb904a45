/** CNI calls beside each other, each of which may be killed: as a runtime makes them. */
import { spawn } from 'node:child_process'
import type { Lab } from '../support.ts'

export interface Call {
  command: 'ADD' | 'DEL' | 'CHECK' | 'GC'
  containerID: string
  /** Name of the pod's namespace; it need not be there. */
  netns: string
  conf: object
  /** SIGKILL after so many milliseconds, if it runs for so long. */
  killAfterMs?: number
}

export interface Answer {
  /** Undefined: the process was killed. */
  status: number | undefined
  // biome-ignore lint/suspicious/noExplicitAny: whatever the plugin printed
  json: any
  text: string
}

/** Resolves when the process has ended. */
export function call(lab: Lab, { command, containerID, netns, conf, killAfterMs }: Call): Promise<Answer> {
  const child = spawn('ip', ['netns', 'exec', lab.node, lab.executable], {
    env: {
      PATH: process.env.PATH,
      CNI_COMMAND: command,
      CNI_CONTAINERID: containerID,
      CNI_NETNS: `/run/netns/${netns}`,
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/usr/lib/cni',
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const timer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs)
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', chunk => (stdout += chunk))
  child.stderr.on('data', chunk => (stderr += chunk))
  child.stdin.on('error', () => {}) // killed before it has read
  child.stdin.end(JSON.stringify({ ...lab.conf, ...conf }))
  return new Promise(done =>
    child.on('close', status => {
      clearTimeout(timer)
      done({ status: status ?? undefined, json: parse(stdout), text: `${stdout}${stderr}` })
    }),
  )
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
