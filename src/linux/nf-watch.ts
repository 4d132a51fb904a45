/** Changes of nf_tables, as `nft monitor` shows them: see NETLINK_NETFILTER in netlink(7). */
import { closeSync, read } from 'node:fs'
import { checked, send } from './libc.ts'
import { message, messages, NetlinkSocket } from './netlink.ts'
import {
  NFT_MSG_DELCHAIN,
  NFT_MSG_DELRULE,
  NFT_MSG_DELSET,
  NFT_MSG_DELTABLE,
  NFT_MSG_GETGEN,
  NFTA_TABLE_NAME,
  nftAttributes,
  nftHeader,
  nftMessage,
  nftType,
} from './nfnetlink.ts'
import { struct, u16, u32 } from './struct.ts'
import { AF_NETLINK, NETLINK_NETFILTER, NFNLGRP_NFTABLES, NLM_F_REQUEST } from './uapi.ts'

const bind = checked('bind', ['int', 'void *', 'uint32_t'])
const sockaddrNl = struct({ family: u16, pad: u16, pid: u32, groups: u32 })

const DELETIONS = [NFT_MSG_DELTABLE, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE, NFT_MSG_DELSET]
/** What one change sends, and what a reload of a whole ruleset does: as much as one read takes. */
const BUFFER_BYTES = 1 << 16
/** Somebody who reloads a ruleset is given time to finish. */
const SETTLE_MS = 50

/**
 * Calls `deleted` after something of the table `inet NAME` was deleted, by whomever. Nothing is polled: a thread of the runtime's pool waits in
 * read(2). To be disposed of before the process ends.
 */
export function watchTable(name: string, deleted: () => void): Disposable {
  const socket = new NetlinkSocket(NETLINK_NETFILTER)
  const address = sockaddrNl.encode({ family: AF_NETLINK, groups: 1 << (NFNLGRP_NFTABLES - 1) })
  bind(socket.fd, address, address.length)
  const bytes = Buffer.alloc(BUFFER_BYTES)
  let settling: NodeJS.Timeout | undefined
  let closed = false
  const next = () =>
    read(socket.fd, bytes, 0, bytes.length, null, (error, length) => {
      if (closed) return closeSync(socket.fd)
      // ENOBUFS: there were more changes than the socket holds, so anything may have happened.
      const lost = error !== null && error.code === 'ENOBUFS'
      if (error !== null && !lost && error.code !== 'EINTR' && error.code !== 'EAGAIN') return
      if (lost || concerns(name, bytes.subarray(0, length))) settling ??= setTimeout(settled, SETTLE_MS)
      next()
    })
  const settled = () => {
    settling = undefined
    deleted()
  }
  next()
  return {
    [Symbol.dispose]: () => {
      closed = true
      clearTimeout(settling)
      // A question, so that an answer ends the read: Node waits at its end for the threads of its pool.
      const question = message(nftType(NFT_MSG_GETGEN), NLM_F_REQUEST, 1, [nftHeader()])
      send(socket.fd, question, question.length, 0)
    },
  }
}

function concerns(name: string, datagram: Buffer): boolean {
  try {
    return messages(datagram).some(({ type, payload }) => {
      const deletion = nftMessage(type)
      if (deletion === undefined || !DELETIONS.includes(deletion)) return false
      return nftAttributes(payload).get(NFTA_TABLE_NAME)?.toString('latin1') === `${name}\0`
    })
  } catch {
    return true // cut short: more than the buffer holds
  }
}
