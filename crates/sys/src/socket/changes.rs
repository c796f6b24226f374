//! Options that a program has set, told from those of a fresh socket, and set on another.
//!
//! Every option that can be read is either carried over or has to be untouched. To read them all
//! takes as long as several connections do, so only those are read that programs set as a matter of
//! course; of each of the others it is [told](Defaults::note) when a program sets it for the first
//! time, and from then on it is read, too. That is what the filter does
//! ([`Action::Note`](crate::seccomp::Action::Note)), for all programs of a sandbox. An option that
//! isn't known here, such as those of a future kernel or keys that can't be read, ends it all: no
//! socket is known to be like another any more.

use super::option;
use crate::Errno;
use rustix::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// An option by level and name.
type Name = (i32, i32);

const SOCKET: i32 = libc::SOL_SOCKET;
const IP: i32 = libc::IPPROTO_IP;
const IP6: i32 = libc::IPPROTO_IPV6;
const TCP: i32 = libc::IPPROTO_TCP;

/// Carried over, in this order: `IP_TOS` changes `SO_PRIORITY` (ip(7)).
const CARRIED: &[Name] = &[
    (SOCKET, libc::SO_KEEPALIVE),
    (SOCKET, libc::SO_OOBINLINE),
    (SOCKET, libc::SO_REUSEADDR),
    (SOCKET, libc::SO_LINGER),
    (SOCKET, libc::SO_RCVLOWAT),
    (SOCKET, libc::SO_RCVTIMEO),
    (SOCKET, libc::SO_SNDBUF),
    (SOCKET, libc::SO_RCVBUF),
    (IP, libc::IP_TOS),
    (IP, libc::IP_TTL),
    (IP, libc::IP_MTU_DISCOVER),
    (IP6, libc::IPV6_V6ONLY),
    (IP6, libc::IPV6_TCLASS),
    (IP6, libc::IPV6_UNICAST_HOPS),
    (IP6, libc::IPV6_MTU_DISCOVER),
    (SOCKET, libc::SO_PRIORITY),
    (TCP, libc::TCP_NODELAY),
    (TCP, libc::TCP_CORK),
    (TCP, libc::TCP_KEEPIDLE),
    (TCP, libc::TCP_KEEPINTVL),
    (TCP, libc::TCP_KEEPCNT),
    (TCP, libc::TCP_SYNCNT),
    (TCP, libc::TCP_LINGER2),
    (TCP, libc::TCP_USER_TIMEOUT),
    (TCP, libc::TCP_NOTSENT_LOWAT),
    (TCP, libc::TCP_CONGESTION),
];

