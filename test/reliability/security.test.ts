/**
 * Who may speak to tunlink: the directory of its state, the agent's socket, names with slashes. See
 * SECURITY.md.
 */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ask } from '../../src/agent/client.ts'
import { eventually, pings } from '../support.ts'
import { alone, callBeside, dual, inLab, listen } from './inside-lab.ts'

const test = suite('security')
const SOMEBODY = 4242
const VERBS = ['ADD', 'CHECK', 'DEL', 'GC', 'STATUS']

const modeOf = (path: string) => (lstatSync(path).mode & 0o777).toString(8)

/** What connect(2) to a socket says to a user without capabilities. */
const connectAs = (uid: number, path: string) => {
  const program =
    "import socket, sys\ntry: socket.socket(socket.AF_UNIX).connect(sys.argv[1]); print('connected')\nexcept OSError as e: print(e.strerror)"
  const as = ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--inh-caps=-all', '--bounding-set=-all']
  return execFileSync(as[0]!, [...as.slice(1), '/usr/bin/env', 'python3', '-c', program, path], { encoding: 'utf8' }).trim()
}

test('the agent’s socket is 0600 in a directory of 0700, and refuses another user, also where everybody may enter the directory', () =>
  inLab(async lab => {
    rmSync(lab.dataDir, { recursive: true })
    const socket = join(lab.dataDir, 'agent.sock')
    lab.must('ADD', lab.netns(), { ...dual, agent: { idleSeconds: 60 } })
    await eventually('an agent serves', () => existsSync(socket))
    assert.equal([modeOf(lab.dataDir), modeOf(socket)], ['700', '600'])
    for (const directory of ['links', 'links/net', 'ipam', 'ipam/net', 'ipam/net/.owners'])
      assert.is(modeOf(join(lab.dataDir, directory)), '700')
    for (const file of readdirSync(join(lab.dataDir, 'links/net'))) assert.is(modeOf(join(lab.dataDir, 'links/net', file)), '600')
    for (const file of ['agent.log', 'agent.lock']) assert.is(modeOf(join(lab.dataDir, file)), '600')
    for (const mode of [0o700, 0o755]) {
      chmodSync(lab.dataDir, mode)
      assert.is(connectAs(SOMEBODY, socket), 'Permission denied')
    }
    assert.is(connectAs(0, socket), 'connected')
  }))

