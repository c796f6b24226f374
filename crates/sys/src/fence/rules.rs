//! The rules of a fenced namespace: one table, one chain, which every packet passes as it comes
//! in on `lo` (linux/netfilter/nf_tables.h).
//!
//! ```text
//! table inet casemate {
//!     chain in { type filter hook prerouting priority mangle
//!         ip  daddr 127.0.0.0/8 accept;  ip  daddr 192.0.2.1 accept
//!         ip6 daddr ::1 accept;          ip6 daddr <own> accept
//!         tcp dport 53 accept;           udp dport 53 accept
//!         tcp flags & (syn | ack) != syn accept
//!         meta nfproto ipv4 meta l4proto tcp tproxy ip  to 127.0.0.1:P accept
//!         meta nfproto ipv6 meta l4proto tcp tproxy ip6 to [::1]:P     accept
//!         meta l4proto tcp reject with tcp reset
//!         reject with icmpx port-unreachable
//!     }
//! }
//! ```
//!
//! Only the first packet of a connection needs to be handed over: the others find the socket that
//! it made by their addresses, or are answered with a reset.

use super::{ADDRESS, ADDRESS6, Step};
use crate::netlink::{Message, attribute, nest};
use std::net::Ipv6Addr;

/// `NFPROTO_INET`: IPv4 and IPv6 in one table.
const INET: u8 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const TCP: u8 = libc::IPPROTO_TCP as u8;
const UDP: u8 = libc::IPPROTO_UDP as u8;
const DNS: u16 = 53;
/// `NF_INET_PRE_ROUTING`.
const PREROUTING: u32 = 0;
/// `NF_IP_PRI_MANGLE`, where tproxy is usually put.
const PRIORITY: i32 = -150;
const TABLE: &[u8] = b"casemate\0";
const CHAIN: &[u8] = b"in\0";
/// Registers of 16 bytes.
const FIRST: u32 = libc::NFT_REG_1 as u32;
const SECOND: u32 = libc::NFT_REG_2 as u32;

type Expression = Vec<u8>;

/// All requests in one batch, which takes effect as a whole. Sequence numbers: 1 the table, 2
/// the chain, from 3 the rules; 0 the batch as such.
pub(super) fn batch(port: u16) -> Vec<u8> {
    let mark = |kind: libc::c_int| {
        let body = [0, 0, 0, libc::NFNL_SUBSYS_NFTABLES as u8];
        Message::new(kind as u16, 0, 0, &body).finish()
    };
    let mut requests = vec![mark(libc::NFNL_MSG_BATCH_BEGIN), table(), chain()];
    let rules = rules(port);
    let last = rules.len() - 1;
    for (at, (_, expressions)) in rules.iter().enumerate() {
        requests.push(rule(at as u32 + 3, expressions, at == last));
    }
    requests.push(mark(libc::NFNL_MSG_BATCH_END));
    requests.concat()
}

/// The step behind a sequence number.
pub(super) fn step(sequence: Option<u32>) -> Step {
    match sequence {
        None | Some(0) => Step::Nftables,
        Some(1) => Step::Table,
        Some(2) => Step::Chain,
        Some(at) => rules(0)
            .get(at as usize - 3)
            .map_or(Step::Rule, |(step, _)| *step),
    }
}

fn rules(port: u16) -> Vec<(Step, Vec<Expression>)> {
    let accept = || verdict(libc::NF_ACCEPT);
    let destination4 = |bytes: &[u8]| [is_family(IPV4), load(NETWORK, 16, bytes), equals(bytes)];
    let destination6 = |bytes: &[u8]| [is_family(IPV6), load(NETWORK, 24, bytes), equals(bytes)];
    let own = [
        destination4(&[127]).concat(),
        destination4(&ADDRESS.octets()).concat(),
        destination6(&Ipv6Addr::LOCALHOST.octets()).concat(),
        destination6(&ADDRESS6.octets()).concat(),
    ];
    let dns = [TCP, UDP].map(|protocol| {
        let port = DNS.to_be_bytes();
        [
            is_protocol(protocol),
            load(TRANSPORT, 2, &port),
            equals(&port),
        ]
        .concat()
    });
    let mut rules: Vec<_> = own
        .into_iter()
        .chain(dns)
        .map(|matches| (Step::Rule, vec![matches, accept()]))
        .collect();
    rules.push((Step::Rule, vec![is_protocol(TCP), is_not_first(), accept()]));
    for (family, to) in [
        (IPV4, &[127, 0, 0, 1][..]),
        (IPV6, &Ipv6Addr::LOCALHOST.octets()),
    ] {
        let matches = [is_family(family), is_protocol(TCP)].concat();
        rules.push((
            Step::Tproxy,
            vec![matches, tproxy(family, to, port), accept()],
        ));
    }
    // A connection that has no listener: with ICMP it would be refused a second later, since the
    // answer comes back while connect(2) still holds the socket.
    rules.push((Step::Reject, vec![is_protocol(TCP), reset()]));
    rules.push((Step::Reject, vec![unreachable()]));
    rules
}

