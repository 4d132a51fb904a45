/** docs/tutorials/cluster.md, command by command, in a cluster. */
import { runBlocks } from '../docs/tutorial.ts'
import { kubectlCommand } from './control-plane.ts'
import { scenarios } from './scenario.ts'
import { nothingLeft } from './tunlink.ts'

const test = scenarios('tutorial')

test('the tutorial’s commands do what it says', async cluster => {
  const [node] = cluster.nodes
  const shell = ([command, args]: [string, string[]]) => [command, ...args].map(word => `'${word}'`).join(' ')
  const onNode = (command: string) => `${command.split('/').at(-1)}() { ${shell(node.command(command))} "$@"; }`
  const tag = shell(node.command('ctr', '-n', 'k8s.io', 'images', 'tag', 'localhost/pause:1', 'docker.io/library/busybox:1.36'))
  const prelude = [
    `kubectl() { ${shell(kubectlCommand())} "$@"; }`,
    'npm() { :; } # test/cluster/run has built the image,',
    'ctr() { :; } # and the nodes have it',
    onNode('/opt/cni/bin/tunlink'),
    onNode('/usr/sbin/ip'),
    ...cluster.nodes.map(machine => tag.replace(shell(node.command()), shell(machine.command()))),
  ]
  runBlocks('docs/tutorials/cluster.md', {}, prelude.join('\n'))
  await nothingLeft(cluster)
})

test.run()
