/** containerd as a client of the plugin: see containerd.ts. */
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { eventually, inside, ip, pings } from '../support.ts'
import { asksStatus, Containerd, hasCdi, runtimeName } from './containerd.ts'

const test = suite(runtimeName)

const leftovers = ({ lab }: Containerd) => [...lab.links(lab.node), ...lab.files()]

test('two sandboxes, dual-stack: addresses, reachability; StopPodSandbox twice; nothing left', async () => {
  const containerd = new Containerd()
  const { lab } = containerd
  try {
    const cri = await containerd.start()
    const ids = [await containerd.run('one'), await containerd.run('two')]
    const [one, two] = [await cri.podSandboxStatus(ids[0]!), await cri.podSandboxStatus(ids[1]!)]
    const shown = ip(basename(one.netns), 'addr', 'show', 'dev', 'eth0')[0].addr_info.map(({ local }: { local: string }) => local)
    assert.is(one.ips.length, 2)
    assert.equal(shown.sort(), one.ips.toSorted())
    for (const address of two.ips) {
      assert.ok(pings(lab.node, address), `${address} answers the node`)
      assert.ok(pings(basename(one.netns), address), `${address} answers the other pod`)
    }
    assert.is(lab.links(lab.node).length, 2)
    for (const id of ids) {
      await cri.stopPodSandbox(id)
      await cri.stopPodSandbox(id) // this DEL has neither CNI_NETNS nor prevResult
      await cri.removePodSandbox(id)
    }
    assert.equal(leftovers(containerd), [])
  } finally {
    await containerd.close()
  }
})

test('twenty sandboxes at once: no address twice, nothing left', async () => {
  const containerd = new Containerd()
  try {
    const cri = await containerd.start()
    const ids = await Promise.all(Array.from({ length: 20 }, (_, i) => containerd.run(`pod${i}`)))
    const addresses = (await Promise.all(ids.map(id => cri.podSandboxStatus(id)))).flatMap(({ ips }) => ips)
    assert.is(new Set(addresses).size, 40)
    await Promise.all(ids.map(id => containerd.remove(id)))
    assert.equal(leftovers(containerd), [])
  } finally {
    await containerd.close()
  }
})

test('a containerd that is killed leaves the links working, and its successor removes them', async () => {
  const containerd = new Containerd()
  const { lab } = containerd
  try {
    await containerd.start()
    const id = await containerd.run('one')
    const { ips } = await containerd.cri!.podSandboxStatus(id)
    await containerd.kill('SIGKILL')
    for (const address of ips) assert.ok(pings(lab.node, address), `${address} answers`)
    await containerd.start()
    for (const address of ips) assert.ok(pings(lab.node, address), `${address} answers`)
    await containerd.remove(id)
    assert.equal(leftovers(containerd), [])
  } finally {
    await containerd.close()
  }
})

test('a refused ADD reaches the caller in our words and leaves nothing', async () => {
  const containerd = new Containerd({ ipam: { type: 'tunlink', subnet: '10.66.0.4/32' } })
  try {
    await containerd.start()
    await containerd.run('one')
    const before = leftovers(containerd)
    const refusal = await containerd.run('two').then(
      () => 'no error',
      (error: Error) => error.message,
    )
    assert.match(refusal, /plugin type="tunlink" failed \(add\).*no addresses available/s)
    assert.equal(leftovers(containerd), before)
    assert.match(inside(containerd.lab.node, 'ip', 'route'), /10\.66\.0\.4/)
  } finally {
    await containerd.close()
  }
})

test('the deadline passes while the plugin runs: SIGKILL, then DEL, and nothing is left', async () => {
  const containerd = new Containerd()
  const { out } = containerd
  // It has made the link when it is killed, and the runtime has no result of it.
  containerd.writePlugin(
    'slow',
    `echo $CNI_COMMAND >>${out}; [ $CNI_COMMAND = ADD ] || exec TUNLINK; TUNLINK >${out}.result && echo added >>${out} && exec sleep 600`,
  )
  try {
    containerd.configure({ type: 'slow' })
    await containerd.start()
    const refusal = await containerd.run('one', { seconds: 8 }).then(
      () => 'no error',
      (error: Error) => error.message,
    )
    assert.match(refusal, /deadline|DeadlineExceeded|killed/i)
    const calls = (): string[] => readFileSync(out, 'utf8').match(/^(ADD|added|DEL)$/gm) ?? []
    await eventually('DEL has been called', () => calls().includes('DEL'))
    assert.equal(calls().slice(0, 3), ['ADD', 'added', 'DEL'])
    await eventually('the link and its addresses are gone', () => leftovers(containerd).length === 0)
    assert.equal(await containerd.cri!.listPodSandbox(), [])
  } finally {
    await containerd.close()
  }
})

test(asksStatus ? 'STATUS is asked for: its error is NetworkReady=false, and it comes back' : 'STATUS is not asked for', async () => {
  const containerd = new Containerd({ wire: 'thread', agent: { spawn: false } })
  try {
    await containerd.startOnly()
    const ready = async () => containerd.cri!.networkReady()
    const becomesReady = async () => {
      for (let tries = 0; !(await ready()).isReady && tries < 100; tries++) await new Promise(done => setTimeout(done, 50))
      assert.is((await ready()).isReady, true)
    }
    if (!asksStatus) {
      await becomesReady()
      return
    }
    const before = await ready()
    assert.is(before.isReady, false)
    assert.match(before.message, /no agent answers/)
    containerd.configure({ agent: { idleSeconds: 1 } })
    await becomesReady()
  } finally {
    await containerd.close()
  }
})

test('/dev/net/tun opens as a device and as a CDI device, for user 1000 without capabilities too, and not without', async () => {
  const containerd = new Containerd()
  try {
    const cri = await containerd.start()
    const pod = await containerd.run('one')
    const open = async (name: string, devices: object) => {
      const command = ['/bin/sh', '-c', 'exec 3<>/dev/net/tun']
      return cri.exitCode(await cri.startContainer(pod, name, { image: 'localhost/pause:1', command, user: 1000, ...devices }))
    }
    assert.is(await open('root', { devices: ['/dev/net/tun'], user: undefined, capabilities: ['NET_ADMIN'] }), 0, 'not privileged')
    assert.is(await open('device', { devices: ['/dev/net/tun'] }), 0)
    if (hasCdi) assert.is(await open('cdi', { cdiDevices: ['tunlink.dev/net=tun'] }), 0)
    assert.is.not(await open('without', {}), 0)
  } finally {
    await containerd.close()
  }
})

test.run()
