/** Limits of this process: see setrlimit(2). */
import { func } from './libc.ts'

// <asm-generic/resource.h>
const RLIMIT_NOFILE = 7
const RLIMIT_MEMLOCK = 8
const UNLIMITED = Buffer.alloc(16, 0xff) // struct rlimit: RLIM_INFINITY twice

const getrlimit = func('getrlimit', 'int', ['int', 'void *']) as (resource: number, limit: Buffer) => number
const setrlimit = func('setrlimit', 'int', ['int', 'void *']) as (resource: number, limit: Buffer) => number

/** Equivalent to: ulimit -l unlimited. False when that is not allowed (CAP_SYS_RESOURCE). */
export const raiseMemlock = (): boolean => setrlimit(RLIMIT_MEMLOCK, UNLIMITED) === 0

/**
 * Equivalent to: ulimit -Sn "$(ulimit -Hn)". Returns how many files this process may open from now
 * on. The kernel's defaults are 1,024 and 4,096.
 */
export function raiseOpenFiles(): number {
  const limit = Buffer.alloc(16) // struct rlimit: soft, hard
  getrlimit(RLIMIT_NOFILE, limit)
  const [soft, hard] = [limit.readBigUInt64LE(0), limit.readBigUInt64LE(8)]
  limit.writeBigUInt64LE(hard, 0)
  return Number(soft === hard || setrlimit(RLIMIT_NOFILE, limit) === 0 ? hard : soft)
}
