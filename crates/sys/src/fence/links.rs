//! The interface and the routes of a fenced namespace (rtnetlink(7)).
//!
//! A route of type `local` for all addresses makes each of them the machine's own: packets to
//! them are delivered, by way of `lo`, where they were sent.

use super::{ADDRESS, ADDRESS6, Step};
use crate::netlink::Message;

/// `lo` is the first interface of every namespace.
const LO: u32 = 1;
const ACK: u16 = libc::NLM_F_ACK as u16;
/// Replacing lets a fence be raised again, without IPv6, after its first try failed there.
const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
const STEPS: [Step; 5] = [
    Step::Loopback,
    Step::Address,
    Step::Route,
    Step::Address6,
    Step::Route6,
];

/// The requests in the order of their sequence numbers, which begin at 0.
pub(super) fn requests(ipv6: bool) -> Vec<Vec<u8>> {
    let last = if ipv6 { 4 } else { 2 };
    let request = |sequence: u32, kind: u16, flags: u16, body: &[u8]| {
        let ack = if sequence == last { ACK } else { 0 };
        Message::new(kind, flags | ack, sequence, body)
    };
    let address = |sequence, family, address: &[u8]| {
        // struct ifaddrmsg: family, prefix length, flags, scope, interface.
        let length = address.len() as u8 * 8;
        let no_probing = libc::IFA_F_NODAD as u8;
        let mut body = vec![family as u8, length, no_probing, 0];
        body.extend(LO.to_ne_bytes());
        request(sequence, libc::RTM_NEWADDR, CREATE, &body)
            .with(libc::IFA_LOCAL, address)
            .with(libc::IFA_ADDRESS, address)
            .finish()
    };
    let route = |sequence, family, source: &[u8]| {
        // struct rtmsg: family, destination and source prefix, tos, table, protocol, scope,
        // type, flags.
        let table = libc::RT_TABLE_LOCAL;
        let protocol = libc::RTPROT_BOOT;
        let scope = libc::RT_SCOPE_HOST;
        let kind = libc::RTN_LOCAL;
        let body = [
            family as u8,
            0,
            0,
            0,
            table,
            protocol,
            scope,
            kind,
            0,
            0,
            0,
            0,
        ];
        request(sequence, libc::RTM_NEWROUTE, CREATE, &body)
            .with(libc::RTA_OIF, &LO.to_ne_bytes())
            .with(libc::RTA_PREFSRC, source)
            .finish()
    };
    let mut requests = vec![
        request(0, libc::RTM_NEWLINK, 0, &up()).finish(),
        address(1, libc::AF_INET, &ADDRESS.octets()),
        route(2, libc::AF_INET, &ADDRESS.octets()),
    ];
    if ipv6 {
        requests.push(address(3, libc::AF_INET6, &ADDRESS6.octets()));
        requests.push(route(4, libc::AF_INET6, &ADDRESS6.octets()));
    }
    requests
}

/// `struct ifinfomsg`: family, padding, type, interface, flags, which of them change.
fn up() -> Vec<u8> {
    let up = libc::IFF_UP as u32;
    [0, LO, up, up].map(u32::to_ne_bytes).concat()
}

/// The step behind a sequence number.
pub(super) fn step(sequence: Option<u32>) -> Step {
    sequence
        .and_then(|at| STEPS.get(at as usize).copied())
        .unwrap_or(Step::Routing)
}
