//! A network namespace from which nothing leads out, and in which everything arrives.
//!
//! ```text
//!   program ── connect 93.184.215.14:443 ──► lo ──► prerouting ──► listener on 127.0.0.1:P
//!      │                                              │              its local address is
//!      │                                              │              93.184.215.14:443
//!      ├───── UDP or TCP to any address, port 53 ─────┼────────────► socket on 0.0.0.0:53
//!      ├───── 127.0.0.0/8, ::1, the own address ──────┼────────────► the program's own servers
//!      └───── anything else ──────────────────────────┴──► refused at once
//! ```
//!
//! `links` makes every address local to `lo`, so every packet comes back in; no other interface
//! exists. `rules` then hands each TCP connection to one listener by `tproxy`, which picks the
//! socket and leaves the packet alone. The usual `redirect` rewrites it instead, and that has
//! three drawbacks here: two connections of one source port to two destinations get in each
//! other's way, so that the kernel changes the port of one, and the proxy sees a peer that no
//! socket inside has (connect(2) reuses ports like that as a matter of course); connection
//! tracking keeps memory that no limit of the sandbox counts; and each packet pays for it. With
//! `tproxy` the peer and the local address of an accepted connection are, exchanged, exactly
//! those of the program's socket.
//!
//! DNS needs no rule: since all addresses are local, a wildcard socket on port 53 gets the
//! queries to all of them. No program inside can take that port, being without capabilities, nor
//! bind to one that a [listener](listen) has.
//!
//! What differs from a real network, for the program: a port that some connection inside leads to
//! is taken for a server that binds to it without `SO_REUSEADDR`, because the proxy's end of the
//! connection has that port; and a packet to a group or to all is dropped.

use crate::Errno;
use crate::netlink::{Failure, ROUTE, settle};
use rustix::net::netlink;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

pub mod dns;
mod links;
pub mod listen;
mod rules;

#[cfg(test)]
mod tests;

/// The sandbox's address besides loopback. Resolvers look for one before they ask for IPv4
/// addresses at all (`AI_ADDRCONFIG` in getaddrinfo(3)). It is of the range that RFC 5737 keeps
/// for documentation, so it is nobody's.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The like for IPv6, of the private range of RFC 4193: programs that have the choice prefer
/// IPv4 to it (RFC 6724).
pub const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0xfd63, 0x6173, 0x656d, 0, 0, 0, 0, 1);

/// What is to stand in the current network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The port of the [listeners](listen::connections) that every connection goes to. One below
    /// 1024 is one that no program inside may take, or would miss.
    pub port: u16,
    /// False leaves the namespace without IPv6 destinations but ::1: connect(2) fails with
    /// ENETUNREACH. For kernels without IPv6, or where it is disabled.
    pub ipv6: bool,
}

impl Fence {
    /// Puts it up: `lo`, addresses, routes, rules. The namespace is fresh, and the caller has
    /// CAP_NET_ADMIN in the user namespace that owns it.
    ///
    /// What stands after a failure leads nowhere; it may be raised again with other values.
    pub fn raise(self) -> Result<(), Error> {
        let links = links::requests(self.ipv6);
        settle(ROUTE, &links.concat()).map_err(Error::of_links)?;
        let rules = rules::batch(self.port);
        settle(Some(netlink::NETFILTER), &rules).map_err(Error::of_rules)
    }
}

/// A part of the fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A routing socket.
    Routing,
    /// Bringing `lo` up.
    Loopback,
    /// The IPv4 address.
    Address,
    /// The route that makes every IPv4 address local.
    Route,
    /// The IPv6 address.
    Address6,
    /// The route that makes every IPv6 address local.
    Route6,
    /// A socket for nftables, or nftables as such.
    Nftables,
    /// The table.
    Table,
    /// The chain before routing.
    Chain,
    /// A rule that matches packets.
    Rule,
    /// A rule that hands a connection to the listener.
    Tproxy,
    /// The rule that refuses the rest.
    Reject,
}

impl Step {
    /// True if the fence may stand without this step, once [`Fence::ipv6`] is false.
    pub fn is_ipv6(self) -> bool {
        matches!(self, Self::Address6 | Self::Route6)
    }

    fn what(self) -> &'static str {
        match self {
            Self::Routing => "open a routing socket",
            Self::Loopback => "bring the loopback interface up",
            Self::Address => "give the loopback interface an IPv4 address",
            Self::Route => "make every IPv4 address local",
            Self::Address6 => "give the loopback interface an IPv6 address",
            Self::Route6 => "make every IPv6 address local",
            Self::Nftables => "talk to nftables",
            Self::Table => "make an nftables table",
            Self::Chain => "make an nftables chain before routing",
            Self::Rule => "make an nftables rule",
            Self::Tproxy => "hand connections over by nftables' tproxy",
            Self::Reject => "refuse packets by nftables' reject",
        }
    }

    /// What the kernel may lack, as options and modules.
    fn needs(self) -> Option<&'static str> {
        match self {
            Self::Routing | Self::Loopback | Self::Address | Self::Route | Self::Rule => None,
            Self::Address6 | Self::Route6 => {
                Some("CONFIG_IPV6, and net.ipv6.conf.all.disable_ipv6 to be 0")
            }
            Self::Nftables | Self::Table | Self::Chain => {
                Some("CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET (as root: modprobe nf_tables)")
            }
            Self::Tproxy => Some("CONFIG_NFT_TPROXY (as root: modprobe nft_tproxy)"),
            Self::Reject => Some("CONFIG_NFT_REJECT_INET (as root: modprobe nft_reject_inet)"),
        }
    }
}

/// Why a fence does not stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// The first step that was refused.
    pub step: Step,
    /// With what.
    pub errno: Errno,
}

impl Error {
    fn of_links(Failure { sequence, errno }: Failure) -> Self {
        let step = links::step(sequence);
        Self { step, errno }
    }

    fn of_rules(Failure { sequence, errno }: Failure) -> Self {
        let step = rules::step(sequence);
        Self { step, errno }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: {}", self.step.what(), self.errno)?;
        match self.step.needs() {
            Some(needs) => write!(f, "\nhint: it needs {needs}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
