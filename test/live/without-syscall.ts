/**
 * `without-syscall.ts NUMBER[:ARGUMENT=VALUE] ERRNO COMMAND...`: runs a command for which the
 * kernel refuses one system call, as a container's seccomp profile or a kernel without it would:
 * seccomp(2). With an argument (0 to 5), only where its lower 32 bits are VALUE.
 */
import { execute } from '../../src/linux/exec.ts'
import { addressOf, checked, keepAlive } from '../../src/linux/libc.ts'

const PR_SET_SECCOMP = 22
const SECCOMP_MODE_FILTER = 2
const RET_ERRNO = 0x0005_0000
const RET_ALLOW = 0x7fff_0000
// <linux/bpf_common.h>: load a word, compare with a constant, return
const [LD_W_ABS, JEQ, RET] = [0x20, 0x15, 0x06]

const prctl = checked('prctl', ['int', 'uint64_t', 'uint64_t', 'uint64_t', 'uint64_t'])

const [call, errno, command, ...args] = process.argv.slice(2)
const [, number, argument, value] = /^(\d+)(?::([0-5])=(\d+))?$/.exec(call!)!
/** Offset of the arguments in struct seccomp_data, 64 bits each. */
const ARGUMENTS = 16
const next = argument === undefined ? 1 : 3
// struct sock_filter; the number of the system call is the first word of struct seccomp_data
type Program = [code: number, ifTrue: number, ifFalse: number, k: number][]
const program: Program = [
  [LD_W_ABS, 0, 0, 0],
  [JEQ, 0, next, Number(number)],
  ...(argument === undefined
    ? []
    : ([
        [LD_W_ABS, 0, 0, ARGUMENTS + 8 * Number(argument)],
        [JEQ, 0, 1, Number(value)],
      ] satisfies Program)),
  [RET, 0, 0, RET_ERRNO | Number(errno)],
  [RET, 0, 0, RET_ALLOW],
]
const filter = Buffer.alloc(program.length * 8)
for (const [index, [code, ifTrue, ifFalse, k]] of program.entries()) {
  filter.writeUInt16LE(code, index * 8)
  filter.set([ifTrue, ifFalse], index * 8 + 2)
  filter.writeUInt32LE(k, index * 8 + 4)
}
const sockFprog = Buffer.alloc(16) // struct sock_fprog
sockFprog.writeUInt16LE(program.length)
sockFprog.writeBigUInt64LE(BigInt(addressOf(filter)), 8)
prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, addressOf(sockFprog), 0, 0)
keepAlive(filter, sockFprog)
execute(command!, [command!, ...args], process.env, [])
