import type { NetlinkSocket } from '../linux/netlink.ts'
import { addMasquerade, deleteMasquerade, ensureTable } from '../linux/nftables.ts'
export interface FirewallEntry {
  link: string
  masquerade: string[]
}
export function addToFirewall(n: NetlinkSocket, e: FirewallEntry, _all: () => FirewallEntry[]): void {
  ensureTable(n)
  if (e.masquerade.length) addMasquerade(n, e.masquerade)
}
export function removeFromFirewall(n: NetlinkSocket, e: FirewallEntry, _all: () => FirewallEntry[]): void {
  deleteMasquerade(n, e.masquerade)
}
export function ensureFirewall(_n: NetlinkSocket, _e: FirewallEntry[]): boolean {
  return false
}
export function firewallFaults(_n: NetlinkSocket, _e: FirewallEntry): string[] {
  return []
}
export function firewallRefusal(): string | undefined {
  return undefined
}
