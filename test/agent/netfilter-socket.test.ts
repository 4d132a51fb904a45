/**
 * Closing a socket of nf_tables waits until the kernel has freed what was deleted, some 10 ms of a
 * DEL: the agent keeps its own open.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { NETLINK_NETFILTER } from '../../src/linux/uapi.ts'
import { linkOf } from '../reliability/seccomp.ts'
import { Lab } from '../support.ts'
import { holder } from './agents.ts'

const test = suite('netfilter socket')

/** Inodes of a process's sockets of nf_tables: see "sockets" in proc_pid_net(5). */
function netfilterSockets(pid: number): string[] {
  const own = new Set(readdirSync(`/proc/${pid}/fd`).map(fd => /^socket:\[(\d+)\]/.exec(linkOf(pid, Number(fd)))?.[1]))
  const rows = readFileSync(`/proc/${pid}/net/netlink`, 'utf8').trim().split('\n').slice(1)
  const columns = rows.map(row => row.trim().split(/\s+/))
  return columns.filter(row => Number(row[1]) === NETLINK_NETFILTER && own.has(row[9])).map(row => row[9]!)
}

test('what the first verb has opened is there after the next ones, and no more', () => {
  using lab = new Lab()
  const pod = lab.netns()
  lab.must('ADD', lab.netns()) // a plugin makes this link, and starts the agent
  lab.must('ADD', pod)
  const first = netfilterSockets(holder(lab)!)
  assert.is(first.length, 2, 'one asks, the other watches the table')
  for (const command of ['DEL', 'ADD', 'DEL']) lab.must(command, pod)
  assert.equal(netfilterSockets(holder(lab)!), first)
})

test.run()
