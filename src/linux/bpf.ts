/**
 * BPF programs: see bpf(2), <linux/bpf.h> and the kernel's
 * Documentation/bpf/standardization/instruction-set.rst.
 */
import { SyscallError } from './errno.ts'
import { addressOf, errno, func, keepAlive } from './libc.ts'
import { raiseMemlock } from './rlimit.ts'
import { struct, u8, u16, u32, u64 } from './struct.ts'

/** One instruction: opcode, registers 0 to 10, a signed 16-bit offset, a signed 32-bit constant. */
export interface Instruction {
  code: number
  dst?: number
  src?: number
  off?: number
  imm?: number
}

// Opcodes: a class (ALU64, LDX, ST, STX, JMP), an operation or size, and where the operand comes
// from.
/** rDST = IMM */
export const movImm = (dst: number, imm: number): Instruction => ({ code: 0xb7, dst, imm })
/** rDST = rSRC */
export const movReg = (dst: number, src: number): Instruction => ({ code: 0xbf, dst, src })
/** rDST += IMM */
export const addImm = (dst: number, imm: number): Instruction => ({ code: 0x07, dst, imm })
/** rDST = *(u32 *)(rSRC + OFF) */
export const load32 = (dst: number, src: number, off: number): Instruction => ({ code: 0x61, dst, src, off })
/** *(u32 *)(rDST + OFF) = IMM */
export const store32 = (dst: number, off: number, imm: number): Instruction => ({ code: 0x62, dst, off, imm })
/** *(u16 *)(rDST + OFF) = rSRC */
export const store16 = (dst: number, off: number, src: number): Instruction => ({ code: 0x6b, dst, src, off })
/** if rDST != 0, skip OFF instructions */
export const skipUnlessZero = (dst: number, off: number): Instruction => ({ code: 0x55, dst, off })
/** r0 = HELPER(r1, r2, r3, r4, r5) */
export const call = (helper: number): Instruction => ({ code: 0x85, imm: helper })
/** return r0 */
export const exit = (): Instruction => ({ code: 0x95 })

// <linux/bpf.h>, enum bpf_func_id
export const BPF_FUNC_skb_store_bytes = 9
export const BPF_FUNC_redirect = 23
export const BPF_FUNC_skb_change_head = 43
export const BPF_F_INGRESS = 1

/** Offset of `protocol` in struct __sk_buff: the EtherType, in network byte order. */
export const SKB_PROTOCOL = 16

const bpfInsn = struct({ code: u8, registers: u8, off: u16, imm: u32 })

/** The bytes of struct bpf_insn, eight for each instruction. */
export const encode = (program: Instruction[]): Buffer =>
  Buffer.concat(
    program.map(({ code, dst = 0, src = 0, off = 0, imm = 0 }) =>
      bpfInsn.encode({ code, registers: (src << 4) | dst, off: off & 0xffff, imm: imm >>> 0 }),
    ),
  )

// <linux/bpf.h>, enum bpf_cmd and the parts of union bpf_attr
const BPF_PROG_LOAD = 5
const BPF_OBJ_GET_INFO_BY_FD = 15
const BPF_PROG_TYPE_SCHED_CLS = 3
const progLoad = struct({
  type: u32,
  count: u32,
  insns: u64,
  license: u64,
  logLevel: u32,
  logSize: u32,
  log: u64,
  kernVersion: u32,
  flags: u32,
})
const objInfo = struct({ fd: u32, length: u32, info: u64 })
const BPF_OBJ_NAME_LEN = 16
/** The beginning of struct bpf_prog_info: type, id, tag. */
const PROG_INFO_TAG = 8
const BPF_TAG_SIZE = 8
const LOG_BYTES = 1 << 16

/** <asm/unistd.h> */
export const SYS_BPF = process.arch === 'arm64' ? 280 : 321
const raw = func('syscall', 'int', ['int', 'int', 'uint64_t', 'uint32_t']) as (
  nr: number,
  cmd: number,
  attr: number,
  size: number,
) => number

/**
 * Loads a program for a tc hook: its descriptor, close-on-exec. `name` is what `bpftool prog`
 * shows, at most 15 bytes. Throws SyscallError with the end of the verifier's log.
 */
export function loadClassifier(name: string, program: Instruction[]): number {
  const fd = tryLoad(name, program)
  if (fd >= 0) return fd
  // Before Linux 5.11 programs count as locked memory, which is limited to 64 KiB unless the
  // process raises its limit.
  if (errno() === EPERM && raiseMemlock()) {
    const second = tryLoad(name, program)
    if (second >= 0) return second
  }
  const reason = errno()
  const log = Buffer.alloc(LOG_BYTES)
  tryLoad(name, program, log)
  const words = log.toString('latin1', 0, Math.max(0, log.indexOf(0))).trim()
  throw new SyscallError('bpf', reason, `BPF_PROG_LOAD ${name}${words === '' ? '' : ` (verifier: ${words.slice(-300)})`}`)
}

const EPERM = 1
const EAGAIN = 11
const MOST_TRIES = 10

/**
 * The verifier stops with EAGAIN when a signal is pending for this thread, such as SIGCHLD: it is
 * tried again, as libbpf does.
 */
function tryLoad(name: string, program: Instruction[], log?: Buffer): number {
  for (let tries = 1; ; tries++) {
    const fd = loadOnce(name, program, log)
    if (fd >= 0 || errno() !== EAGAIN || tries === MOST_TRIES) return fd
  }
}

function loadOnce(name: string, program: Instruction[], log?: Buffer): number {
  const insns = encode(program)
  // the kernel gives these helpers to programs with a GPL-compatible licence only
  const license = Buffer.from('GPL\0')
  const attr = Buffer.concat([
    progLoad.encode({
      type: BPF_PROG_TYPE_SCHED_CLS,
      count: program.length,
      insns: addressOf(insns),
      license: addressOf(license),
      logLevel: log === undefined ? 0 : 1,
      logSize: log?.length ?? 0,
      log: log === undefined ? 0 : addressOf(log),
    }),
    Buffer.from(name.padEnd(BPF_OBJ_NAME_LEN, '\0')),
  ])
  const fd = raw(SYS_BPF, BPF_PROG_LOAD, addressOf(attr), attr.length)
  keepAlive(insns, license, attr)
  return fd
}

/**
 * The kernel's hash of a loaded program, 16 hex digits: the tag that `tc filter show` and `bpftool
 * prog` print.
 */
export function programTag(fd: number): string {
  const info = Buffer.alloc(PROG_INFO_TAG + BPF_TAG_SIZE)
  const attr = objInfo.encode({ fd, length: info.length, info: addressOf(info) })
  const result = raw(SYS_BPF, BPF_OBJ_GET_INFO_BY_FD, addressOf(attr), attr.length)
  keepAlive(attr)
  if (result < 0) throw new SyscallError('bpf', errno(), 'BPF_OBJ_GET_INFO_BY_FD')
  return info.toString('hex', PROG_INFO_TAG)
}
