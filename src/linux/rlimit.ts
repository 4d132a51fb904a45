/** Limits of this process: see setrlimit(2). */
import { func } from './libc.ts'

const RLIMIT_MEMLOCK = 8 // <asm-generic/resource.h>
const UNLIMITED = Buffer.alloc(16, 0xff) // struct rlimit: RLIM_INFINITY twice

const setrlimit = func('setrlimit', 'int', ['int', 'void *']) as (resource: number, limit: Buffer) => number

/** ulimit -l unlimited: false when that is not allowed (CAP_SYS_RESOURCE). */
export const raiseMemlock = (): boolean => setrlimit(RLIMIT_MEMLOCK, UNLIMITED) === 0
