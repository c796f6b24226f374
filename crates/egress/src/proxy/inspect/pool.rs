//! Connections to servers that nobody uses just now, for those who are about to want the same.
//!
//! The same means all of it: the program with its digest and its script, the entry of the policy
//! and the policy itself, the host, an address that was judged for the connection that wants it,
//! the port, TLS or not. A connection comes here only after a message that ended, and belongs to
//! nobody meanwhile; that it's still usable is for the one who takes it to find out.

use super::session::Session;
use crate::host::Host;
use crate::proxy::dial::Way;
use crate::proxy::policy::Policy;
use casemate_identity::Executable;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Connections that wait, and those of them for the same.
const MOST: usize = 128;
const MOST_ALIKE: usize = 8;

/// What a connection is for.
#[derive(PartialEq, Eq)]
pub(super) struct Purpose {
    port: u16,
    secure: bool,
    policy: InForce,
    host: Host,
    entry: String,
    executable: Executable,
    script: Option<Box<[u8]>>,
}

/// A policy is the same only while it's the very same one.
struct InForce(Arc<Policy>);

impl PartialEq for InForce {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for InForce {}

struct Parked<T> {
    purpose: Purpose,
    peer: IpAddr,
    since: Instant,
    connection: T,
}

/// See the module.
pub(super) struct Pool<T>(Arc<Mutex<Idle<T>>>);

struct Idle<T> {
    /// The oldest first.
    parked: VecDeque<Parked<T>>,
    /// There is a task that ends those that nobody wanted.
    swept: bool,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        let idle = Idle {
            parked: VecDeque::new(),
            swept: false,
        };
        Self(Arc::new(Mutex::new(idle)))
    }
}

impl Session {
    /// What its connections to the server are for; None if its permit is of a policy that is no
    /// longer in force.
    pub(super) fn purpose(&self) -> Option<Purpose> {
        let (permit, policy) = (&self.permit, self.shared.policy.load_full());
        permit.is_of(&policy).then(|| Purpose {
            port: permit.port,
            secure: self.secure,
            policy: InForce(policy),
            host: permit.host.clone(),
            entry: permit.entry.clone(),
            executable: permit.identity.executable.clone(),
            script: permit.identity.script.clone(),
        })
    }
}

impl<T: Send + 'static> Pool<T> {
    /// The connection that was used last, if that's not longer ago than this.
    pub(super) fn take(&self, purpose: &Purpose, way: &Way, within: Duration) -> Option<T> {
        let mut idle = lock(&self.0);
        let fits = |parked: &Parked<T>| {
            parked.since.elapsed() <= within
                && parked.purpose == *purpose
                && way.leads_to(parked.peer)
        };
        let at = idle.parked.iter().rposition(fits)?;
        idle.parked.remove(at).map(|parked| parked.connection)
    }

    /// Keeps a connection for at most `patience`, if `is_in_force` then still says so.
    pub(super) fn park(
        &self,
        (purpose, peer): (Purpose, IpAddr),
        connection: T,
        patience: Duration,
        is_in_force: impl FnOnce(&Arc<Policy>) -> bool,
    ) {
        let mut idle = lock(&self.0);
        // Who puts another policy in force clears this afterwards, so one of the two sees it.
        if !is_in_force(&purpose.policy.0) {
            return;
        }
        let alike = |parked: &&Parked<T>| parked.purpose == purpose;
        if idle.parked.iter().filter(alike).count() >= MOST_ALIKE {
            let oldest = idle.parked.iter().position(|parked| alike(&parked));
            oldest.and_then(|at| idle.parked.remove(at));
        } else if idle.parked.len() >= MOST {
            idle.parked.pop_front();
        }
        idle.parked.push_back(Parked {
            purpose,
            peer,
            since: Instant::now(),
            connection,
        });
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::clone(&self.0), patience));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.0).parked.len()
    }

    /// Ends all of them.
    pub(super) fn clear(&self) {
        lock(&self.0).parked.clear();
    }
}

/// Ends connections that have waited for too long, until there are none.
async fn sweep<T>(idle: Arc<Mutex<Idle<T>>>, patience: Duration) {
    loop {
        let next = {
            let mut idle = lock(&idle);
            while (idle.parked.front()).is_some_and(|own| own.since.elapsed() >= patience) {
                idle.parked.pop_front();
            }
            idle.swept = !idle.parked.is_empty();
            idle.parked.front().map(|own| own.since + patience)
        };
        match next {
            Some(next) => sleep_until(next).await,
            None => return,
        }
    }
}

fn lock<T>(idle: &Mutex<Idle<T>>) -> MutexGuard<'_, Idle<T>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
