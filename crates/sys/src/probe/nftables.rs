//! nftables in a network namespace of one's own: a table, a nat chain, a redirect.
//!
//! This is what sends every connection of a sandbox to the proxy that decides about it.
//! linux/netfilter/nf_tables.h.

use rustix::io::Errno;
use rustix::net::netlink;

use super::{Attempt, child, userns};
use crate::netlink::{Answer, Message, ask, attribute, nest};

/// `NFPROTO_INET`: IPv4 and IPv6 in one table.
const INET: u8 = 1;
/// `NF_INET_LOCAL_OUT`.
const LOCAL_OUT: u32 = 3;
/// `NF_IP_PRI_NAT_DST`.
const BEFORE_ROUTING: i32 = -100;
/// `NLM_F_CREATE | NLM_F_ACK`.
const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_ACK) as u16;
const NAME: &[u8] = b"probe\0";

/// What became of each step; one refused step undoes the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nftables {
    /// A new table.
    pub table: Attempt,
    /// A chain of type nat on the way out.
    pub chain: Attempt,
    /// A rule that redirects to this machine.
    pub redirect: Attempt,
}

/// Sends one batch of three requests in a child with its own user and network namespace.
pub fn probe() -> Nftables {
    let steps = child::attempt::<3>(child::LIMIT, |slots| {
        if userns::enter(libc::CLONE_NEWNET).is_err() {
            return;
        }
        match ask(netlink::NETFILTER, &batch()) {
            Ok(answers) => (0..3).for_each(|at| {
                if let Some(outcome) = outcome(&answers, at) {
                    slots.note(at, outcome);
                }
            }),
            Err(errno) => slots.refuse(0, errno),
        }
    });
    Nftables {
        table: steps.at(0),
        chain: steps.at(1),
        redirect: steps.at(2),
    }
}

/// The answer to request `at`, whose sequence number is one more; where the kernel refused the
/// batch as such (sequence 0), that is the outcome of the first.
fn outcome(answers: &[Answer], at: usize) -> Option<Result<(), Errno>> {
    let own = answers
        .iter()
        .find(|answer| answer.sequence as usize == at + 1);
    let batch = answers
        .iter()
        .find(|answer| at == 0 && answer.sequence == 0);
    own.or(batch)?.outcome()
}

fn batch() -> Vec<u8> {
    let mark = |kind: libc::c_int| {
        let body = [0, 0, 0, libc::NFNL_SUBSYS_NFTABLES as u8];
        Message::new(kind as u16, 0, 0, &body).finish()
    };
    [
        mark(libc::NFNL_MSG_BATCH_BEGIN),
        table(),
        chain(),
        rule(),
        mark(libc::NFNL_MSG_BATCH_END),
    ]
    .concat()
}

fn request(kind: libc::c_int, sequence: u32) -> Message {
    let kind = (libc::NFNL_SUBSYS_NFTABLES << 8 | kind) as u16;
    Message::new(kind, CREATE, sequence, &[INET, 0, 0, 0])
}

fn table() -> Vec<u8> {
    request(libc::NFT_MSG_NEWTABLE, 1).with(1, NAME).finish()
}

fn chain() -> Vec<u8> {
    let hook = [
        attribute(1, &LOCAL_OUT.to_be_bytes()),
        attribute(2, &BEFORE_ROUTING.to_be_bytes()),
    ];
    request(libc::NFT_MSG_NEWCHAIN, 2)
        .with(1, NAME)
        .with(3, NAME)
        .with(4 | 1 << 15, &hook.concat())
        .with(7, b"nat\0")
        .finish()
}

fn rule() -> Vec<u8> {
    let redirect = [attribute(1, b"redir\0"), nest(2, &[])];
    request(libc::NFT_MSG_NEWRULE, 3)
        .with(1, NAME)
        .with(2, NAME)
        .with(4 | 1 << 15, &nest(1, &redirect))
        .finish()
}
