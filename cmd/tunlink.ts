/**
 * tunlink: a CNI plugin when CNI_COMMAND is set, a wire's thread when the agent says so, a command
 * line otherwise.
 */
import { runPlugin } from '../src/plugin/main.ts'
import { WIRE_THREAD } from '../src/wire/threads/table.ts'

async function main(): Promise<void> {
  // Not by node:worker_threads' isMainThread: to load that module costs two milliseconds of every
  // ADD.
  if (process.argv[2] === WIRE_THREAD) return (await import('../src/wire/threads/worker.ts')).workerMain()
  if (process.env.CNI_COMMAND) return exitNow(await runPlugin(process.env))
  const { runCommand } = await import('../src/command/main.ts')
  process.exitCode = await runCommand(process.argv.slice(2))
}

/**
 * Ends the process without tearing the runtime down, which takes a millisecond: all output is
 * written by write(2) and done.
 */
const exitNow = (status: number) => (process as unknown as { reallyExit(status: number): never }).reallyExit(status)

void main()
