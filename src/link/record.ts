/** Records: one file per attachment holding its plan, written before the kernel is touched, removed after the link is gone. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { asFileName } from '../fnv.ts'
import type { Attachment, LinkPlan } from './plan.ts'

const directory = (dataDir: string) => `${dataDir}/links`

/** ":" can be in neither part, so two attachments never share a file; a name too long for a file becomes its hash. */
const fileName = ({ containerID, ifname }: Attachment) => `${asFileName(`${containerID}:${ifname}`)}.json`

const path = (dataDir: string, attachment: Attachment) => `${directory(dataDir)}/${attachment.network}/${fileName(attachment)}`

/** Derived, as a runtime never has two calls on one attachment at a time: a writer killed half-way leaves a file that is found again. */
const temporary = (file: string) => `${file}.tmp`

/** Writes atomically: a reader sees the whole plan or none. */
export function recordWrite(dataDir: string, plan: LinkPlan): void {
  const file = path(dataDir, plan)
  const write = () => writeFileSync(temporary(file), JSON.stringify(plan), { mode: 0o600 })
  try {
    write()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    mkdirSync(`${directory(dataDir)}/${plan.network}`, { recursive: true, mode: 0o700 })
    write()
  }
  renameSync(temporary(file), file)
}

export function recordRead(dataDir: string, attachment: Attachment): LinkPlan | undefined {
  return read(path(dataDir, attachment))
}

export function recordRemove(dataDir: string, attachment: Attachment): void {
  const file = path(dataDir, attachment)
  rmSync(file, { force: true })
  rmSync(temporary(file), { force: true })
}

/** Removes what writers killed half-way have left. For GC, which no other call runs beside. */
export function recordCollect(dataDir: string, network: string): void {
  const networkDir = `${directory(dataDir)}/${network}`
  for (const name of list(networkDir).filter(name => name.endsWith('.tmp'))) rmSync(`${networkDir}/${name}`, { force: true })
}

/** All records, of one network if named. */
export function recordList(dataDir: string, network?: string): LinkPlan[] {
  const networks = network === undefined ? list(directory(dataDir)) : [network]
  return networks.flatMap(name =>
    list(`${directory(dataDir)}/${name}`)
      .filter(file => file.endsWith('.json'))
      .map(file => read(`${directory(dataDir)}/${name}/${file}`))
      .filter(plan => plan !== undefined),
  )
}

function read(file: string): LinkPlan | undefined {
  if (!existsSync(file)) return undefined // the usual case of an ADD: cheaper than an error
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as LinkPlan
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new Error(`Cannot read the record ${file}`, { cause: error })
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
