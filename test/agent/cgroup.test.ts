/** Which files lead out of a cgroup: texts of the kernel in, paths out. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { rootGroups as rootGroupsOf } from '../../src/linux/cgroup.ts'

const test = suite('cgroup')
const rootGroups = (cgroup: string, mountinfo: string) => rootGroupsOf(cgroup, [{ mountinfo, root: '' }])

const UNIFIED = '30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:9 - cgroup2 cgroup2 rw,nsdelegate\n'
const HYBRID = `30 22 0:27 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
34 30 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 30 0:36 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
40 30 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`

test('version 2: the root of the one hierarchy', () => {
  assert.equal(rootGroups('0::/system.slice/containerd.service\n', UNIFIED), { files: ['/sys/fs/cgroup/cgroup.procs'], refusals: [] })
})

test('a process at the root of a hierarchy stays there', () => {
  assert.equal(rootGroups('0::/\n', UNIFIED), { files: [], refusals: [] })
})

test('version 1 and 2 beside each other: each hierarchy, by its controllers or its name', () => {
  const cgroup = '9:name=systemd:/a.slice\n4:memory:/kubepods/x\n2:cpu,cpuacct:/\n0::/a.slice\n'
  assert.equal(rootGroups(cgroup, HYBRID), {
    files: ['/sys/fs/cgroup/systemd/cgroup.procs', '/sys/fs/cgroup/memory/cgroup.procs', '/sys/fs/cgroup/unified/cgroup.procs'],
    refusals: [],
  })
})

test('a mount that shows a group of its own is no root: it is said, and the others are left all the same', () => {
  const mounts = `34 30 0:31 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n${UNIFIED}`
  assert.equal(rootGroups('4:memory:/docker/abc\n3:pids:/x\n0::/x\n', mounts), {
    files: ['/sys/fs/cgroup/cgroup.procs'],
    refusals: ['the root of the cgroup hierarchy "memory" is not mounted', 'the root of the cgroup hierarchy "pids" is not mounted'],
  })
})

test('a mount point with a blank, a group with a colon', () => {
  const mounts = '30 24 0:26 / /sys/fs/c\\040group rw - cgroup2 cgroup2 rw\n'
  assert.equal(rootGroups('0::/a:b\n', mounts).files, ['/sys/fs/c group/cgroup.procs'])
  assert.equal(rootGroups('0::/a:b\n', '').refusals, ['the root of the cgroup hierarchy "cgroup2" is not mounted'])
})

test('a hierarchy that is not mounted here is left where another process sees it', () => {
  const views = [
    { mountinfo: '22 1 0:21 / /sys rw - sysfs sysfs rw\n', root: '' },
    { mountinfo: HYBRID, root: '/proc/1/root' },
  ]
  assert.equal(rootGroupsOf('0::/a.slice\n', views).files, ['/proc/1/root/sys/fs/cgroup/unified/cgroup.procs'])
})

test.run()
