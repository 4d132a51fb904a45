/**
 * tunlink: a CNI plugin when CNI_COMMAND is set, a thread of a thread wire when the agent has
 * started it so, else a command line.
 */
import { runPlugin } from '../src/plugin/main.ts'
import { WIRE_THREAD } from '../src/wire/threads/table.ts'

async function main(): Promise<void> {
  // isMainThread of node:worker_threads would say the same, but loading that module takes two
  // milliseconds of every ADD.
  if (process.argv[2] === WIRE_THREAD) return (await import('../src/wire/threads/worker.ts')).workerMain()
  if (process.env.CNI_COMMAND) return exitNow(await runPlugin(process.env))
  const { runCommand } = await import('../src/command/main.ts')
  process.exitCode = await runCommand(process.argv.slice(2))
}

/**
 * Ends the process without tearing the runtime down, which would take a millisecond: all output has
 * been written by write(2).
 */
const exitNow = (status: number) => (process as unknown as { reallyExit(status: number): never }).reallyExit(status)

void main()
