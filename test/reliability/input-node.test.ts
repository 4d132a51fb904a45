/**
 * Bad answers of the Kubernetes API, or of a proxy before it: tunlinkd knows the Nodes afterwards.
 */
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { parseCidr } from '../../src/address.ts'
import { Backoff } from '../../src/node/backoff.ts'
import { followNodes, type NodeApi, type NodeWatchEvent, parseNodePage } from '../../src/node/node-watch.ts'
import { Nodes } from '../../src/node/nodes.ts'
import { casesAsync } from './cases.ts'
import { damaged, runs, text, value } from './garbage.ts'
import { NODES } from './good.ts'

const test = suite('bad input of tunlinkd')

const LIST = { kind: 'NodeList', items: NODES, metadata: { resourceVersion: '7' } }

interface Answers {
  pages: string[]
  events: unknown[]
}

const answers: fc.Arbitrary<Answers> = fc.record({
  pages: fc.array(text(fc.oneof(damaged(LIST), value)), { maxLength: 3 }),
  events: fc.array(
    damaged({ type: 'MODIFIED', object: NODES[0] }, { type: 'DELETED', object: NODES[0] }, { type: 'ERROR', object: { code: 410 } }),
    { maxLength: 4 },
  ),
})

/** Gives the bad answers first, then good ones; `end` is called when all good is being watched. */
function apiOf({ pages, events }: Answers, end: () => void): NodeApi {
  const left = [...pages]
  let isGood = false
  let watches = 0
  return {
    server: 'test',
    async listNodes() {
      isGood = left.length === 0 && watches > 0
      return parseNodePage(left.shift() ?? JSON.stringify(LIST))
    },
    async watchNodes(_, told) {
      watches++
      if (watches === 1) for (const event of events) told(event as NodeWatchEvent)
      // all is listed again
      if (!isGood) throw Object.assign(new Error('gone'), { code: 410 })
      end()
    },
  }
}

test('lists and events', async () => {
  await casesAsync('answers of the API', runs(100, 2_000), answers, async given => {
    const nodes = new Nodes()
    const stop = new AbortController()
    await followNodes(
      apiOf(given, () => stop.abort()),
      nodes,
      {
        backoff: new Backoff(0, 0),
        changed: () => {},
        failed: () => {},
        signal: stop.signal,
      },
    )
    assert.equal(
      nodes.all.map(({ name, podCIDRs }) => [name, podCIDRs]),
      [['n1', ['10.66.1.0/24', 'fd66:0:0:1::/64']]],
    )
    for (const { internalIPs } of nodes.all) for (const address of internalIPs) assert.ok(parseCidr(`${address}/0`))
  })
})

test('what is no NodeList is an error that shows it, and never an empty list', () => {
  for (const page of [
    'null',
    '{}',
    '[]',
    '7',
    '{"items":null,"metadata":{"resourceVersion":"1"}}',
    '{"items":[]}',
    '{"kind":"Status","code":403}',
  ])
    assert.throws(() => parseNodePage(page), /the answer is no NodeList, but/)
  assert.equal(parseNodePage('{"items":[],"metadata":{"resourceVersion":"1"}}'), { items: [], resourceVersion: '1' })
})

test.run()
