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

const LIMITS = ['EMFILE', 'ENFILE'] // of open files, whatever file it was

/** An error that has a path is the file system's, also as the cause of what went wrong. */
function codeOf({ code = '', path, cause }: NodeJS.ErrnoException & { cause?: unknown }): number {
  const file = path ?? (cause as NodeJS.ErrnoException | undefined)?.path
  return file !== undefined && !LIMITS.includes(code) ? CODE.io : (CODES[code] ?? CODE.internal)
}

/** `error` as a CniError; one that is a CniError already stays as it is. */
export function kernelError(error: unknown): CniError {
  if (error instanceof CniError) return error
  const { message, cause } = error as Error
  return new CniError(
    codeOf(error as NodeJS.ErrnoException),
    message,
    cause instanceof Error && !message.includes(cause.message) ? cause.message : undefined,
  )
}
