/** What the security tests share. */
import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { environment, Lab } from '../support.ts'

export const dual = { ipMasq: true, ipam: { type: 'tunlink', ranges: [[{ subnet: '10.66.0.0/24' }], [{ subnet: 'fd66::/64' }]] } }
/** No agent is ever started. */
export const alone = { ...dual, agent: { spawn: false } }

export async function inLab(body: (lab: Lab) => void | Promise<void>): Promise<void> {
  using lab = new Lab()
  await body(lab)
}

/** Lab.cni() while this process answers on a socket. */
export async function callBeside(lab: Lab, verb: string, pod: string, conf: object) {
  const env = { PATH: process.env.PATH, ...environment(verb, pod) }
  const child = spawn('ip', ['netns', 'exec', lab.node, lab.executable], { env, stdio: ['pipe', 'pipe', 'ignore'] })
  let text = ''
  child.stdout.on('data', chunk => (text += chunk))
  child.stdin.on('error', () => {}) // it may have answered before it read all
  child.stdin.end(JSON.stringify({ ...lab.conf, ...conf }))
  const status = await new Promise(done => child.on('close', done))
  return { status, json: text === '' ? {} : JSON.parse(text) }
}

/** Somebody else's process that listens where the agent's socket is to be. */
export async function listen(path: string) {
  let asked = 0
  const server = createServer(socket => {
    asked++
    socket.destroy()
  })
  await new Promise<void>(done => server.listen(path, done))
  return { asked: () => asked, close: () => void server.close() }
}
