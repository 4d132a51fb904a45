/**
 * The constants and structs of the kernel's headers that this program uses, under their own names.
 */
import { s32, struct, u8, u16, u32 } from './struct.ts'

// <linux/netlink.h>
export const NETLINK_ROUTE = 0
export const NETLINK_NETFILTER = 12
export const NLM_F_REQUEST = 0x01
export const NLM_F_MULTI = 0x02
export const NLM_F_ACK = 0x04
export const NLM_F_DUMP_INTR = 0x10
export const NLM_F_DUMP = 0x300
export const NLM_F_REPLACE = 0x100
export const NLM_F_EXCL = 0x200
export const NLM_F_CREATE = 0x400
export const NLM_F_CAPPED = 0x100
export const NLM_F_ACK_TLVS = 0x200
export const NLMSG_ERROR = 2
export const NLMSG_DONE = 3
export const NLMSGERR_ATTR_MSG = 1
export const NLA_F_NESTED = 0x8000
export const NLA_TYPE_MASK = 0x3fff
export const NETLINK_CAP_ACK = 10
export const NETLINK_EXT_ACK = 11
export const NETLINK_GET_STRICT_CHK = 12
export const nlmsghdr = struct({ len: u32, type: u16, flags: u16, seq: u32, pid: u32 })
export const nlattr = struct({ len: u16, type: u16 })

// <linux/rtnetlink.h>
export const RTM_NEWLINK = 16
export const RTM_DELLINK = 17
export const RTM_GETLINK = 18
export const RTM_NEWADDR = 20
export const RTM_DELADDR = 21
export const RTM_GETADDR = 22
export const RTM_NEWROUTE = 24
export const RTM_GETROUTE = 26
export const RTA_DST = 1
export const RTA_OIF = 4
export const RTA_GATEWAY = 5
export const RTA_PRIORITY = 6
export const RTA_METRICS = 8
export const RTA_MULTIPATH = 9
export const RTA_TABLE = 15
export const RTAX_MTU = 2
export const RTAX_ADVMSS = 8
export const RTNH_F_ONLINK = 4
export const RT_TABLE_UNSPEC = 0
export const RT_TABLE_MAIN = 254
export const RT_TABLE_LOCAL = 255
export const RTPROT_KERNEL = 2
export const RTPROT_STATIC = 4
export const RTPROT_RA = 9
export const RT_SCOPE_UNIVERSE = 0
export const RT_SCOPE_LINK = 253
export const RTN_UNICAST = 1
// answer with the table's entry, not with the route that follows from it
export const RTM_F_FIB_MATCH = 0x2000
export const rtmsg = struct({ family: u8, dst_len: u8, src_len: u8, tos: u8, table: u8, protocol: u8, scope: u8, type: u8, flags: u32 })
export const ifinfomsg = struct({ family: u8, pad: u8, type: u16, index: s32, flags: u32, change: u32 })
export const rtnexthop = struct({ len: u16, flags: u8, hops: u8, ifindex: s32 })

// <linux/rtnetlink.h>, <linux/pkt_cls.h>: traffic control
export const RTM_NEWQDISC = 36
export const RTM_GETQDISC = 38
export const RTM_NEWTFILTER = 44
export const RTM_GETTFILTER = 46
export const TCA_KIND = 1
export const TCA_OPTIONS = 2
export const TCA_BPF_FD = 6
export const TCA_BPF_NAME = 7
export const TCA_BPF_FLAGS = 8
export const TCA_BPF_TAG = 10
export const TCA_BPF_FLAG_ACT_DIRECT = 1
// <linux/pkt_sched.h>
export const TCA_TBF_PARMS = 1
export const TCA_TBF_RATE64 = 4
export const TCA_TBF_BURST = 6

// <linux/if_addr.h>
export const IFA_ADDRESS = 1 // the peer on a point-to-point link, else the same as IFA_LOCAL
export const IFA_LOCAL = 2
export const IFA_F_NODAD = 0x02
export const ifaddrmsg = struct({ family: u8, prefixlen: u8, flags: u8, scope: u8, index: u32 })

// <linux/if.h>
export const IFNAMSIZ = 16
export const IFF_UP = 0x1
export const IFF_POINTOPOINT = 0x10
export const IFF_NOARP = 0x80

