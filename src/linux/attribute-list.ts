/** Netlink attributes in their order, and the comparison of an answer with what was asked for. */
import { NLA_F_NESTED, NLA_TYPE_MASK, nlattr } from './uapi.ts'

/**
 * True when the attributes `found`, as the kernel answered them, contain all of `wanted`. An
 * attribute of zeros may be absent, as the kernel leaves out flags that are 0; a list must have as
 * many members. Attributes that `wanted` does not have are ignored (handles, counters, and
 * additions of later kernels). Throws RangeError when either is truncated.
 */
export function holds(wanted: Buffer, found: Buffer): boolean {
  const have = attributeList(found)
  const want = attributeList(wanted)
  return want.every(({ type, isNested, payload }, at) => {
    const same = have.filter(other => other.type === type)
    const siblings = want.filter(other => other.type === type)
    if (same.length === 0) return !isNested && payload.every(byte => byte === 0)
    if (same.length !== siblings.length) return false
    const counterpart = same[siblings.indexOf(want[at]!)]!.payload
    return isNested ? holds(payload, counterpart) : payload.equals(counterpart)
  })
}

/** The attributes in `bytes` in their order; several may have the same type. */
export function attributeList(bytes: Buffer): { type: number; isNested: boolean; payload: Buffer }[] {
  const found = []
  for (let at = 0; at < bytes.length; ) {
    const { len, type } = nlattr.decode(bytes.subarray(at))
    if (len < nlattr.size || at + len > bytes.length)
      throw new RangeError(`Cannot decode attribute ${type}: length ${len} of ${bytes.length - at} bytes`)
    found.push({ type: type & NLA_TYPE_MASK, isNested: (type & NLA_F_NESTED) !== 0, payload: bytes.subarray(at + nlattr.size, at + len) })
    at += (len + 3) & ~3 // NLA_ALIGN
  }
  return found
}
