/** Rates and bursts, from wherever they come, and what is refused. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bandwidthOf } from '../../src/cni/bandwidth.ts'
import type { CniError } from '../../src/cni/error.ts'

const test = suite('bandwidth')
const annotated = (ingress: unknown) => ({
  runtimeConfig: { 'io.kubernetes.cri.pod-annotations': { 'kubernetes.io/ingress-bandwidth': ingress } },
})

test('the runtime wins over annotations, and those over the configuration', () => {
  const conf = { ingressRate: 8000, ingressBurst: 8000 }
  assert.equal(bandwidthOf(conf), { ingress: { rate: 8000, burst: 8000 } })
  assert.equal(bandwidthOf({ ...conf, ...annotated('1M') }).ingress!.rate, 1_000_000)
  const runtimeConfig = { ...annotated('1M').runtimeConfig, bandwidth: { egressRate: 16, egressBurst: 4294967295 } }
  assert.equal(bandwidthOf({ ...conf, runtimeConfig }), { egress: { rate: 16, burst: 4294967295 } })
})
test('zero, null and absent are no limit', () => {
  for (const value of [0, null, undefined]) assert.equal(bandwidthOf({ ingressRate: value, ingressBurst: value, egressRate: value }), {})
})
test('quantities are those of Kubernetes', () => {
  for (const [text, rate] of [
    ['1k', 1000],
    ['1.5M', 1_500_000],
    ['10Gi', 10 * 2 ** 30],
    ['64', 64],
    ['1P', 1e15], // the most that Kubernetes takes
    ['4Pi', 4 * 2 ** 50],
    ['1e6', 1_000_000],
    ['1.5E3', 1500],
    ['+10M', 10_000_000],
    ['.5M', 500_000],
    ['5.k', 5000],
  ])
    assert.is(bandwidthOf(annotated(text)).ingress!.rate, rate)
})
test('what is no rate is refused, key and value named, with code 7', () => {
  for (const [conf, words] of [
    [{ ingressRate: 8000 }, /"ingressBurst" must be set where "ingressRate" is, but is missing/],
    [{ egressBurst: 8000 }, /"egressRate" must be set where "egressBurst" is/],
    [{ ingressRate: -1, ingressBurst: 8 }, /"ingressRate" must be an integer from 8 to/],
    [{ ingressRate: 7, ingressBurst: 8 }, /not 7/],
    [{ ingressRate: 80, ingressBurst: 2 ** 36 }, /"ingressBurst" must be/],
    [{ runtimeConfig: { bandwidth: { ingressRate: '1M', ingressBurst: 8 } } }, /"runtimeConfig.bandwidth.ingressRate" must be .* not "1M"/],
    [annotated('1e'), /annotation "kubernetes.io\/ingress-bandwidth" must be a rate in bits per second such as "10M", not "1e"/],
    [annotated('1e0'), /not "1e0"/],
    [annotated('1E'), /not "1E"/],
    [annotated('1e999'), /not "1e999"/],
    [annotated('.'), /not "\."/],
    [annotated(5), /not 5/],
    [annotated('0'), /not "0"/],
  ] as const)
    assert.throws(
      () => bandwidthOf(conf),
      (error: CniError) => error.code === 7 && words.test(error.message),
    )
})

test.run()
