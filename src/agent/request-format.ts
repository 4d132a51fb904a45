/**
 * Validates requests. Only root can connect, but values of a request become paths and arguments of
 * system calls: a wrong request is answered with an error, and nothing is done.
 */
import { verifyContainerID, verifyIfname } from '../cni/environment.ts'
import { CODE } from '../cni/error.ts'
import { optionalBoolean, optionalObject, optionalStrings, type Place, refuse, type Values, within } from '../cni/must-be.ts'
import { verifyNetwork } from '../cni/netconf.ts'

const REQUEST: Place = { path: 'request.', code: CODE.decoding }

/**
 * Throws CniError 4, 6 or 7 that names the key. The fields of an unknown operation are not
 * validated.
 */
export function verifyRequest(request: object): void {
  const { op, ...values } = request as Values
  switch (op) {
    case 'add':
      verifyEnvironment(needed(values, 'environment'))
      verifyText(values, 'stdin', REQUEST)
      verifyCaller(needed(values, 'caller'))
      verifyNumber(values, 'started', REQUEST)
      break
    case 'del':
      verifyAttachment(needed(values, 'attachment'))
      if (optionalBoolean(values, 'lease', REQUEST) === undefined) throw refuse('lease', 'true or false', values.lease, REQUEST)
      if (values.caller !== undefined) verifyCaller(needed(values, 'caller'))
      verifyNumber(values, 'started', REQUEST)
      break
    case 'open':
      verifyAttachment(needed(values, 'attachment'))
  }
}

function needed(values: Values, key: string): Values {
  const found = optionalObject(values, key, REQUEST)
  if (found === undefined) throw refuse(key, 'an object', values[key], REQUEST)
  return found
}

function verifyEnvironment(environment: Values): void {
  const place = within(REQUEST, 'environment')
  if (environment.command !== 'ADD') throw refuse('command', '"ADD"', environment.command, place)
  for (const key of ['containerID', 'netns', 'ifname', 'args']) verifyText(environment, key, place)
  verifyContainerID(environment.containerID as string)
  verifyIfname(environment.ifname as string, '"request.environment.ifname"')
  if (optionalStrings(environment, 'path', place) === undefined) throw refuse('path', 'a list of strings', environment.path, place)
  if (optionalBoolean(environment, 'netnsOverride', place) === undefined)
    throw refuse('netnsOverride', 'true or false', environment.netnsOverride, place)
}

function verifyAttachment(attachment: Values): void {
  const place = within(REQUEST, 'attachment')
  for (const key of ['network', 'containerID', 'ifname']) verifyText(attachment, key, place)
  verifyNetwork(attachment.network as string)
  verifyContainerID(attachment.containerID as string)
  verifyIfname(attachment.ifname as string, '"request.attachment.ifname"')
}

function verifyCaller(caller: Values): void {
  for (const key of ['pid', 'netnsFd', 'ino']) verifyNumber(caller, key, within(REQUEST, 'caller'))
}

function verifyText(values: Values, key: string, place: Place): void {
  if (typeof values[key] !== 'string') throw refuse(key, 'a string', values[key], place)
}

/** Times have fractions; inode numbers may be above 2^53. */
function verifyNumber(values: Values, key: string, place: Place): void {
  const value = values[key]
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) throw refuse(key, 'a number that is not negative', value, place)
}
