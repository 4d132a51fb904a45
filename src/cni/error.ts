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

/** The error that a runtime is told. Thrown anywhere, printed in one place. */
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

/** In characters: a runtime puts both into its log and a pod's events. */
const [LONGEST_MESSAGE, LONGEST_DETAILS] = [2_000, 8_000]

const cut = (text: string, most: number) => (text.length <= most ? text : `${text.slice(0, most)}… (${text.length} characters)`)

/** Long texts, which repeat a whole configuration or a plugin's output, are cut. */
export function toErrorJson({ code, message, details }: CniError, cniVersion: string) {
  return {
    cniVersion,
    code,
    msg: cut(message, LONGEST_MESSAGE),
    ...(details === undefined ? {} : { details: cut(details, LONGEST_DETAILS) }),
  }
}

/** True for a number that Go's libraries accept as the code of an error: an unsigned integer. */
export const isErrorCode = (code: unknown): code is number => Number.isSafeInteger(code) && (code as number) >= 0