/// Has to be as on a fresh socket: filters, a bound device, time stamps, ancillary messages, IP
/// and IPv6 options, upper layers, fast open, repair, authentication. By number are those that the
/// libc crate doesn't name.
const UNTOUCHED: &[Name] = &[
    // How long connect(2) waits, too: the kernel would tell the program that it still does.
    (SOCKET, libc::SO_SNDTIMEO),
    (SOCKET, libc::SO_DEBUG),
    (SOCKET, libc::SO_DONTROUTE),
    (SOCKET, libc::SO_BROADCAST),
    (SOCKET, libc::SO_REUSEPORT),
    (SOCKET, libc::SO_BINDTODEVICE),
    (SOCKET, libc::SO_GET_FILTER),
    (SOCKET, libc::SO_LOCK_FILTER),
    (SOCKET, libc::SO_TIMESTAMP),
    (SOCKET, libc::SO_TIMESTAMPNS),
    (SOCKET, libc::SO_TIMESTAMPING),
    (SOCKET, libc::SO_MARK),
    (SOCKET, libc::SO_RXQ_OVFL),
    (SOCKET, libc::SO_PEEK_OFF),
    (SOCKET, libc::SO_SELECT_ERR_QUEUE),
    (SOCKET, libc::SO_BUSY_POLL),
    (SOCKET, libc::SO_MAX_PACING_RATE),
    (SOCKET, libc::SO_ZEROCOPY),
    (SOCKET, libc::SO_TXTIME),
    (SOCKET, libc::SO_BINDTOIFINDEX),
    (SOCKET, libc::SO_PREFER_BUSY_POLL),
    (SOCKET, SO_RESERVE_MEM),
    (SOCKET, SO_TXREHASH),
    (IP, libc::IP_OPTIONS),
    (IP, libc::IP_PKTINFO),
    (IP, libc::IP_RECVOPTS),
    (IP, libc::IP_RECVERR),
    (IP, libc::IP_RECVTTL),
    (IP, libc::IP_RECVTOS),
    (IP, libc::IP_FREEBIND),
    (IP, libc::IP_TRANSPARENT),
    (IP, libc::IP_MINTTL),
    (IP, libc::IP_BIND_ADDRESS_NO_PORT),
    (IP, libc::IP_UNICAST_IF),
    (IP, IP_LOCAL_PORT_RANGE),
    (IP6, libc::IPV6_RECVPKTINFO),
    (IP6, libc::IPV6_RECVERR),
    (IP6, libc::IPV6_RECVTCLASS),
    (IP6, libc::IPV6_RECVHOPLIMIT),
    (IP6, libc::IPV6_HOPOPTS),
    (IP6, libc::IPV6_RTHDR),
    (IP6, libc::IPV6_DSTOPTS),
    (IP6, libc::IPV6_DONTFRAG),
    (IP6, libc::IPV6_FLOWINFO_SEND),
    (IP6, libc::IPV6_AUTOFLOWLABEL),
    (IP6, libc::IPV6_ADDR_PREFERENCES),
    (IP6, libc::IPV6_MINHOPCOUNT),
    (IP6, libc::IPV6_TRANSPARENT),
    (IP6, libc::IPV6_FREEBIND),
    (TCP, libc::TCP_MAXSEG),
    (TCP, libc::TCP_WINDOW_CLAMP),
    (TCP, libc::TCP_DEFER_ACCEPT),
    (TCP, libc::TCP_THIN_LINEAR_TIMEOUTS),
    (TCP, libc::TCP_REPAIR),
    (TCP, libc::TCP_FASTOPEN),
    (TCP, libc::TCP_FASTOPEN_CONNECT),
    (TCP, libc::TCP_FASTOPEN_NO_COOKIE),
    (TCP, libc::TCP_SAVE_SYN),
    (TCP, libc::TCP_ULP),
    (TCP, libc::TCP_INQ),
    (TCP, TCP_TX_DELAY),
    (TCP, TCP_AO_INFO),
];

/// Of these the filter says nothing, since they are set too often.
const COMMON: &[Name] = &[
    (SOCKET, libc::SO_BROADCAST),
    (SOCKET, libc::SO_KEEPALIVE),
    (SOCKET, libc::SO_LINGER),
    (SOCKET, libc::SO_RCVBUF),
    (SOCKET, libc::SO_RCVTIMEO),
    (SOCKET, libc::SO_REUSEADDR),
    (SOCKET, libc::SO_SNDBUF),
    (SOCKET, libc::SO_SNDTIMEO),
    (IP, libc::IP_RECVERR),
    (IP6, libc::IPV6_RECVERR),
    (IP6, libc::IPV6_V6ONLY),
    (TCP, libc::TCP_CORK),
    (TCP, libc::TCP_KEEPCNT),
    (TCP, libc::TCP_KEEPIDLE),
    (TCP, libc::TCP_KEEPINTVL),
    (TCP, libc::TCP_NODELAY),
    (TCP, libc::TCP_USER_TIMEOUT),
];

const SO_RESERVE_MEM: i32 = 73;
const SO_TXREHASH: i32 = 74;
const IP_LOCAL_PORT_RANGE: i32 = 51;
const TCP_TX_DELAY: i32 = 37;
const TCP_AO_INFO: i32 = 40;

/// What an option says, or why it doesn't.
type Value = Result<Vec<u8>, Errno>;

/// The options of a fresh socket.
pub struct Defaults {
    known: Vec<Known>,
    /// A program has set one that is not among them.
    unknown: AtomicBool,
}

struct Known {
    name: Name,
    default: Value,
    carried: bool,
    /// Some socket may have another value.
    asked: AtomicBool,
}

/// What a program has set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes(Vec<(Name, Vec<u8>)>);

