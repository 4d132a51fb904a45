/** tunlink: a CNI plugin when CNI_COMMAND is set, a worker of the agent in its threads, a command line otherwise. */
import { isMainThread } from 'node:worker_threads'
import { runPlugin } from '../src/plugin/main.ts'

async function main(): Promise<number> {
  if (process.env.CNI_COMMAND !== undefined && process.env.CNI_COMMAND !== '') return runPlugin(process.env)
  const { runCommand } = await import('../src/command/main.ts')
  return runCommand(process.argv.slice(2))
}

if (isMainThread) void main().then(status => (process.exitCode = status))
else void import('../src/wire/worker.ts').then(({ workerMain }) => workerMain())
