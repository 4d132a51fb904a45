/** Which CNI code a refusal of the kernel has. */
import { CniError, CODE } from '../cni/error.ts'

const CODES: Record<string, number> = {
  EEXIST: CODE.invalidEnvironment, // the only thing that a link can clash with is CNI_IFNAME
  EBUSY: CODE.invalidEnvironment,
  EAGAIN: CODE.tryAgainLater,
  ENOBUFS: CODE.tryAgainLater,
  EMFILE: CODE.tryAgainLater,
  ENFILE: CODE.tryAgainLater,
}

/** `error` as a CniError; one that is a CniError already stays as it is. */
export function kernelError(error: unknown): CniError {
  if (error instanceof CniError) return error
  const { message, code, cause } = error as NodeJS.ErrnoException & { cause?: Error }
  return new CniError(
    CODES[code ?? ''] ?? CODE.internal,
    message,
    cause instanceof Error && !message.includes(cause.message) ? cause.message : undefined,
  )
}
