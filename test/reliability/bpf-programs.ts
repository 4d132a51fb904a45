/**
 * How many BPF programs with one of some names the kernel has, whoever loaded them: bpf(2),
 * BPF_PROG_GET_NEXT_ID.
 */
import { closeSync } from 'node:fs'
import { SYS_BPF } from '../../src/linux/bpf.ts'
import { addressOf, errno, func } from '../../src/linux/libc.ts'

// <linux/bpf.h>, enum bpf_cmd
const BPF_PROG_GET_NEXT_ID = 11
const BPF_PROG_GET_FD_BY_ID = 13
const BPF_OBJ_GET_INFO_BY_FD = 15
/** Of struct bpf_prog_info: the offset of `name`, and that of its end. */
const NAME = 64
const NAME_END = 80
const ENOENT = 2

const syscall = func('syscall', 'long', ['long', 'int', 'void *', 'uint32_t'])

/** What bpf(2) returns; undefined for ENOENT. Throws with any other errno. */
function bpf(command: number, attr: Buffer): number | undefined {
  const result = Number(syscall(SYS_BPF, command, attr, attr.length))
  if (result >= 0) return result
  if (errno() === ENOENT) return undefined
  throw new Error(`bpf command ${command} failed with errno ${errno()}`)
}

/** Walks the kernel's list; throws with the errno where that is refused. */
export function bpfPrograms(...names: string[]): number {
  const attr = Buffer.alloc(12) // start_id, next_id, open_flags
  for (let count = 0; ; attr.writeUInt32LE(attr.readUInt32LE(4), 0)) {
    if (bpf(BPF_PROG_GET_NEXT_ID, attr) === undefined) return count
    if (names.includes(nameOf(attr.readUInt32LE(4)) ?? '')) count++
  }
}

/** Undefined when the program is gone meanwhile. */
function nameOf(id: number): string | undefined {
  const wanted = Buffer.alloc(12) // prog_id, next_id, open_flags
  wanted.writeUInt32LE(id, 0)
  const fd = bpf(BPF_PROG_GET_FD_BY_ID, wanted)
  if (fd === undefined) return undefined
  try {
    const info = Buffer.alloc(NAME_END)
    const attr = Buffer.alloc(16) // bpf_fd, info_len, info
    attr.writeUInt32LE(fd, 0)
    attr.writeUInt32LE(info.length, 4)
    attr.writeBigUInt64LE(BigInt(addressOf(info)), 8)
    bpf(BPF_OBJ_GET_INFO_BY_FD, attr)
    return info.toString('latin1', NAME).replace(/\0.*/s, '')
  } finally {
    closeSync(fd)
  }
}
