/**
 * Calls of src/link/firewall.ts: node firewall-calls.ts CALL [LINK [DIRECTORY]] makes one in the
 * caller's network namespace and prints the result as JSON; `serve` makes one for each line of
 * standard input, in the namespace that it names.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import * as firewall from '../../src/link/firewall.ts'
import { masquerades } from '../../src/link/firewall-table.ts'
import { NetlinkSocket } from '../../src/linux/netlink.ts'
import { inNetns } from '../../src/linux/netns.ts'
import { NETLINK_NETFILTER } from '../../src/linux/uapi.ts'

/** All calls, about the entry `link` of `directory`. */
function callsOf(netfilter: NetlinkSocket, link?: string, directory?: string): Record<string, () => unknown> {
  const read = (name: string) => JSON.parse(readFileSync(`${directory}/${name}`, 'utf8')) as firewall.FirewallEntry
  const all = () => (directory === undefined ? [] : readdirSync(directory).map(read))
  return {
    add: () => firewall.addToFirewall(netfilter, read(link!), all),
    /** add, which reads the records, says so, and goes on when standard input ends. */
    addSlowly: () =>
      firewall.addToFirewall(netfilter, read(link!), () => {
        const entries = all()
        console.log('read')
        readFileSync(0)
        return entries
      }),
    remove: () => firewall.removeFromFirewall(netfilter, read(link!), all),
    ensure: () => firewall.ensureFirewall(netfilter, all),
    faults: () => firewall.firewallFaults(netfilter, read(link!)),
    state: () => firewall.tableState(netfilter, masquerades(all())),
    delete: () => firewall.deleteFirewall(netfilter),
    refusal: () => firewall.firewallRefusal(true),
    /**
     * Writes a line for each change, and ends by itself when standard input ends: nothing else
     * keeps the process.
     */
    watch: () => {
      firewall.watchFirewall(() => console.log('changed'))
      process.stdin.on('end', () => console.log('ends')).resume()
      console.log('watches')
    },
    /**
     * The same change ten times, by this process: only the last line tells how often it was told.
     */
    burst: async () => {
      let changes = 0
      using _watch = firewall.watchFirewall(() => changes++)
      for (let i = 0; i < 10; i++) {
        firewall.addToFirewall(netfilter, read(link!), all)
        firewall.deleteFirewall(netfilter)
      }
      await sleep(500)
      return changes
    },
  }
}

/** For each line {netns, call, link, directory} a line {result} or {error}. */
async function serve(): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    const { netns, call, link, directory } = JSON.parse(line)
    const answer = inNetns(`/run/netns/${netns}`, (): { result?: unknown; error?: string } => {
      using netfilter = new NetlinkSocket(NETLINK_NETFILTER)
      try {
        return { result: callsOf(netfilter, link, directory)[call]!() ?? null }
      } catch (error) {
        return { error: (error as Error).stack ?? String(error) }
      }
    })
    console.log(JSON.stringify(answer))
  }
}

const [call, link, directory] = process.argv.slice(2) as [string, string?, string?]
if (call === 'serve') await serve()
else {
  const result = await callsOf(new NetlinkSocket(NETLINK_NETFILTER), link, directory)[call]!()
  if (!['watch', 'addSlowly'].includes(call)) console.log(JSON.stringify(result ?? null))
}
