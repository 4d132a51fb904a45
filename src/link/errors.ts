/** The CNI codes of the kernel's errors. */
import { CniError, CODE } from '../cni/error.ts'

const CODES: Record<string, number> = {
  EEXIST: CODE.invalidEnvironment, // a link can clash with nothing else than CNI_IFNAME
  EBUSY: CODE.invalidEnvironment,
  EAGAIN: CODE.tryAgainLater,
  ENOBUFS: CODE.tryAgainLater,
  EMFILE: CODE.tryAgainLater,
  ENFILE: CODE.tryAgainLater,
}

const LIMITS = ['EMFILE', 'ENFILE'] // limits of open files, whatever the file

/** An error with a path is an error of the file system, also as the cause of another error. */
function codeOf({ code = '', path, cause }: NodeJS.ErrnoException & { cause?: unknown }): number {
  const file = path ?? (cause as NodeJS.ErrnoException | undefined)?.path
  return file !== undefined && !LIMITS.includes(code) ? CODE.io : (CODES[code] ?? CODE.internal)
}

/** `error` as a CniError; a CniError is returned unchanged. */
export function kernelError(error: unknown): CniError {
  if (error instanceof CniError) return error
  const { message, cause } = error as Error
  return new CniError(
    codeOf(error as NodeJS.ErrnoException),
    message,
    cause instanceof Error && !message.includes(cause.message) ? cause.message : undefined,
  )
}
