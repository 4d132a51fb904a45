/**
 * Notifications of nf_tables: netlink(7), and F_SETSIG in fcntl(2). Nothing polls, and no thread
 * waits.
 */
import { closeSync } from 'node:fs'
import type { SyscallError } from './errno.ts'
import { checked, recv, socket } from './libc.ts'
import { attributes, messages } from './netlink.ts'
import * as nft from './nfnetlink.ts'
import { struct, u16, u32 } from './struct.ts'
import * as uapi from './uapi.ts'

const bind = checked('bind', ['int', 'void *', 'uint32_t'])
const fcntl = checked('fcntl', ['int', 'int', 'int'])

// <fcntl.h>, <asm-generic/signal.h>, <linux/netlink.h>, <sys/socket.h>
const F_SETFL = 4
const F_SETOWN = 8
const F_SETSIG = 10
const O_RDWR = 2
const O_ASYNC = 0o20000
const SIGURG = 23
const sockaddr_nl = struct({ family: u16, pad: u16, pid: u32, groups: u32 })
const MSG_DONTWAIT = 0x40

const SETTLED_MS = 50

/**
 * Calls `onChange` when any process makes, changes or deletes the table `inet NAME`, or a chain,
 * set or rule of it, or when notifications were lost. Elements of sets do not count. `onChange` is
 * called SETTLED_MS after the first of a row of changes. The socket signals the process by SIGURG,
 * which means nothing else here, and is ignored where nobody handles it. Does not keep the process
 * from ending. Throws SyscallError.
 */
export function watchTable(name: string, onChange: () => void): Disposable {
  const fd = socket(uapi.AF_NETLINK, uapi.SOCK_RAW | uapi.SOCK_CLOEXEC, uapi.NETLINK_NETFILTER)
  let timer: NodeJS.Timeout | undefined
  const settle = () => {
    timer = undefined
    onChange()
  }
  const wake = () => {
    if (drain(fd, name)) timer ??= setTimeout(settle, SETTLED_MS).unref()
  }
  process.on('SIGURG', wake)
  const stop = () => {
    closeSync(fd)
    process.off('SIGURG', wake)
    clearTimeout(timer)
  }
  try {
    fcntl(fd, F_SETOWN, process.pid)
    fcntl(fd, F_SETSIG, SIGURG)
    fcntl(fd, F_SETFL, O_RDWR | O_ASYNC)
    bind(fd, sockaddr_nl.encode({ family: uapi.AF_NETLINK, groups: 1 << (nft.NFNLGRP_NFTABLES - 1) }), sockaddr_nl.size)
  } catch (error) {
    stop()
    throw error
  }
  return { [Symbol.dispose]: stop }
}

const NOTIFICATION = Buffer.alloc(65536)

/**
 * Receives all that has arrived; true when something of the table is in it, or something was lost.
 */
function drain(fd: number, table: string): boolean {
  let found = false
  for (;;) {
    try {
      const length = recv(fd, NOTIFICATION, NOTIFICATION.length, MSG_DONTWAIT)
      found ||= concerns(NOTIFICATION.subarray(0, length), table)
    } catch (error) {
      const { code } = error as SyscallError
      if (code === 'ENOBUFS') found = true
      else if (code !== 'EINTR') return found // EAGAIN: no more
    }
  }
}

/** True when a notification in `datagram` is about the table, and not about elements only. */
export function concerns(datagram: Buffer, table: string): boolean {
  return messages(datagram).some(({ type, payload }) => {
    if (OTHERS.includes(type)) return false
    const name = attributes(payload.subarray(nft.nfgenmsg.size)).get(nft.NFTA_ANY_TABLE)
    return name?.toString('latin1') === `${table}\0`
  })
}

const OTHERS = [nft.NFT_MSG_NEWSETELEM, nft.NFT_MSG_DELSETELEM, nft.NFT_MSG_NEWGEN].map(nft.nftType)
