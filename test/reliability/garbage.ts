/** What the tests of bad input feed: values that nobody means, and good input that was damaged. */
import fc from 'fast-check'

export const isLong = process.env.TUNLINK_LONG === '1'

/** So many cases of a kind in the short form, and in the long one. */
export const runs = (short: number, long: number): number => (isLong ? long : short)

/** `levels` lists in each other, as JSON. */
export const nestedJson = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels)

const TEXTS = [
  '',
  ' ',
  '.',
  '..',
  '../../etc',
  '/',
  '/proc/self/mem',
  '\0',
  'a\0b',
  '\ud800',
  '\u00a0',
  '%d',
  '-1',
  '1e3',
  '0x10',
  '__proto__',
  'constructor',
  'null',
  '10.0.0.0/24',
  '10.0.0.1/24',
  '0.0.0.0/0',
  '::/0',
  '::ffff:10.0.0.1',
  'fe80::1%eth0',
  'fd66::/127',
  '255.255.255.255/32',
  '010.0.0.1',
  'x'.repeat(5_000),
]

const NUMBERS = [0, -0, -1, 1, 67, 68, 1279, 65535, 65536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53, -(2 ** 53), 1e308, 0.5, Number.MIN_VALUE]

/** A value of JSON: mostly one that somebody has stumbled over before. */
export const value: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom<unknown>(...TEXTS, ...NUMBERS, true, false, null) },
  { weight: 2, arbitrary: fc.constantFrom<unknown>([], {}, [[]], [null], [{}], JSON.parse('{"__proto__":{"mtu":1}}')) },
  { weight: 1, arbitrary: fc.constantFrom(5, 90, 120, 3_000).map(levels => JSON.parse(nestedJson(levels))) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(1_500, 6_000).map(length => Array.from({ length }, (_, index) => `10.${index >> 8}.${index & 255}.0`)),
  },
  { weight: 4, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
  { weight: 2, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
)

type Step = { at: number; change: 'replace' | 'delete' | 'rename' | 'wrap' | 'repeat'; by: unknown }

const step: fc.Arbitrary<Step> = fc.record({
  at: fc.nat(1_000),
  change: fc.constantFrom('replace', 'replace', 'replace', 'delete', 'rename', 'wrap', 'repeat'),
  by: value,
})

/** Copies of one of `bases`, each damaged in one to four places. */
export const damaged = (...bases: unknown[]): fc.Arbitrary<unknown> =>
  fc.tuple(fc.constantFrom(...bases), fc.array(step, { minLength: 1, maxLength: 4 })).map(([base, steps]) => {
    const copy = { root: structuredClone(base) }
    for (const one of steps) damage(copy, one)
    return copy.root
  })

type Container = Record<string, unknown>

/** Every place of a value that can be damaged: the object or list, and the key. */
function places(container: Container, found: [Container, string][] = []): [Container, string][] {
  for (const key of Object.keys(container)) {
    found.push([container, key])
    if (found.length > 300) break
    const item = container[key]
    if (typeof item === 'object' && item !== null) places(item as Container, found)
  }
  return found
}

function damage(root: Container, { at, change, by: shared }: Step): void {
  const by = structuredClone(shared) // a later step may damage it
  const all = places(root)
  const [container, key] = all[at % all.length]!
  const old = container[key]
  if (change === 'replace') container[key] = by
  else if (change === 'wrap') container[key] = [old]
  else if (change === 'repeat') container[key] = Array.isArray(old) ? [...old, ...old] : [old, old]
  else if (container !== root) {
    delete container[key]
    if (change === 'rename') container[key.toUpperCase()] = old
  }
}

/** JSON, whole or cut, and what is none. */
export const text = (values: fc.Arbitrary<unknown>): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 12, arbitrary: values.map(value => JSON.stringify(value) ?? 'undefined') },
    {
      weight: 2,
      arbitrary: fc.tuple(values, fc.nat(400)).map(([value, length]) => (JSON.stringify(value) ?? '').slice(0, length)),
    },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 60 }) },
    {
      weight: 1,
      arbitrary: fc.constantFrom('', '\ufeff{}', '{"a":1}{"b":2}', '{"a":1e999}', nestedJson(200_000), `{"null":${nestedJson(150)}}`),
    },
  )
