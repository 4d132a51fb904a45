/** STATUS: fails with code 50 when an ADD could not work now. */
import { accessSync, constants, mkdirSync } from 'node:fs'
import { ask, noAgent } from '../agent/client.ts'
import { CniError, CODE } from '../cni/error.ts'
import { parseIpam } from '../ipam/pool.ts'
import { type Context, delegateIpam, isDelegated } from './context.ts'

const unavailable = (details: string) => new CniError(CODE.pluginNotAvailable, 'plugin not available', details)

export async function status(context: Context): Promise<void> {
  const { conf } = context
  usable('/dev/net/tun', () => accessSync('/dev/net/tun', constants.R_OK | constants.W_OK))
  usable(conf.dataDir, () => {
    mkdirSync(conf.dataDir, { recursive: true, mode: 0o700 })
    accessSync(conf.dataDir, constants.W_OK)
  })
  if (conf.farEnd === 'host' && !conf.agent.spawn) await agentAnswers(conf.dataDir)
  if (isDelegated(conf)) delegateStatus(context)
  else if (conf.ipam !== undefined) parseIpam(conf.ipam)
}

function usable(what: string, body: () => void): void {
  try {
    body()
  } catch (error) {
    throw unavailable(`${what}: ${(error as Error).message}`)
  }
}

async function agentAnswers(dataDir: string): Promise<void> {
  try {
    await ask(dataDir, { op: 'status' })
  } catch (error) {
    throw unavailable(noAgent(error) ? `no agent answers at ${dataDir}/agent.sock, and "agent.spawn" is false` : (error as Error).message)
  }
}

function delegateStatus(context: Context): void {
  try {
    delegateIpam(context, 'STATUS')
  } catch (error) {
    throw unavailable(`ipam "${context.conf.ipam!.type}": ${(error as Error).message}`)
  }
}
