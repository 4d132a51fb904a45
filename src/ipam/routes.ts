/** The key `routes` of `ipam`. */
import { familyOf, parseAddress, parseCidr } from '../address.ts'
import { optionalInteger, optionalObjects, type Place, refuse, type Values, within } from '../cni/must-be.ts'
import type { Route } from '../linux/route.ts'
import type { Range } from './pool.ts'

/** Attributes of a route are u32 in rtnetlink(7). */
export const U32_MAX = 0xffffffff
export const U8_MAX = 0xff

/** undefined when the key is absent. Throws CniError 7. */
export function parseRoutes(ipam: Values, place: Place): Route[] | undefined {
  return optionalObjects(ipam, 'routes', place)?.map((route, index) => {
    const { dst, gw } = route
    if (typeof dst !== 'string' || parseCidr(dst) === undefined) throw refuse('routes', 'routes with a network in "dst"', route, place)
    for (const key of ['mtu', 'advmss', 'priority', 'table']) optionalInteger(route, key, 0, U32_MAX, within(place, `routes[${index}]`))
    optionalInteger(route, 'scope', 0, U8_MAX, within(place, `routes[${index}]`))
    if (gw === undefined || gw === null) return route as unknown as Route
    if (typeof gw !== 'string' || parseAddress(gw) === undefined) throw refuse('routes', 'routes with an address in "gw"', route, place)
    if (familyOf(gw) !== familyOf(dst)) throw refuse('routes', 'routes with "dst" and "gw" of one family', route, place)
    return route as unknown as Route
  })
}

/** The routes of a pool without the key: one default route per family. */
export const defaultRoutes = (sets: Range[][]): Route[] =>
  [...new Set(sets.map(set => set[0]!.family))].map(family => ({ dst: family === 4 ? '0.0.0.0/0' : '::/0' }))
