/**
 * Which containerd the nodes run: 1.7 of Debian 13 unless TUNLINK_CONTAINERD names another release,
 * `bookworm` for 1.6. What is not of this machine's own release is unpacked by test/clients/suite.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const release = process.env.TUNLINK_CONTAINERD || 'trixie'
const own = /^VERSION_CODENAME=(\S+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1]

/** Holds bin/ with containerd, ctr and runc; empty where these are the machine's own. */
export const SUITE =
  release === own ? '' : execFileSync(resolve(import.meta.dirname, '../clients/suite'), [release], { encoding: 'utf8' }).trim()

/** Where a node looks for programs. */
export const PATH = SUITE === '' ? process.env.PATH! : `${join(SUITE, 'bin')}:${process.env.PATH}`

/** As in `containerd 1.7.24, runc 1.1.15`. */
export function runtimeVersion(): string {
  const version = (program: string) =>
    / v?(\d+\.\d+\.\d+)/.exec(execFileSync(program, ['--version'], { encoding: 'utf8', env: { PATH } }))?.[1]
  return `containerd ${version('containerd')}, runc ${version('runc')}`
}
