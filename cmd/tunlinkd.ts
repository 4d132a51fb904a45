/** tunlinkd: keeps a Kubernetes node set up for tunlink. */
import { Daemon } from '../src/node/daemon.ts'
import { describe, log } from '../src/node/log.ts'
import { help, type Options, parseOptions } from '../src/node/options.ts'
import { uninstall } from '../src/node/uninstall.ts'

const VERSION = process.env.TUNLINK_VERSION ?? 'from source'

async function main(): Promise<number> {
  let options: Options
  try {
    options = parseOptions(process.argv.slice(2), process.env)
  } catch (error) {
    process.stderr.write(`${describe(error)}\nSee tunlinkd --help\n`)
    return 2
  }
  switch (options.command) {
    case 'help':
      process.stdout.write(help(VERSION))
      return 0
    case 'version':
      process.stdout.write(`${VERSION}\n`)
      return 0
    case 'uninstall':
      return runUninstall(options)
    case 'run':
      return run(options)
  }
}

async function run(options: Options): Promise<number> {
  const daemon = new Daemon(options, VERSION)
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => daemon.stop())
  await daemon.run()
  return 0
}

async function runUninstall(options: Options): Promise<number> {
  const left = await uninstall(options)
  if (left > 0) return 1 // the DaemonSet's restart tries again
  if (options.wait) {
    const timer = setInterval(() => {}, 1 << 30)
    await new Promise(resolve => process.on('SIGTERM', resolve))
    clearInterval(timer)
  }
  return 0
}

void main().then(
  status => process.exit(status),
  error => {
    log.error('tunlinkd failed', { error: describe(error) })
    process.exit(1)
  },
)