impl Defaults {
    /// Reads them from a socket on which nothing was set, of the same family and type as those
    /// that will be compared with it, and from the same network namespace, which has defaults
    /// of its own. Nobody may have set an option there of which this isn't [told](Self::note).
    pub fn of(fresh: impl AsFd) -> Self {
        let untouched = UNTOUCHED.iter().map(|name| (*name, false));
        let all = untouched.chain(CARRIED.iter().map(|name| (*name, true)));
        let known = all.map(|(name, carried)| Known {
            name,
            default: value(fresh.as_fd(), name),
            carried,
            asked: COMMON.contains(&name).into(),
        });
        // A socket of IPv4 has no options of IPv6, and never gets any.
        let has = |own: &Known| own.name.0 != IP6 || own.default != Err(Errno::OPNOTSUPP);
        Self {
            known: known.filter(has).collect(),
            unknown: AtomicBool::new(false),
        }
    }

    /// A program is about to set this option (setsockopt(2)), on whatever socket, for the first
    /// time or again.
    pub fn note(&self, level: i32, name: i32) {
        match self.known.iter().find(|own| own.name == (level, name)) {
            Some(known) => known.asked.store(true, Ordering::Release),
            // IPv4's sockets have none of IPv6, whatever is tried.
            None if level == IP6 && !self.known.iter().any(|own| own.name.0 == IP6) => {}
            None => self.unknown.store(true, Ordering::Release),
        }
    }

    /// What was set on this socket; `None` if something of it can't be set on another.
    pub fn changes(&self, socket: impl AsFd) -> Option<Changes> {
        if self.unknown.load(Ordering::Acquire) {
            return None;
        }
        let socket = socket.as_fd();
        let mut changes = Vec::new();
        for own in &self.known {
            if !own.asked.load(Ordering::Acquire) || is(socket, own.name, &own.default) {
                continue;
            }
            if !own.carried {
                return None;
            }
            changes.push((own.name, value(socket, own.name).ok()?));
        }
        Some(Changes(changes))
    }
}

impl Changes {
    /// True if nothing was set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets the same on another socket before it is connected, and looks whether it took: EINVAL
    /// if one has another value now, or what the kernel says.
    pub fn apply(&self, to: impl AsFd) -> Result<(), Errno> {
        let to = to.as_fd();
        for ((level, name), set) in &self.0 {
            option::set_bytes(to, *level, *name, &given((*level, *name), set)?)?;
        }
        let took = |(name, set): &(Name, Vec<u8>)| value(to, *name).as_ref() == Ok(set);
        if self.0.iter().all(took) {
            Ok(())
        } else {
            Err(Errno::INVAL)
        }
    }
}

fn value(socket: BorrowedFd<'_>, name: Name) -> Value {
    let mut space = [0; LONGEST];
    read(socket, name, &mut space).map(<[u8]>::to_vec)
}

/// The same without a copy, since most are looked at only to find them untouched.
fn is(socket: BorrowedFd<'_>, name: Name, default: &Value) -> bool {
    let mut space = [0; LONGEST];
    let now = read(socket, name, &mut space);
    now == default.as_deref().map_err(|errno| *errno)
}

/// More than any of the options takes; the longest are names of 16 bytes and IP options of 40.
const LONGEST: usize = 64;

fn read<'a>(
    socket: BorrowedFd<'_>,
    (level, name): Name,
    space: &'a mut [u8; LONGEST],
) -> Result<&'a [u8], Errno> {
    if (level, name) == (SOCKET, libc::SO_GET_FILTER) {
        // Without room for instructions, the kernel tells how many there are.
        let count = option::bytes(socket, level, name, &mut [])?;
        space[0] = u8::from(count != 0);
        return Ok(&space[..1]);
    }
    let length = option::bytes(socket, level, name, space)?;
    space.get(..length).ok_or(Errno::TOOBIG)
}

