/** STATUS' errors. This module loads nothing else: it must work when nothing else can be loaded. */
import { CniError, CODE } from '../cni/error.ts'
import { kernelError } from '../link/errors.ts'

export const unavailable = (details: string) => new CniError(CODE.pluginNotAvailable, 'plugin not available', details)

/** Codes of faults of this node, which an ADD would meet, too. */
const NODE_FAULTS: number[] = [CODE.io, CODE.tryAgainLater, CODE.internal]

/** A wrong call or configuration keeps its code; everything else is 50. */
export function statusError(error: unknown): CniError {
  const known = kernelError(error)
  if (!NODE_FAULTS.includes(known.code)) return known
  return unavailable(known.details === undefined ? known.message : `${known.message}: ${known.details}`)
}
