// The C libraries of a program, for any architecture: ldd(1) runs the program's own loader, which
// only works on the machine's own architecture. See elf(5).
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const PT_LOAD = 1
const PT_DYNAMIC = 2
const PT_INTERP = 3
const DT_NEEDED = 1
const DT_STRTAB = 5

/**
 * Absolute paths below `sysroot` of what the ELF files `programs` need, directly or not, sorted;
 * `triplet` as "aarch64-linux-gnu" names Debian's directory of libraries. Throws when one is
 * missing.
 */
export function librariesOf(programs, sysroot, triplet) {
  const found = new Set()
  const pathOf = name => {
    const path = [`/lib/${triplet}/${name}`, `/usr/lib/${triplet}/${name}`].find(path => existsSync(join(sysroot, path)))
    if (path === undefined) throw new Error(`${name} is neither in /lib/${triplet} nor in /usr/lib/${triplet} of ${sysroot}`)
    return path
  }
  const visit = file => {
    const { interpreter, needed } = readElf(file)
    for (const path of [...interpreter, ...needed.map(pathOf)]) {
      if (found.has(path)) continue
      found.add(path)
      visit(join(sysroot, path))
    }
  }
  for (const program of programs) visit(program)
  return [...found].sort()
}

/** The loader that a 64-bit little-endian ELF file asks for, if any, and the names of libraries. */
function readElf(file) {
  const bytes = readFileSync(file)
  const number = at => Number(bytes.readBigUInt64LE(at))
  const headers = Array.from({ length: bytes.readUInt16LE(56) }, (_, index) => {
    const at = number(32) + index * bytes.readUInt16LE(54)
    return { type: bytes.readUInt32LE(at), offset: number(at + 8), address: number(at + 16), size: number(at + 32) }
  })
  const text = at => bytes.toString('latin1', at, bytes.indexOf(0, at))
  const interpreter = headers.filter(({ type }) => type === PT_INTERP).map(({ offset }) => text(offset))
  const dynamic = headers.find(({ type }) => type === PT_DYNAMIC)
  if (dynamic === undefined) throw new Error(`${file} has no dynamic section (PT_DYNAMIC): it names no libraries`)
  const entries = Array.from({ length: dynamic.size / 16 }, (_, index) => {
    const at = dynamic.offset + index * 16
    return { tag: number(at), value: number(at + 8) }
  })
  const strings = entries.find(({ tag }) => tag === DT_STRTAB).value
  const loaded = headers.find(({ type, address, size }) => type === PT_LOAD && address <= strings && strings < address + size)
  const needed = entries.filter(({ tag }) => tag === DT_NEEDED).map(({ value }) => text(strings - loaded.address + loaded.offset + value))
  // without the loader itself
  return { interpreter, needed: needed.filter(name => !name.startsWith('ld-linux')) }
}
