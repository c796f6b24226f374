//! The [fence](crate::fence) of a sandbox's network, in a namespace of one's own: exactly the routes
//! and nftables rules that send every connection to the proxy that decides about it.

use super::{Attempt, child, userns};
use crate::fence::{Error, Fence, Step};

/// Any port that no program may take.
const PORT: u16 = 700;

/// What became of each part; one refused part undoes those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nftables {
    /// The loopback interface, with its addresses and the routes that make all others local.
    pub loopback: Attempt,
    /// A table.
    pub table: Attempt,
    /// A chain before routing, and rules that match packets.
    pub chain: Attempt,
    /// Rules that hand connections to a listener.
    pub tproxy: Attempt,
    /// Rules that refuse what is left.
    pub reject: Attempt,
    /// The same for IPv6; a sandbox can be without.
    pub ipv6: Attempt,
}

const PARTS: usize = 5;
const IPV6: usize = PARTS;

/// Raises the fence in a child with its own user and network namespace.
pub fn probe() -> Nftables {
    let parts = child::attempt::<{ PARTS + 1 }>(child::LIMIT, |slots| {
        if userns::enter(libc::CLONE_NEWNET).is_err() {
            return;
        }
        let raise = |ipv6| Fence { port: PORT, ipv6 }.raise();
        let raised = match raise(true) {
            Err(Error { step, errno }) if step.is_ipv6() => {
                slots.refuse(IPV6, errno);
                raise(false)
            }
            raised => {
                if raised.is_ok() {
                    slots.note(IPV6, Ok(()));
                }
                raised
            }
        };
        let stands = match raised {
            Ok(()) => PARTS,
            Err(Error { step, errno }) => {
                slots.refuse(part(step), errno);
                part(step)
            }
        };
        for at in 0..stands {
            slots.note(at, Ok(()));
        }
    });
    Nftables {
        loopback: parts.at(0),
        table: parts.at(1),
        chain: parts.at(2),
        tproxy: parts.at(3),
        reject: parts.at(4),
        ipv6: parts.at(IPV6),
    }
}

fn part(step: Step) -> usize {
    match step {
        Step::Routing | Step::Loopback | Step::Address | Step::Route => 0,
        Step::Address6 | Step::Route6 => IPV6,
        Step::Nftables | Step::Table => 1,
        Step::Chain | Step::Rule => 2,
        Step::Tproxy => 3,
        Step::Reject => 4,
    }
}
