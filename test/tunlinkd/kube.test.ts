/** The client of the Kubernetes API, against a server that does not do what it should. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Kube } from '../../src/node/kube.ts'
import { kubeconfig } from '../kubeconfig.ts'

const test = suite('kube')
const REQUEST_MS = 300

test('an answer without an end is read no longer than the request may last', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tunlink-kube-'))
  let open = 0
  const server = createServer((_, response) => {
    open++
    response.writeHead(200, { 'Content-Type': 'application/json' })
    const more = setInterval(() => response.write(' '.repeat(1_000)), 10)
    response.on('close', () => {
      clearInterval(more)
      open--
    })
  })
  try {
    await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
    const file = join(directory, 'kubeconfig')
    writeFileSync(file, kubeconfig((server.address() as AddressInfo).port))
    const kube = new Kube(file, REQUEST_MS)
    const condition = { type: 'NetworkUnavailable', status: 'False', reason: 'x', message: 'x' } as const
    for (const [request, words] of [
      [() => kube.listNodes(), /^Cannot list nodes: /],
      [() => kube.setConditions('n1', [condition]), /^Cannot set conditions of node n1: /],
      [() => kube.event('n1', { type: 'Normal', reason: 'x', message: 'x' }), /^Cannot create event x: /],
    ] as const) {
      const error = await request().then(
        () => undefined,
        (error: Error) => error,
      )
      assert.match(error?.message ?? 'it was answered', words)
      await new Promise(done => setTimeout(done, REQUEST_MS))
      assert.is(open, 0, String(request))
    }
  } finally {
    server.closeAllConnections()
    server.close()
    rmSync(directory, { recursive: true })
  }
})

test.run()
