/** `tunlink agent`. */
import { PROTOCOL } from '../agent/protocol.ts'
import { tell } from '../linux/read-write.ts'
import { type Command, DATA_DIR, type Given, STATUS } from './command.ts'
import { print } from './output.ts'

export const command: Command = {
  usage: 'agent [OPTION...]',
  about: `Runs the agent: it carries the packets of thread wires, holds the TUNs of other links, is warm for
ADD and DEL, and restores the firewall. An ADD starts one where none answers.
It stays in the foreground until it is ended, with its log on standard output.`,
  options: {
    'data-dir': DATA_DIR,
    'idle-exit': { value: 'SECONDS', default: '0', help: 'end when there was no link for so long; 0: never' },
    'leave-cgroup': { help: 'move to the root of every cgroup hierarchy, so as not to end with the caller’s group' },
    protocol: { help: 'print the version of the agent’s protocol, and end' },
    wire: { value: 'io_uring|epoll', help: 'how threads pass packets; default: io_uring where it is allowed and Linux is 6.7 or later' },
    spin: { value: 'MICROSECONDS', default: '0', help: 'look for more packets for so long before sleeping: less latency for more CPU' },
  },
  run: given => (given.flag('protocol') ? print(`${PROTOCOL}\n`) : agent(given)),
}

async function agent(given: Given): Promise<number> {
  const { dataDir } = given
  // not __filename: in an executable compiled by Bun that is a path of the machine that compiled it
  const entry = process.argv[1]!
  const wires = { entry, spin: given.number('spin')!, mode: given.choice('wire', ['io_uring', 'epoll']) }
  const options = { dataDir, idleSeconds: given.number('idle-exit')!, leaveCgroup: given.flag('leave-cgroup'), wires }
  const { runAgent } = await import('../agent/start.ts')
  try {
    if (!(await runAgent(options))) process.stderr.write(`Another agent serves ${dataDir} already\n`)
    return 0
  } catch (error) {
    tell(`tunlink agent: Cannot start: ${(error as Error).message}`)
    // Links that it has taken up would keep the process and its lock, and it would answer nobody.
    process.exit(STATUS.failed)
  }
}
