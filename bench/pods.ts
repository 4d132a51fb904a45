/** Two pods of one node: what passes between them, through the node. */
import { compare, interleave, type Row, type Target } from './measure.ts'
import { withPaths } from './paths.ts'
import { carried, iperfServers, roundTripServer, roundTrips, toPod, type Way } from './traffic.ts'

const TARGET: Target = { least: 0.9, goal: 1 }
const RR_SECONDS = 2

export const podToPod = (rounds: number): Promise<Row[]> =>
  withPaths(async paths => {
    const [one, two] = (await paths.tunlink(2)).paths
    const [other, another] = paths.ptp(2)
    const [ours, theirs] = [toPod(one!, two!), toPod(other!, another!)]
    for (const { to } of [ours, theirs]) {
      await iperfServers(paths, to)
      await roundTripServer(paths, to)
    }
    const speed = (way: Way) => async () => (await carried(way)).gigabits
    const trips = (way: Way) => async () => (await roundTrips(way, RR_SECONDS)).perSecond
    const tcp = await interleave(rounds, { ours: speed(ours), theirs: speed(theirs) })
    const rr = await interleave(rounds, { ours: trips(ours), theirs: trips(theirs) })
    const label = { bench: 'pods', peer: 'ptp', target: TARGET }
    return [
      compare({ ...label, what: 'pod to pod of one node, TCP 1 stream', unit: 'Gbit/s' }, tcp.ours, tcp.theirs),
      compare({ ...label, what: 'pod to pod of one node, TCP_RR', unit: 'per s' }, rr.ours, rr.theirs),
    ]
  })
