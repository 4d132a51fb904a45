/**
 * How Nodes are followed: by pages, by single events, and again from the start where the API has
 * forgotten.
 */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Backoff } from '../../src/node/backoff.ts'
import type { NodeInfo, V1NodeLike } from '../../src/node/node-info.ts'
import { followNodes, type NodeApi, type NodePage, type NodeWatchEvent } from '../../src/node/node-watch.ts'
import { Nodes } from '../../src/node/nodes.ts'

const test = suite('nodes')

const info = (name: string, podCIDR = '10.244.1.0/24', conditions?: Record<string, string>): NodeInfo => ({
  name,
  podCIDRs: [podCIDR],
  internalIPs: ['192.0.2.12'],
  ...(conditions === undefined ? {} : { conditions }),
})
const k8sNode = (name: string, podCIDR: string, resourceVersion = '1'): V1NodeLike => ({
  metadata: { name, resourceVersion },
  spec: { podCIDR },
})

test('set() says whether something is new, and counts what moves routes', () => {
  const nodes = new Nodes()
  assert.is(nodes.set(info('n1')), true)
  assert.is(nodes.set(info('n1')), false, 'a heartbeat')
  assert.is(nodes.version, 1)
  assert.is(nodes.set(info('n1', '10.244.1.0/24', { NetworkUnavailable: 'True' })), true)
  assert.is(nodes.version, 1, 'a condition moves no route')
  assert.is(nodes.set(info('n1', '10.244.9.0/24')), true)
  assert.is(nodes.version, 2)
  assert.is(nodes.delete('n1'), true)
  assert.is(nodes.delete('n1'), false)
  assert.is(nodes.version, 3)
})
test('replace() takes out those that are gone, and is news the first time even when there are none', () => {
  const nodes = new Nodes()
  assert.is(nodes.replace([]), true)
  assert.is(nodes.replace([info('a'), info('b')]), true)
  assert.is(nodes.replace([info('a'), info('b')]), false)
  assert.is(nodes.replace([info('b')]), true)
  assert.equal(
    nodes.all.map(({ name }) => name),
    ['b'],
  )
})

type Script = { pages?: NodePage[]; watches: (NodeWatchEvent[] | Error)[] }

/**
 * Follows an API that answers as the script says, and ends behind it: what was asked, and how often
 * something was new.
 */
async function follow({ pages = [{ items: [], resourceVersion: '1' }], watches }: Script) {
  const asked: string[] = []
  const stopping = new AbortController()
  const api: NodeApi = {
    server: 'http://api',
    async listNodes(next) {
      asked.push(`list ${next ?? 'from the start'}`)
      return pages[Number(next ?? 0)]!
    },
    async watchNodes(resourceVersion, told) {
      asked.push(`watch ${resourceVersion}`)
      const events = watches.shift()
      if (events === undefined) return stopping.abort()
      if (events instanceof Error) throw events
      for (const event of events) told(event)
    },
  }
  const nodes = new Nodes()
  let changes = 0
  let failures = 0
  await followNodes(api, nodes, {
    backoff: new Backoff(1, 2),
    changed: () => void changes++,
    failed: () => void failures++,
    signal: stopping.signal,
  })
  return { asked, nodes, changes, failures }
}

test('a list comes page by page, and the watch begins where it ended', async () => {
  const pages = [
    { items: [k8sNode('a', '10.1.0.0/24')], resourceVersion: '7', next: '1' },
    { items: [k8sNode('b', '10.2.0.0/24')], resourceVersion: '7' },
  ]
  const { asked, nodes, changes } = await follow({ pages, watches: [] })
  assert.equal(asked, ['list from the start', 'list 1', 'watch 7'])
  assert.is(nodes.all.length, 2)
  assert.is(changes, 1)
})
test('only what is new in an event is told; the next watch begins behind the last event or bookmark', async () => {
  const { asked, nodes, changes } = await follow({
    watches: [
      [
        { type: 'ADDED', object: k8sNode('a', '10.1.0.0/24', '2') },
        { type: 'MODIFIED', object: k8sNode('a', '10.1.0.0/24', '3') },
        { type: 'BOOKMARK', object: { metadata: { resourceVersion: '9' } } },
      ],
      [{ type: 'DELETED', object: k8sNode('a', '10.1.0.0/24', '10') }],
    ],
  })
  assert.equal(asked, ['list from the start', 'watch 1', 'watch 9', 'watch 10'])
  assert.equal(nodes.all, [])
  assert.is(changes, 3, 'the list, the node, its end')
})
test('an API that has forgotten the place (410) is asked for a list, and that is no failure', async () => {
  const gone = { type: 'ERROR', object: { code: 410, message: 'too old resource version' } }
  const { asked, failures } = await follow({ watches: [[gone], Object.assign(new Error('Gone'), { code: 410 })] })
  assert.equal(asked, ['list from the start', 'watch 1', 'list from the start', 'watch 1', 'list from the start', 'watch 1'])
  assert.is(failures, 0)
})
test('a watch that fails goes on from its place; after three failures everything is listed again', async () => {
  const lost = new Error('connect ECONNREFUSED')
  const { asked, failures } = await follow({ watches: [lost, lost, lost] })
  assert.equal(asked, ['list from the start', 'watch 1', 'watch 1', 'watch 1', 'list from the start', 'watch 1'])
  assert.is(failures, 3)
})
test('a list whose pages have no end is given up', async () => {
  const stopping = new AbortController()
  let asked = 0
  const api: NodeApi = {
    server: 'http://api',
    listNodes: async () => ({ items: [k8sNode(String(asked++), '10.1.0.0/24')], resourceVersion: '1', next: 'more' }),
    watchNodes: async () => assert.unreachable(),
  }
  const nodes = new Nodes()
  await followNodes(api, nodes, { backoff: new Backoff(1, 2), changed: () => {}, failed: () => stopping.abort(), signal: stopping.signal })
  assert.is(asked, 1_000)
  assert.equal(nodes.all, [])
})

test.run()
