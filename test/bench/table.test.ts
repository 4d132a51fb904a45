import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Row } from '../../bench/measure.ts'
import { plot } from '../../bench/plot.ts'
import { insert, table } from '../../bench/table.ts'

const test = suite('bench: table')
const row: Row = { bench: 'tcp', what: 'TCP', unit: 'Gbit/s', peer: 'veth', ours: 9, theirs: 10, ratio: 0.9, n: 3, target: { least: 0.92 } }
const alone: Row = { bench: 'loss', what: 'pings lost', unit: '', ours: 0, n: 1, target: { most: 0, goal: 0 } }

test('table() has a line for each row, with its target and verdict', () => {
  assert.equal(table([row, alone]).split('\n').slice(2), [
    '| TCP | 9.00 Gbit/s | veth 10.0 Gbit/s | 0.90 | >= 0.92 | misses |',
    '| pings lost | 0.0 |  |  | <= 0, goal 0 | reaches the goal |',
  ])
})

test('insert() replaces what is between the markers, again and again', () => {
  const page = 'before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n'
  const once = insert(page, 'new')
  assert.is(once, 'before\n<!-- results -->\nnew\n<!-- end of results -->\nafter\n')
  assert.is(insert(once, 'new'), once)
  assert.throws(() => insert('no place', 'new'), /has no <!-- results -->/)
  assert.throws(() => insert('<!-- end of results --><!-- results -->', 'new'), /has no <!-- results -->/)
})

test('plot() draws a bar for each ratio, and takes no markup from a name', () => {
  const svg = plot('Ratios & more', 'higher', [row, { ...row, what: '<b>' }])
  assert.is(svg.match(/<rect x=/g)?.length, 2)
  assert.ok(svg.includes('Ratios &amp; more') && svg.includes('&lt;b>') && !svg.includes('<b>'))
})

test.run()
