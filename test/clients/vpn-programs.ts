/**
 * VPN programs of Debian that attach to a TUN that is there. Each reads what it needs from a
 * directory of its own, and is told the other's address on the pods' primary links.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Site {
  directory: string
  /** On the primary link. */
  address: string
}

export interface VpnProgram {
  /** Writes keys into the directories, and whatever else is read there. */
  prepare(sites: [Site, Site]): void
  command(own: Site, other: Site): string[]
  /** What it logs when the peers have agreed on keys. */
  isEncrypted: RegExp
}

/** Bytes: the TUN's; what encryption adds fits the 1500 of the primary link. */
export const MTU = 1400

/** Two peers, each known by its certificate's fingerprint. One of them must be TLS's server. */
const openvpn: VpnProgram = {
  prepare(sites) {
    for (const { directory } of sites)
      execFileSync('sh', ['-c', MAKE_CERTIFICATE], { cwd: directory, stdio: ['ignore', 'ignore', 'ignore'] })
  },
  command: (own, other) => [
    ...['/usr/sbin/openvpn', '--verb', '3', '--proto', 'udp', '--remote', other.address],
    ...['--dev', 'tun0', '--dev-type', 'tun', '--ifconfig-noexec', '--route-noexec', '--tun-mtu', String(MTU)],
    ...(own.directory < other.directory ? ['--tls-server', '--dh', 'none'] : ['--tls-client']),
    ...['--key', join(own.directory, 'key.pem'), '--cert', join(own.directory, 'cert.pem')],
    ...['--peer-fingerprint', readFileSync(join(other.directory, 'fingerprint'), 'utf8').trim()],
  ],
  isEncrypted: /Data Channel: cipher 'AES-256-GCM'/,
}

const MAKE_CERTIFICATE = `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=pod -keyout key.pem -out cert.pem
openssl x509 -in cert.pem -noout -fingerprint -sha256 | cut -d = -f 2 >fingerprint`

/** It sets the device's MTU unless that is right already, which it may not do here. */
const fastd: VpnProgram = {
  prepare([one, two]) {
    const keys = [one, two].map(() => execFileSync('fastd', ['--generate-key'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }))
    const key = (at: number, kind: 'Secret' | 'Public') => new RegExp(`${kind}: (\\w+)`).exec(keys[at]!)![1]
    for (const [at, own, other] of [
      [0, one, two],
      [1, two, one],
    ] as const) {
      // One alone begins: of two handshakes at once each side may keep another session.
      const remote = at === 0 ? '' : `remote ${other.address}:1195;`
      const peer = `peer "other" { key "${key(1 - at, 'Public')}"; ${remote} }`
      const text = `interface "tun0";\nmode tun;\nmtu ${MTU};\nbind 0.0.0.0:1195;\nmethod "salsa2012+umac";\nsecret "${key(at, 'Secret')}";\n${peer}\n`
      writeFileSync(join(own.directory, 'fastd.conf'), text)
    }
  },
  command: own => ['/usr/bin/fastd', '--config', join(own.directory, 'fastd.conf')],
  isEncrypted: /new session with <other> established using method `salsa2012\+umac'/,
}

export const PROGRAMS: Record<string, VpnProgram> = { openvpn, fastd }
