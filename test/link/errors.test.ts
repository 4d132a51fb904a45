/** Which CNI code a refusal of the kernel has. */
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { CniError, CODE } from '../../src/cni/error.ts'
import { kernelError } from '../../src/link/errors.ts'
import { SyscallError } from '../../src/linux/errno.ts'

const test = suite('refusals of the kernel')
const [EIO, ENOBUFS, EBUSY, EEXIST, ENFILE, EMFILE] = [5, 105, 16, 17, 23, 24]
const code = (error: unknown) => kernelError(error).code
const withPath = (error: Error) => Object.assign(error, { path: '/run/tunlink/x' })

test('what is in the way is the fault of CNI_IFNAME, what is short may be there later', () => {
  for (const errno of [EEXIST, EBUSY]) assert.is(code(new SyscallError('ioctl', errno)), CODE.invalidEnvironment)
  for (const errno of [ENOBUFS, EMFILE, ENFILE]) assert.is(code(new SyscallError('socket', errno)), CODE.tryAgainLater)
  assert.is(code(new SyscallError('ioctl', EIO)), CODE.internal)
  assert.is(code(new Error('no errno at all')), CODE.internal)
})

test('an error about a file is one of input and output, except that no more files may be open', () => {
  assert.is(code(withPath(new SyscallError('open', EEXIST))), CODE.io)
  assert.is(code(withPath(new SyscallError('open', EMFILE))), CODE.tryAgainLater)
  assert.is(code(new Error('Cannot write the record', { cause: withPath(new SyscallError('open', EIO)) })), CODE.io)
})

test('the cause is told in details, where the message does not tell it', () => {
  const cause = new SyscallError('setns', EIO)
  assert.is(kernelError(new Error('Cannot enter', { cause })).details, 'setns: EIO (i/o error)')
  assert.is(kernelError(new Error(`Cannot enter: ${cause.message}`, { cause })).details, undefined)
})

test('a CniError stays as it is', () => {
  const error = new CniError(CODE.invalidNetns, 'not a namespace')
  assert.is(kernelError(error), error)
})

test.run()
