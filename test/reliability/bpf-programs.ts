/** How many BPF programs the kernel has, whoever loaded them: bpf(2), BPF_PROG_GET_NEXT_ID. */
import { SYS_BPF } from '../../src/linux/bpf.ts'
import { errno, func } from '../../src/linux/libc.ts'

const BPF_PROG_GET_NEXT_ID = 11 // <linux/bpf.h>, enum bpf_cmd
const ENOENT = 2

const syscall = func('syscall', 'long', ['long', 'int', 'void *', 'uint32_t'])

/** Walks the kernel's list; throws with the errno where that is refused. */
export function bpfPrograms(): number {
  const attr = Buffer.alloc(12) // start_id, next_id, open_flags
  for (let count = 0; ; count++) {
    if (syscall(SYS_BPF, BPF_PROG_GET_NEXT_ID, attr, attr.length) < 0) {
      if (errno() === ENOENT) return count
      throw new Error(`BPF_PROG_GET_NEXT_ID failed with errno ${errno()}`)
    }
    attr.writeUInt32LE(attr.readUInt32LE(4), 0)
  }
}
