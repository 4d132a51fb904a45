/** Attaches to tun0, says so, and holds it until standard input ends. */
import { attachTun } from '../../src/linux/tun.ts'

attachTun({ name: 'tun0', vnetHdr: false })
console.log('attached')
process.stdin.on('end', () => process.exit(0)).resume()
