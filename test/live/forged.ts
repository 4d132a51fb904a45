/** Packets with sources that a pod does not have, and what of them comes to the node and passes. */
import { execFileSync } from 'node:child_process'
import { eventually, inside } from '../support.ts'

export type Packet = [source: string, destination: string]

/**
 * Sends the packets by eth0 of a namespace, whatever addresses that has: UDP to port 9, or to
 * ff02::1 a neighbour solicitation (ICMPv6 135). One process, and one packet after another.
 */
export function send(netns: string, packets: Packet[]): void {
  const program = `
import json, socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
for source, destination in json.loads(sys.argv[1]):
    six = ':' in source
    number = lambda text: socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, text)
    protocol = 58 if destination == 'ff02::1' else 17
    body = struct.pack('!BBHI', 135, 0, 0, 0) + number(destination) if protocol == 58 else struct.pack('!HHHH', 5555, 9, 8, 0)
    if six:
        header = struct.pack('!IHBB', 6 << 28, len(body), protocol, 255)
    else:
        header = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0)
        total = sum(struct.unpack('!10H', header + number(source) + number(destination)))
        total = (total & 0xffff) + (total >> 16)
        header = header[:10] + struct.pack('!H', ~((total & 0xffff) + (total >> 16)) & 0xffff)
    # of the veth pairs of firewall-table.test.ts; a TUN has none
    mac = bytes.fromhex('027400000001')
    s.sendto(header + number(source) + number(destination) + body, ('eth0', 0x86dd if six else 0x0800, 0, 0, mac))`
  inside(netns, 'python3', '-c', program, JSON.stringify(packets))
}

/**
 * Keeps source and destination of what comes in by `link`: as it comes off the device, where
 * nothing has dropped it, and behind our table.
 */
export function watch(netns: string, link: string): void {
  const table = `table inet seen {
  set came4 { type ipv4_addr . ipv4_addr; flags dynamic; size 1024; }
  set came6 { type ipv6_addr . ipv6_addr; flags dynamic; size 1024; }
  set passed4 { type ipv4_addr . ipv4_addr; flags dynamic; size 1024; }
  set passed6 { type ipv6_addr . ipv6_addr; flags dynamic; size 1024; }
  chain before {
    type filter hook ingress device "${link}" priority -400
    add @came4 { ip saddr . ip daddr }
    add @came6 { ip6 saddr . ip6 daddr }
  }
  chain behind {
    type filter hook prerouting priority -200
    iifname "${link}" add @passed4 { ip saddr . ip daddr }
    iifname "${link}" add @passed6 { ip6 saddr . ip6 daddr }
  }
}`
  execFileSync('ip', ['netns', 'exec', netns, 'nft', '-f', '-'], { input: table })
}

/**
 * Sends the packets until all have come, as watch() sees it: a set of nftables that is being
 * enlarged forgets one now and then.
 */
export const sendAll = (netns: string, node: string, packets: Packet[]): Promise<void> =>
  eventually('all packets have left the pod', () => {
    send(netns, packets)
    return seen(node, 'came').length >= packets.length
  })

export const text = ([source, destination]: Packet) => `${source} to ${destination}`

/** "SOURCE to DESTINATION" of what came, or passed, in order. */
export function seen(netns: string, where: 'came' | 'passed'): string[] {
  const { nftables } = JSON.parse(inside(netns, 'nft', '-j', 'list', 'table', 'inet', 'seen'))
  const sets = nftables.filter((item: { set?: { name: string } }) => item.set?.name.startsWith(where))
  return sets.flatMap(({ set }: { set: { elem?: { concat: Packet }[] } }) => (set.elem ?? []).map(({ concat }) => text(concat))).sort()
}
