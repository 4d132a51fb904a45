/**
 * CNI errors: see "Error" in the CNI specification. Codes 0-99 are the specification's, 100 and
 * above ours.
 */

export const CODE = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  decoding: 6,
  invalidConfig: 7,
  invalidNetns: 8,
  tryAgainLater: 11,
  pluginNotAvailable: 50,
  limitedConnectivity: 51,
  /** A pool has no address left, or not the one that was requested. */
  addressUnavailable: 100,
  internal: 999,
} as const

/** What a runtime is told; thrown anywhere, printed in one place. */
export class CniError extends Error {
  override name = 'CniError'
  readonly code: number
  readonly details: string | undefined
  constructor(code: number, message: string, details?: string) {
    super(message)
    this.code = code
    this.details = details
  }
}

export function toErrorJson(error: CniError, cniVersion: string) {
  return { cniVersion, code: error.code, msg: error.message, ...(error.details === undefined ? {} : { details: error.details }) }
}
