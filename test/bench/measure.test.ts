import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { parseCpuTimes } from '../../bench/machine.ts'
import { aim, compare, digits, interleave, line, median, percentile, type Row, verdict } from '../../bench/measure.ts'

const test = suite('bench: measure')
const row: Row = { bench: 'tcp', what: 'TCP', unit: 'Gbit/s', peer: 'veth', ours: 9, theirs: 10, ratio: 0.9, n: 3 }

test('interleave() runs round after round, every other one backwards', async () => {
  const order: string[] = []
  const take = (name: string) => (round: number) => {
    order.push(`${name}${round}`)
    return round
  }
  assert.equal(await interleave(3, { a: take('a'), b: take('b') }), { a: [0, 1, 2], b: [0, 1, 2] })
  assert.equal(order, ['a0', 'b0', 'b1', 'a1', 'a2', 'b2'])
})

test('compare() takes the median of the ratios of each round, not the ratio of the medians', () => {
  const { ours, theirs, ratio, n } = compare({ bench: 'x', what: 'x', unit: 'ms', peer: 'p' }, [1, 20, 30], [2, 10, 60])
  assert.equal({ ours, theirs, ratio, n }, { ours: 20, theirs: 10, ratio: 0.5, n: 3 })
})

test('median() and percentile() do not depend on the order', () => {
  assert.is(median([9, 1, 5]), 5)
  assert.is(percentile([30, 10, 20], 1), 30)
  assert.is(percentile([30, 10, 20], 0), 10)
})

test('verdict() judges the ratio on the side of the bound, and the figure where there is no peer', () => {
  const least = { least: 0.92, goal: 1 }
  assert.is(verdict({ ...row, ratio: 0.91, target: least }), 'misses')
  assert.is(verdict({ ...row, ratio: 0.92, target: least }), 'meets')
  assert.is(verdict({ ...row, ratio: 1, target: least }), 'reaches the goal')
  const most = { most: 1.2, goal: 1 }
  assert.is(verdict({ ...row, ratio: 1.21, target: most }), 'misses')
  assert.is(verdict({ ...row, ratio: 1.2, target: most }), 'meets')
  assert.is(verdict({ ...row, ratio: 0.8, target: most }), 'reaches the goal')
  assert.is(verdict({ bench: 'loss', what: 'lost', unit: '', ours: 1, n: 1, target: { most: 0 } }), 'misses')
  assert.is(verdict({ bench: 'loss', what: 'lost', unit: '', ours: 0, n: 1, target: { most: 0 } }), 'meets')
  assert.is(verdict(row), undefined)
})

test('a figure that is not a number misses every target', () => {
  assert.is(verdict({ ...row, ratio: Number.NaN, target: { least: 0.9 } }), 'misses')
  assert.is(verdict({ ...row, ratio: Number.NaN, target: { most: 0.9 } }), 'misses')
})

test('aim() and line() say what is wanted and what was found', () => {
  assert.is(aim({ ...row, target: { least: 0.92, goal: 1 } }), '>= 0.92, goal 1')
  assert.is(aim({ ...row, target: { most: 0 } }), '<= 0')
  assert.is(aim(row), '')
  assert.match(line({ ...row, target: { least: 0.92 } }), /TCP +9\.00 Gbit\/s +veth 10\.0 Gbit\/s, ratio 0\.90 +MISSES \(>= 0\.92\) n=3/)
})

test('digits() keeps three of them', () => {
  assert.equal([0, 0.123, 1.234, 12.34, 123.4, 1234.5].map(digits), ['0.0', '0.12', '1.23', '12.3', '123', '1235'])
})

test('parseCpuTimes() adds what proc_stat(5) names: used, idle with waiting, stolen, in seconds', () => {
  const stat = 'cpu  100 20 300 4000 500 6 70 8 900 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n'
  assert.equal(parseCpuTimes(stat), { used: 4.96, idle: 45, stolen: 0.08 })
})

test.run()