// <linux/if_link.h>
export const IFLA_IFNAME = 3
export const IFLA_MTU = 4
export const IFLA_TXQLEN = 13
export const IFLA_OPERSTATE = 16
export const IFLA_LINKINFO = 18
export const IFLA_IFALIAS = 20
export const IFLA_STATS64 = 23
export const IFLA_AF_SPEC = 26
export const IFLA_NET_NS_FD = 28
export const VETH_INFO_PEER = 1 // <linux/veth.h>
export const IFLA_INET_CONF = 1
export const IFLA_INET6_ADDR_GEN_MODE = 8
export const IPV4_DEVCONF_FORWARDING = 1 // <linux/ip.h>
export const IPV4_DEVCONF_RP_FILTER = 8
export const IFLA_INFO_KIND = 1
export const IFLA_INFO_DATA = 2
export const IFLA_TUN_OWNER = 1
export const IFLA_TUN_GROUP = 2
export const IFLA_TUN_TYPE = 3
export const IFLA_TUN_VNET_HDR = 5
export const IFLA_TUN_PERSIST = 6
export const IFLA_TUN_MULTI_QUEUE = 7

// <linux/if_tun.h>
export const IFF_TUN = 0x0001
export const IFF_TAP = 0x0002
export const IFF_MULTI_QUEUE = 0x0100
export const IFF_NO_PI = 0x1000
export const IFF_VNET_HDR = 0x4000
export const IFF_TUN_EXCL = 0x8000
export const TUNSETIFF = 0x400454ca // _IOW('T', 202, int)
export const TUNSETPERSIST = 0x400454cb
export const TUNSETOWNER = 0x400454cc
export const TUNSETGROUP = 0x400454ce
export const TUNSETIFINDEX = 0x400454da
export const TUNSETOFFLOAD = 0x400454d0
export const TUNGETIFF = 0x800454d2
export const TUN_F_CSUM = 0x01
export const TUN_F_TSO4 = 0x02
export const TUN_F_TSO6 = 0x04
export const TUN_F_TSO_ECN = 0x08
export const TUN_F_USO4 = 0x20
export const TUN_F_USO6 = 0x40

// <linux/nsfs.h>, <linux/sched.h>
export const NS_GET_NSTYPE = 0xb703 // _IO(0xb7, 0x3)
export const CLONE_NEWNET = 0x40000000

// <sys/socket.h>, <sys/file.h>
export const AF_UNSPEC = 0
export const AF_UNIX = 1
export const AF_INET = 2
export const AF_INET6 = 10
export const AF_NETLINK = 16
export const SOCK_STREAM = 1
export const SOCK_RAW = 3
export const SOCK_NONBLOCK = 0o4000
export const SOCK_CLOEXEC = 0o2000000
export const SOL_NETLINK = 270
export const SOL_SOCKET = 1
export const SO_SNDBUFFORCE = 32
export const LOCK_SH = 1
export const LOCK_EX = 2
export const LOCK_NB = 4
export const LOCK_UN = 8

// <linux/fcntl.h>, <linux/memfd.h>
export const F_GETFD = 1
export const F_SETFD = 2
export const F_DUPFD_CLOEXEC = 1030
export const FD_CLOEXEC = 1
export const MFD_CLOEXEC = 1

// <linux/eventpoll.h>, <sys/eventfd.h>
export const EPOLL_CLOEXEC = 0o2000000
export const EPOLL_CTL_ADD = 1
export const EPOLL_CTL_DEL = 2
export const EPOLLIN = 0x1
export const EFD_CLOEXEC = 0o2000000
export const EFD_NONBLOCK = 0o4000

// <sys/mman.h>
export const PROT_READ = 0x1
export const PROT_WRITE = 0x2
export const MAP_PRIVATE = 0x02
export const MAP_ANONYMOUS = 0x20
export const MAP_NORESERVE = 0x4000
export const MADV_DONTNEED = 4

// <linux/rtnetlink.h>: routes between nodes
export const RTM_DELROUTE = 25
export const RTM_NEWNEIGH = 28
export const RTM_DELNEIGH = 29
export const RTM_GETNEIGH = 30
export const RTN_UNREACHABLE = 7

// <linux/neighbour.h>
export const NDA_DST = 1
export const NDA_LLADDR = 2
export const NDA_IFINDEX = 8
export const NTF_SELF = 0x02
export const NUD_NOARP = 0x40
export const NUD_PERMANENT = 0x80
export const ndmsg = struct({ family: u8, pad1: u8, pad2: u16, ifindex: s32, state: u16, flags: u8, type: u8 })

// <linux/if.h>: RFC 2863
export const IF_OPER_UNKNOWN = 0
export const IF_OPER_UP = 6

// <linux/if_link.h>: VXLAN
export const IFLA_ADDRESS = 1
export const IFLA_CARRIER = 33
export const IFLA_VXLAN_ID = 1
export const IFLA_VXLAN_LEARNING = 7
export const IFLA_VXLAN_LOCAL = 4
export const IFLA_VXLAN_PORT = 15
export const IFLA_VXLAN_LOCAL6 = 17

// <sys/socket.h>, <linux/sockios.h>, <linux/ethtool.h>
export const AF_BRIDGE = 7
export const SOCK_DGRAM = 2
export const SIOCETHTOOL = 0x8946
export const ETHTOOL_STXCSUM = 0x17