fn request(kind: libc::c_int, sequence: u32, flags: libc::c_int) -> Message {
    let kind = (libc::NFNL_SUBSYS_NFTABLES << 8 | kind) as u16;
    let flags = (libc::NLM_F_CREATE | flags) as u16;
    Message::new(kind, flags, sequence, &[INET, 0, 0, 0])
}

fn table() -> Vec<u8> {
    request(libc::NFT_MSG_NEWTABLE, 1, 0)
        .with(1, TABLE)
        .finish()
}

fn chain() -> Vec<u8> {
    let hook = [
        attribute(1, &PREROUTING.to_be_bytes()),
        attribute(2, &PRIORITY.to_be_bytes()),
    ];
    request(libc::NFT_MSG_NEWCHAIN, 2, 0)
        .with(1, TABLE)
        .with(3, CHAIN)
        .with(4 | 1 << 15, &hook.concat())
        .with(7, b"filter\0")
        .finish()
}

fn rule(sequence: u32, expressions: &[Expression], is_last: bool) -> Vec<u8> {
    let ack = if is_last { libc::NLM_F_ACK } else { 0 };
    request(libc::NFT_MSG_NEWRULE, sequence, libc::NLM_F_APPEND | ack)
        .with(1, TABLE)
        .with(2, CHAIN)
        .with(4 | 1 << 15, &expressions.concat())
        .finish()
}

/// `NFTA_LIST_ELEM` with the name of an expression and what it is given.
fn expression(name: &[u8], given: &[Vec<u8>]) -> Expression {
    nest(1, &[attribute(1, name), nest(2, given)])
}

/// `NFT_PAYLOAD_NETWORK_HEADER` and `NFT_PAYLOAD_TRANSPORT_HEADER`.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

fn word(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

/// Loads as many bytes of a header as are to be compared with.
fn load(base: u32, offset: u32, like: &[u8]) -> Expression {
    let length = like.len() as u32;
    let given = [
        word(1, FIRST),
        word(2, base),
        word(3, offset),
        word(4, length),
    ];
    expression(b"payload\0", &given)
}

fn compare(operator: libc::c_int, value: &[u8]) -> Expression {
    let value = nest(3, &[attribute(1, value)]);
    expression(b"cmp\0", &[word(1, FIRST), word(2, operator as u32), value])
}

fn equals(value: &[u8]) -> Expression {
    compare(libc::NFT_CMP_EQ, value)
}

fn meta(key: libc::c_int) -> Expression {
    expression(b"meta\0", &[word(2, key as u32), word(1, FIRST)])
}

fn is_family(family: u8) -> Expression {
    [meta(libc::NFT_META_NFPROTO), equals(&[family])].concat()
}

fn is_protocol(protocol: u8) -> Expression {
    [meta(libc::NFT_META_L4PROTO), equals(&[protocol])].concat()
}

/// Of the flags SYN and ACK, the first packet of a connection has only SYN (RFC 9293).
fn is_not_first() -> Expression {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let mask = nest(4, &[attribute(1, &[SYN | ACK])]);
    let xor = nest(5, &[attribute(1, &[0])]);
    let given = [word(1, FIRST), word(2, FIRST), word(3, 1), mask, xor];
    [
        load(TRANSPORT, 13, &[0]),
        expression(b"bitwise\0", &given),
        compare(libc::NFT_CMP_NEQ, &[SYN]),
    ]
    .concat()
}

fn immediate(register: u32, value: &[u8]) -> Expression {
    let value = nest(2, &[attribute(1, value)]);
    expression(b"immediate\0", &[word(1, register), value])
}

/// Looks for the listener at this address, and gives it the packet. The family is told, and the
/// address with it: without one the kernel takes whichever the interface has first.
fn tproxy(family: u8, to: &[u8], port: u16) -> Expression {
    let given = [word(1, u32::from(family)), word(2, FIRST), word(3, SECOND)];
    [
        immediate(FIRST, to),
        immediate(SECOND, &port.to_be_bytes()),
        expression(b"tproxy\0", &given),
    ]
    .concat()
}

fn verdict(code: libc::c_int) -> Expression {
    let verdict = nest(2, &[attribute(1, &(code as u32).to_be_bytes())]);
    let register = word(1, libc::NFT_REG_VERDICT as u32);
    expression(b"immediate\0", &[register, nest(2, &[verdict])])
}

/// `NFT_REJECT_TCP_RST`.
fn reset() -> Expression {
    expression(b"reject\0", &[word(1, 1)])
}

/// `NFT_REJECT_ICMPX_UNREACH` with `NFT_REJECT_ICMPX_PORT_UNREACH`: ECONNREFUSED.
fn unreachable() -> Expression {
    expression(b"reject\0", &[word(1, 2), attribute(2, &[1])])
}
