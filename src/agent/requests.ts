/** Handles one request, from its line to the line of its answer. */
import { CniError, CODE, toErrorJson } from '../cni/error.ts'
import { show } from '../cni/must-be.ts'
import { kernelError } from '../link/errors.ts'
import { log } from './log.ts'
import { type Answer, PROTOCOL, type Request, VERSION } from './protocol.ts'
import { verifyRequest } from './request-format.ts'

/** Never rejects: an invalid line, or an error of `perform`, becomes the answer. */
export async function answer(line: string, perform: (request: Request) => Promise<object>): Promise<string> {
  try {
    return encode({ protocol: PROTOCOL, ok: true, ...(await perform(parseRequest(line))) })
  } catch (error) {
    log('request failed', { error: (error as Error).message })
    return encodeError(kernelError(error), (error as { unseen?: true }).unseen)
  }
}

export function encodeError(error: CniError, unseen?: true): string {
  const { code, msg, details } = toErrorJson(error, '')
  return encode({
    protocol: PROTOCOL,
    ok: false,
    ...(unseen ? { unseen } : {}),
    error: { code, msg, ...(details === undefined ? {} : { details }) },
  })
}

const encode = (answer: Answer) => JSON.stringify(answer)

/**
 * Throws CniError 4 or 6 for a line that is not JSON or not a request; 11 for a request of another
 * version: during an upgrade the other executable follows soon.
 */
function parseRequest(line: string): Request {
  let request: { protocol?: unknown; op?: unknown } | null
  try {
    request = JSON.parse(line)
  } catch {
    throw new CniError(CODE.decoding, `the request is not JSON: ${JSON.stringify(line.slice(0, 100))}`)
  }
  if (typeof request !== 'object' || request?.protocol !== PROTOCOL)
    throw new CniError(
      CODE.tryAgainLater,
      `the request is of another version than the agent (${VERSION}): its "protocol" is ${show(request?.protocol ?? null)}, not ${PROTOCOL}`,
      'install the same version of tunlink in both places',
    )
  verifyRequest(request as Request)
  return request as Request
}

/** The answer to an unknown operation. */
export const unknownRequest = (request: { op?: unknown }) =>
  new CniError(CODE.unsupportedField, `the agent (${VERSION}) does not know the request "op": ${show(request.op ?? null)}`)