/// The kernel doubles what is asked for a buffer, and tells what it made of it (socket(7)).
fn given((level, name): Name, told: &[u8]) -> Result<Vec<u8>, Errno> {
    if level != SOCKET || ![libc::SO_SNDBUF, libc::SO_RCVBUF].contains(&name) {
        return Ok(told.to_vec());
    }
    let told = told.try_into().map_err(|_| Errno::INVAL)?;
    Ok((i32::from_ne_bytes(told) / 2).to_ne_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::{Action, Request, evaluate};
    use rustix::fd::OwnedFd;
    use rustix::net::{AddressFamily, SocketType, socket};

    fn fresh(domain: AddressFamily) -> OwnedFd {
        socket(domain, SocketType::STREAM, None).unwrap()
    }

    /// As if a program had set every option somewhere.
    fn told(fresh: OwnedFd) -> Defaults {
        let defaults = Defaults::of(fresh);
        for own in &defaults.known {
            defaults.note(own.name.0, own.name.1);
        }
        defaults
    }

    const FAMILIES: [AddressFamily; 2] = [AddressFamily::INET, AddressFamily::INET6];

    #[test]
    fn a_fresh_socket_has_no_changes() {
        for family in FAMILIES {
            for defaults in [Defaults::of(fresh(family)), told(fresh(family))] {
                let changes = defaults.changes(fresh(family)).unwrap();
                assert!(changes.is_empty(), "{changes:?}");
            }
        }
        let asked = |family| Defaults::of(fresh(family)).known.len();
        assert!(asked(AddressFamily::INET) < asked(AddressFamily::INET6));
    }

    #[test]
    fn every_option_is_looked_at_or_told_of() {
        let verdict = |(level, name): Name| {
            evaluate(&Request {
                nr: libc::SYS_setsockopt as i32,
                args: [3, level as u64, name as u64, 0, 0, 0],
                ..Request::default()
            })
        };
        // What no TCP socket has, or none that isn't connected.
        let harmless = [
            (SOCKET, &[libc::SO_PASSCRED, libc::SO_PASSSEC][..]),
            (IP, &[32, 33, 34, 35, 36]),
            (IP6, &[17, 18, 19, 20, 21]),
            (TCP, &[libc::TCP_QUICKACK]),
        ];
        let known = Defaults::of(fresh(AddressFamily::INET6)).known;
        for level in [SOCKET, IP, IP6, TCP] {
            let harmless = harmless.iter().find(|own| own.0 == level).unwrap().1;
            for name in 0..300 {
                let common = COMMON.contains(&(level, name));
                let silent = common || harmless.contains(&name);
                let action = verdict((level, name));
                assert_eq!(
                    action == Action::Allow,
                    silent,
                    "{level} {name}: {action:?}"
                );
                assert!(!common || known.iter().any(|own| own.name == (level, name)));
            }
        }
        assert_eq!(verdict((libc::SOL_UDP, 103)), Action::Allow);
        assert_eq!(verdict((200, 1)), Action::Note);
    }

    #[test]
    fn a_rare_option_is_seen_once_it_is_told_of() {
        let (defaults, socket) = (
            Defaults::of(fresh(AddressFamily::INET)),
            fresh(AddressFamily::INET),
        );
        let nothing = Some(Changes(Vec::new()));
        option::set_number(socket.as_fd(), IP, libc::IP_TTL, 33).unwrap();
        option::set_number(socket.as_fd(), TCP, libc::TCP_MAXSEG, 1000).unwrap();
        assert_eq!(defaults.changes(&socket), nothing, "they aren't looked at");
        defaults.note(IP, libc::IP_TTL);
        let changes = defaults.changes(&socket).unwrap();
        assert_eq!(changes.0, [((IP, libc::IP_TTL), vec![33, 0, 0, 0])]);
        defaults.note(TCP, libc::TCP_MAXSEG);
        assert_eq!(defaults.changes(&socket), None);
        // What can't be looked at is on any socket.
        let fresh = fresh(AddressFamily::INET);
        assert_eq!(defaults.changes(&fresh), nothing);
        defaults.note(IP6, 9999);
        assert_eq!(defaults.changes(&fresh), nothing);
        defaults.note(TCP, libc::TCP_MD5SIG);
        assert_eq!(defaults.changes(&fresh), None);
    }

    #[test]
    fn what_a_program_sets_is_carried_over() {
        let number = |value: i32| value.to_ne_bytes().to_vec();
        let two = |first: i64, second: i64| [first, second].map(i64::to_ne_bytes).concat();
        let settings = [
            (SOCKET, libc::SO_KEEPALIVE, number(1)),
            (SOCKET, libc::SO_OOBINLINE, number(1)),
            (SOCKET, libc::SO_REUSEADDR, number(1)),
            (
                SOCKET,
                libc::SO_LINGER,
                [1, 7].map(i32::to_ne_bytes).concat(),
            ),
            (SOCKET, libc::SO_RCVLOWAT, number(10)),
            (SOCKET, libc::SO_RCVTIMEO, two(3, 500_000)),
            (SOCKET, libc::SO_SNDBUF, number(40_000)),
            (SOCKET, libc::SO_RCVBUF, number(50_000)),
            (SOCKET, libc::SO_PRIORITY, number(3)),
            (IP, libc::IP_TOS, number(0x10)),
            (IP, libc::IP_TTL, number(33)),
            (TCP, libc::TCP_NODELAY, number(1)),
            (TCP, libc::TCP_CORK, number(1)),
            (TCP, libc::TCP_KEEPIDLE, number(11)),
            (TCP, libc::TCP_KEEPINTVL, number(12)),
            (TCP, libc::TCP_KEEPCNT, number(13)),
            (TCP, libc::TCP_SYNCNT, number(3)),
            (TCP, libc::TCP_USER_TIMEOUT, number(14_000)),
            (TCP, libc::TCP_NOTSENT_LOWAT, number(4096)),
            (TCP, libc::TCP_CONGESTION, b"reno".to_vec()),
            (IP6, libc::IPV6_TCLASS, number(0x20)),
            (IP6, libc::IPV6_V6ONLY, number(1)),
        ];
        for family in FAMILIES {
            let defaults = told(fresh(family));
            let (one, other) = (fresh(family), fresh(family));
            let mut set = 0;
            for (level, name, value) in &settings {
                match option::set_bytes(one.as_fd(), *level, *name, value) {
                    Ok(()) => set += 1,
                    Err(errno) => {
                        assert_eq!((*level, errno), (IP6, Errno::NOPROTOOPT));
                    }
                }
            }
            let changes = defaults.changes(&one).unwrap();
            // Where reno is the default it is no change.
            assert!((set - 1..=set).contains(&changes.0.len()), "{changes:?}");
            changes.apply(&other).unwrap();
            assert_eq!(defaults.changes(&other), Some(changes));
        }
    }

    #[test]
    fn what_cannot_be_carried_over_is_seen() {
        let mut accept_all = [libc::sock_filter {
            code: 6,
            jt: 0,
            jf: 0,
            k: u32::MAX,
        }];
        let filter = libc::sock_fprog {
            len: 1,
            filter: accept_all.as_mut_ptr(),
        };
        // SAFETY: a plain structure is looked at as the bytes it consists of.
        let filter = unsafe {
            let at = (&raw const filter).cast::<u8>();
            std::slice::from_raw_parts(at, size_of::<libc::sock_fprog>())
        };
        let one = &1_i32.to_ne_bytes()[..];
        let timeout = &[4_i64, 0].map(i64::to_ne_bytes).concat()[..];
        for (level, name, value) in [
            (SOCKET, libc::SO_SNDTIMEO, timeout),
            (SOCKET, libc::SO_ATTACH_FILTER, filter),
            (SOCKET, libc::SO_LOCK_FILTER, one),
            (SOCKET, libc::SO_BINDTODEVICE, b"lo"),
            (SOCKET, libc::SO_TIMESTAMP, one),
            (SOCKET, libc::SO_ZEROCOPY, one),
            (SOCKET, libc::SO_REUSEPORT, one),
            (IP, libc::IP_OPTIONS, &[1, 1, 1, 0]),
            (IP, libc::IP_RECVERR, one),
            (TCP, libc::TCP_FASTOPEN_CONNECT, one),
            (TCP, libc::TCP_MAXSEG, &1000_i32.to_ne_bytes()),
            (TCP, libc::TCP_WINDOW_CLAMP, &5000_i32.to_ne_bytes()),
        ] {
            let defaults = told(fresh(AddressFamily::INET));
            let socket = fresh(AddressFamily::INET);
            option::set_bytes(socket.as_fd(), level, name, value).unwrap();
            assert_eq!(defaults.changes(&socket), None, "{level} {name}");
        }
    }

    #[test]
    fn a_value_that_does_not_take_is_an_error() {
        let changes = Changes(vec![((SOCKET, libc::SO_RCVBUF), vec![1, 0, 0, 0])]);
        assert_eq!(
            changes.apply(fresh(AddressFamily::INET)),
            Err(Errno::INVAL),
            "smaller than the smallest"
        );
    }

    /// Prints what a look costs; run it with `--ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn time_it_takes() {
        let (defaults, socket) = (
            Defaults::of(fresh(AddressFamily::INET)),
            fresh(AddressFamily::INET),
        );
        let begun = std::time::Instant::now();
        for _ in 0..1000 {
            assert!(defaults.changes(&socket).is_some());
        }
        println!("options: {:?}", begun.elapsed() / 1000);
    }
}
