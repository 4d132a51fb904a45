/**
 * One call of src/link/firewall.ts in the caller's network namespace: node firewall-calls.ts CALL
 * [LINK [DIRECTORY]]; prints the result as JSON.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import * as firewall from '../../src/link/firewall.ts'
import { masquerades } from '../../src/link/firewall-table.ts'
import { NetlinkSocket } from '../../src/linux/netlink.ts'
import { NETLINK_NETFILTER } from '../../src/linux/uapi.ts'

const [call, link, directory] = process.argv.slice(2) as [string, string?, string?]
const read = (name: string) => JSON.parse(readFileSync(`${directory}/${name}`, 'utf8')) as firewall.FirewallEntry
const all = () => (directory === undefined ? [] : readdirSync(directory).map(read))
const netfilter = new NetlinkSocket(NETLINK_NETFILTER)

const calls: Record<string, () => unknown> = {
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
   * Writes a line for each change, and ends by itself when standard input ends: nothing else keeps
   * the process.
   */
  watch: () => {
    firewall.watchFirewall(() => console.log('changed'))
    process.stdin.on('end', () => console.log('ends')).resume()
    console.log('watches')
  },
  /** The same change ten times, by this process: only the last line tells how often it was told. */
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
const result = await calls[call]!()
if (!['watch', 'addSlowly'].includes(call)) console.log(JSON.stringify(result ?? null))
