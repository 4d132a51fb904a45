/**
 * A day of a cluster of 100 nodes as tunlinkd of one of them hears it, without the waiting between:
 * every node's heartbeat each 10 s, watches that the API ends each 5 min, a node that goes and one
 * that comes each 10 min, a new configuration each hour, an API that is away each 2 hours. 20
 * minutes of it, TUNLINK_LONG=1: 24 hours. What tunlinkd set up is right at the end, and nothing
 * of it has grown.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { eventually } from '../support.ts'
import { k8sNode, Node } from '../tunlinkd/node.ts'

const test = suite('soak of tunlinkd')
const isLong = process.env.TUNLINK_LONG === '1'
const NODES = 100
const HEARTBEAT_S = 10
const WATCH_S = 5 * 60
const CHURN_S = 10 * 60
const CONFIG_S = isLong ? 3600 : 10 * 60
const OUTAGE_S = isLong ? 2 * 3600 : 15 * 60
const DAY_S = isLong ? 24 * 3600 : 20 * 60
const SPAN = isLong ? '24 hours' : '20 minutes'
/** What a process takes once, it takes until then: the first measurement. */
const WARM_UP_S = DAY_S / 4
/** A collector lets memory swing by 35 MiB. A leak of 100 bytes a heartbeat would be 62 MiB. */
const RSS_SLACK_MIB = 48
const DESCRIPTORS_SLACK = 4

const podCIDR = (index: number) => `10.${200 + (index >> 8)}.${index & 255}.0/24`
const one = (index: number) => k8sNode(`m${index}`, `192.0.2.${100 + (index % 100)}`, podCIDR(index))
const SELF = k8sNode('n1', '192.0.2.11', '10.244.0.0/24')

function measure(pid: number) {
  const rss = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return { rssMiB: Math.round(Number(rss![1]) / 1024), descriptors: readdirSync(`/proc/${pid}/fd`).length }
}

test(`${SPAN} of a cluster leave routes right, memory and descriptors as they were`, async () => {
  const node = new Node()
  try {
    await node.startApi()
    /** Indexes of the nodes that there are, the oldest first. */
    const members = Array.from({ length: NODES }, (_, index) => index)
    const all = () => [SELF, ...members.map(one)]
    const wanted = () => members.map(index => podCIDR(index)).sort()
    const routes = () => node.routes().flatMap((route: string) => /^10\.2(?!4|50)\S+/.exec(route)?.[0] ?? [])
    const isRight = () => JSON.stringify(routes().sort()) === JSON.stringify(wanted())
    const settled = (when: string) => eventually(`the routes are those of the nodes, ${when}`, isRight)
    node.nodes(...all())
    node.start()
    await settled('at the start')
    const pid = node.tunlinkd!.pid!
    const count = { heartbeats: 0, watches: 0, nodes: 0, configurations: 0, outages: 0 }
    let first: ReturnType<typeof measure> | undefined
    for (let second = HEARTBEAT_S; second <= DAY_S; second += HEARTBEAT_S) {
      for (const index of members) await node.tell({ touch: `m${index}` })
      count.heartbeats += NODES
      if (second % CHURN_S === 0) {
        const [gone, come] = [members.shift()!, members.at(-1)! + 1]
        await node.tell({ remove: `m${gone}` })
        members.push(come)
        await node.tell({ set: one(come) })
        count.nodes++
      }
      if (second % WATCH_S === 0) {
        await node.tell({ end: true })
        count.watches++
      }
      if (second % CONFIG_S === 0) {
        const mtu = 1300 + ++count.configurations
        node.configure(JSON.stringify({ mtu }))
        await eventually('the configuration is taken up', () => node.conflist()?.plugins[0].mtu === mtu)
      }
      if (second % OUTAGE_S === 0) {
        node.stopApi()
        await node.startApi()
        node.nodes(...all())
        count.outages++
        await settled('after an outage')
      }
      if (first === undefined && second >= WARM_UP_S) {
        await settled('warm')
        first = measure(pid)
      }
    }
    await settled('at the end')
    let last = measure(pid)
    await eventually('memory and descriptors are as they were', () => {
      last = measure(pid)
      return last.rssMiB - first!.rssMiB <= RSS_SLACK_MIB && last.descriptors - first!.descriptors <= DESCRIPTORS_SLACK
    }).catch(() => assert.unreachable(`${JSON.stringify(first)}, then ${JSON.stringify(last)}`))
    assert.is(node.tunlinkd!.exitCode, null, 'one tunlinkd heard it all')
    const patches = node.heard.filter(({ method }) => method === 'PATCH').length
    console.log(
      `figure: soak, tunlinkd, ${SPAN}: ${JSON.stringify(count)}, ${patches} patches; ` +
        `after a quarter and at the end: ${JSON.stringify(first)} ${JSON.stringify(last)}`,
    )
    assert.ok(patches < 10 + 10 * count.outages, `${patches} patches: heartbeats are no work`)
  } finally {
    await node.close()
  }
})

test.run()
