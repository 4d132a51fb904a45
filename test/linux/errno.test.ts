/** Names of errnos: the runtimes that carry this program know different ones. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { errnoName, SyscallError } from '../../src/linux/errno.ts'

const test = suite('errno')

test('errnoName() knows each errno that callers ask for, whatever the runtime knows', () => {
  for (const [errno, name] of [
    [2, 'ENOENT'],
    [17, 'EEXIST'],
    [22, 'EINVAL'],
    [77, 'EBADFD'],
    [85, 'ERESTART'],
    [95, /^(EOPNOTSUPP|ENOTSUP)$/],
    [99, 'EADDRNOTAVAIL'],
    [101, 'ENETUNREACH'],
    [105, 'ENOBUFS'],
  ] as const)
    assert.match(errnoName(errno)[0], name)
})

test('errnoName() gives the number of one that nobody knows', () => {
  assert.equal(errnoName(4000), ['errno 4000', 'unknown error'])
})

test('a SyscallError says the call, on what, the name and the text', () => {
  const error = new SyscallError('ioctl', 16, 'TUNSETIFF eth0')
  assert.is(error.message, 'ioctl TUNSETIFF eth0: EBUSY (resource busy or locked)')
  assert.equal([error.name, error.syscall, error.errno, error.code], ['SyscallError', 'ioctl', 16, 'EBUSY'])
  assert.is(new SyscallError('setns', 1).message, 'setns: EPERM (operation not permitted)')
})

test.run()