/** Ways in which somebody else could put something into the directory, and the way back. */
const FOREIGN: [what: string, make: (dir: string) => void, words: RegExp][] = [
  ['that another user owns', dir => chownSync(dir, SOMEBODY, SOMEBODY), /user 4242 owns it/],
  ['that its group may write', dir => chmodSync(dir, 0o770), /its mode is 770: others may write to it; chmod 700 it/],
  ['that everybody may write', dir => chmodSync(dir, 0o1777), /its mode is 777/],
  ['whose records another user owns', dir => chownSync(join(dir, 'links'), SOMEBODY, 0), /links": user 4242 owns it/],
  ['whose network’s records everybody may write', dir => chmodSync(join(dir, 'links/net'), 0o757), /links\/net": its mode is 757/],
  ['whose leases everybody may write', dir => chmodSync(join(dir, 'ipam/net'), 0o722), /ipam\/net": its mode is 722/],
  [
    'whose leases’ owners another user owns',
    dir => chownSync(join(dir, 'ipam/net/.owners'), SOMEBODY, 0),
    /ipam\/net\/\.owners": user 4242 owns it/,
  ],
  [
    'whose leases’ owners everybody may write',
    dir => chmodSync(join(dir, 'ipam/net/.owners'), 0o702),
    /ipam\/net\/\.owners": its mode is 702/,
  ],
  ['whose leases’ owners are elsewhere', dir => moveAndLink(join(dir, 'ipam/net/.owners')), /ipam\/net\/\.owners" is a symbolic link/],
  ['whose records are elsewhere', dir => moveAndLink(join(dir, 'links/net')), /links\/net" is a symbolic link/],
  ['whose leases are elsewhere', dir => moveAndLink(join(dir, 'ipam')), /ipam" is a symbolic link/],
  ['that is a symbolic link', dir => moveAndLink(dir), /is a symbolic link|not a directory/],
]

function moveAndLink(path: string): void {
  renameSync(path, `${path}.elsewhere`)
  symlinkSync(`${path}.elsewhere`, path)
}

/** Undoes what FOREIGN did. */
function restore(dir: string): void {
  for (const path of ['', '/links', '/links/net', '/ipam', '/ipam/net', '/ipam/net/.owners'].map(part => dir + part)) {
    if (lstatSync(path).isSymbolicLink()) {
      rmSync(path)
      renameSync(`${path}.elsewhere`, path)
    }
    chownSync(path, 0, 0)
    chmodSync(path, 0o700)
  }
}

test('a dataDir that somebody else could change is refused by every verb: nothing is done, and no agent in it is asked', () =>
  inLab(async lab => {
    const [one, two] = [lab.netns(), lab.netns()]
    const { json } = lab.must('ADD', one, alone)
    const impostor = await listen(join(lab.dataDir, 'agent.sock'))
    try {
      for (const [what, make, words] of FOREIGN) {
        make(lab.dataDir)
        // every verb looks in the same way: all of them for the directory itself
        for (const verb of what.startsWith('that') ? VERBS : ['ADD', 'DEL']) {
          const conf = { ...alone, prevResult: json, 'cni.dev/valid-attachments': [] }
          const { status, json: error } = await callBeside(lab, verb, verb === 'ADD' ? two : one, conf)
          assert.equal([status, error.code], [1, verb === 'STATUS' ? 50 : 5], `${verb} in a directory ${what}: ${JSON.stringify(error)}`)
          assert.match(`${error.msg} ${error.details}`, words, verb)
        }
        assert.equal([lab.links(two), lab.podLinks(one), impostor.asked()], [[], ['eth0'], 0], what)
        restore(lab.dataDir)
      }
    } finally {
      impostor.close()
    }
    lab.must('DEL', one, alone)
    assert.equal([...lab.links(one), ...lab.links(lab.node), ...lab.files()], [])
  }))

test('the built-in IPAM of another plugin refuses such a directory too', () =>
  inLab(lab => {
    const dir = join(lab.dataDir, 'leases')
    mkdirSync(dir)
    chmodSync(dir, 0o777)
    const conf = { type: 'bridge', ipam: { type: 'tunlink', subnet: '10.66.0.0/24', dataDir: dir }, 'cni.dev/valid-attachments': [] }
    for (const verb of ['ADD', 'CHECK', 'DEL', 'GC', 'STATUS']) {
      const { status, json } = lab.cni(verb, lab.node, conf)
      assert.equal([status, json.code], [1, verb === 'STATUS' ? 50 : 5], verb)
    }
    assert.equal(readdirSync(dir), [])
  }))

test('no name leads out of the directory: not by environment, configuration, or the agent’s socket', () =>
  inLab(async lab => {
    const pod = lab.netns()
    const prey = join(lab.dataDir, 'prey:eth0.json')
    lab.must('ADD', pod, { ...dual, agent: { idleSeconds: 60 } })
    writeFileSync(prey, 'prey')
    for (const verb of ['ADD', 'DEL']) {
      const code = (conf: object, env: object) => lab.cni(verb, pod, { ...dual, ...conf }, env as Record<string, string>).json.code
      for (const id of ['../prey', '../../prey', '/prey', '.', '..', 'a/../../prey']) assert.is(code({}, { CNI_CONTAINERID: id }), 4, id)
      for (const name of ['../prey', '/', '..', '.']) assert.is(code({}, { CNI_IFNAME: name }), 4, name)
      for (const name of ['..', '../..', '/', '.', 'net/../..']) assert.is(code({ name }, {}), 7, name)
      assert.is(code({ ifName: '../prey' }, {}), 4)
    }
    await eventually('an agent serves', () => existsSync(join(lab.dataDir, 'agent.sock')))
    for (const [network, containerID, ifname] of [
      ['..', 'prey', 'eth0'],
      ['net/../..', 'prey', 'eth0'],
      ['net', '../../prey', 'eth0'],
      ['net', 'prey', '../eth0'],
      ['', 'prey', 'eth0'],
      [7, {}, null],
    ])
      for (const op of ['del', 'open']) {
        const request = { op, lease: true, started: 0, attachment: { network, containerID, ifname } } as unknown as Parameters<
          typeof ask
        >[1]
        await ask(lab.dataDir, request).then(
          () => assert.unreachable(`${op} of ${network} ${containerID} ${ifname} is done`),
          (error: { code: number }) => assert.ok([4, 6, 7].includes(error.code), JSON.stringify(error)),
        )
      }
    assert.is(readFileSync(prey, 'utf8'), 'prey')
    assert.ok(pings(pod, '10.66.0.1'))
  }))

test.run()
