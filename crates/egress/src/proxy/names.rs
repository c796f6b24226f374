//! Which names the sandbox was given for an address.
//!
//! A connection by address alone is decided by the names that our own answers gave for it. So a
//! name can't be made to mean another address than the one that was checked when it was resolved,
//! and an address that nobody asked for has no name.

use crate::host::Host;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are remembered.
const MOST: usize = 4096;
/// Names of one address: a server in front of many sites has more, of which the latest count.
const MOST_NAMES: usize = 16;
/// Programs keep addresses for longer than an answer says; connection pools for as long as they
/// live.
const KEPT: Duration = Duration::from_secs(30 * 60);

/// See the module.
#[derive(Default)]
pub(super) struct Names {
    known: Mutex<HashMap<IpAddr, Vec<(Host, Instant)>>>,
}

impl Names {
    /// Remembers an answer.
    pub(super) fn learn(&self, name: &Host, addresses: &[IpAddr]) {
        let until = Instant::now() + KEPT;
        let mut known = self.known();
        for address in addresses {
            if known.len() >= MOST && !known.contains_key(address) {
                let now = Instant::now();
                known.retain(|_, names| names.iter().any(|(_, until)| *until > now));
                if known.len() >= MOST {
                    known.clear();
                }
            }
            let names = known.entry(*address).or_default();
            names.retain(|(other, _)| other != name);
            if names.len() >= MOST_NAMES {
                names.remove(0);
            }
            names.push((name.clone(), until));
        }
    }

    /// The names of an address, the latest first.
    pub(super) fn of(&self, address: IpAddr) -> Vec<Host> {
        let now = Instant::now();
        let known = self.known();
        let names = known.get(&address).map_or(&[][..], Vec::as_slice);
        let fresh = names.iter().rev().filter(|(_, until)| *until > now);
        fresh.map(|(name, _)| name.clone()).collect()
    }

    /// Forgets what is no longer good. Names that another policy refuses do no harm: it is asked
    /// about each connection.
    pub(super) fn forget_stale(&self) {
        let now = Instant::now();
        self.known()
            .retain(|_, names| names.iter().any(|(_, until)| *until > now));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<IpAddr, Vec<(Host, Instant)>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, MOST_NAMES, Names};
    use crate::host::Host;
    use std::net::{IpAddr, Ipv4Addr};

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    #[test]
    fn the_latest_name_comes_first_and_each_once() {
        let (names, address) = (Names::default(), IpAddr::from([192, 0, 2, 7]));
        for name in ["a.example", "b.example", "a.example"] {
            names.learn(&host(name), &[address]);
        }
        assert_eq!(names.of(address), [host("a.example"), host("b.example")]);
        assert_eq!(names.of([192, 0, 2, 8].into()), []);
    }

    #[test]
    fn a_sandbox_can_not_make_it_grow() {
        let names = Names::default();
        for number in 0..2 * MOST as u32 {
            names.learn(&host("a.example"), &[Ipv4Addr::from_bits(number).into()]);
        }
        assert!(names.known().len() <= MOST);
        let one = [IpAddr::from([192, 0, 2, 7])];
        for number in 0..2 * MOST_NAMES {
            names.learn(&host(&format!("n{number}.example")), &one);
        }
        assert_eq!(names.of(one[0]).len(), MOST_NAMES);
    }
}
