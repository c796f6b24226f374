//! Learning: what nothing allows is let through, and written down for the policy that would.
//!
//! ```text
//!  the policy ── allows ───────────────────────▶ as always, and not written down
//!      │ forbids (rego, dns.deny, deny_rules) ─▶ as always, and told apart
//!      │ says nothing
//!      ▼
//!  the address ── public, or in `reach`? no ───▶ refused, and told apart
//!      │ yes
//!      ▼
//!  connection ── inspect: TLS or HTTP? ────────▶ requests: method, path
//!      └──────── anything else ────────────────▶ bytes: host, port, what they begin like
//! ```
//!
//! A host is what the program said it is: by CONNECT or SOCKS5, by the server name of TLS, and
//! otherwise by the name that its DNS query had. What is kept is bounded; what found no room is
//! counted, since a policy made of the rest would be too narrow.

mod seen;
mod sort;

pub use seen::{Refusal, Seen};
pub(super) use sort::{Noted, Sorted, sort};

use super::decide::Permit;
use crate::host::Host;
use casemate_identity::Identity;
use casemate_policy::learn::Spoken;
use ipnet::IpNet;
use seen::{Place, Rows};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lets through what nothing allows, and remembers it.
pub struct Learning {
    pub(super) inspect: bool,
    /// Addresses that are reached besides the public ones.
    pub(super) reach: Vec<IpNet>,
    rows: Mutex<Rows>,
}

impl Learning {
    /// Nothing was seen yet.
    pub fn new(inspect: bool, reach: Vec<IpNet>) -> Self {
        Self {
            inspect,
            reach,
            rows: Mutex::default(),
        }
    }

    /// Whether TLS is terminated, so that requests are seen.
    pub fn inspects(&self) -> bool {
        self.inspect
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.rows().seen()
    }

    /// A connection that was let through.
    pub(super) fn connected(&self, permit: &Permit) -> Place {
        let place = Place::of(permit);
        self.rows().connected(&place, 1);
        place
    }

    /// It goes to the other place.
    fn renamed(&self, from: &Place, to: &Place) {
        let mut rows = self.rows();
        rows.disconnected(from);
        rows.connected(to, 1);
    }

    fn spoke(&self, place: &Place, spoken: Spoken) {
        self.rows().spoke(place, spoken);
    }

    fn moved(&self, place: &Place, bytes: u64) {
        self.rows().moved(place, bytes);
    }

    /// A request that was let through, on a connection that was looked into.
    pub(super) fn requested(&self, permit: &Permit, (method, path): (&str, &str)) {
        self.rows().requested(Place::of(permit), method, path);
    }

    /// A request on a connection that was let through, and that is looked into only because it's
    /// to the proxy itself if nobody asked for that.
    pub(super) fn allowed(&self, permit: &Permit, request: (&str, &str)) {
        if self.inspect {
            return self.requested(permit, request);
        }
        let place = self.connected(permit);
        self.spoke(&place, Spoken::Http);
    }

    /// Bytes of requests.
    pub(super) fn answered(&self, permit: &Permit, bytes: u64) {
        self.rows().moved(&Place::of(permit), bytes);
    }

    /// A name that was resolved although nothing allows it.
    pub(super) fn resolved(&self, name: &Host) {
        self.rows().resolved(name);
    }

    /// Something that wasn't let through.
    pub(super) fn refused(
        &self,
        identity: Option<&Identity>,
        (host, port): (&str, u16),
        engine: &str,
        why: &str,
    ) {
        let mut rows = self.rows();
        if let Some(identity) = identity.filter(|_| engine == "tls") {
            rows.pinned(identity, host, port);
        }
        rows.refused(host, port, why);
    }

    /// A place where looking into TLS has failed, so that it's only relayed from now on.
    fn is_pinned(&self, permit: &Permit) -> bool {
        self.rows().is_pinned(permit)
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
