//! How much one key may use.

use crate::callers::Caller;
use crate::fault::{Fault, Kind};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What is counted is forgotten after so many seconds.
const WINDOW: u64 = 60;
/// Keys that are remembered before those that are idle are looked for.
const MANY: usize = 1024;

/// What one key may use; what isn't given isn't limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Calls at the same time.
    pub concurrent: Option<u32>,
    /// Calls in a minute.
    pub calls_per_minute: Option<u32>,
    /// Bytes of arguments and modules in a minute.
    pub bytes_per_minute: Option<u64>,
}

/// What was used in each of the last seconds.
#[derive(Debug)]
struct Window {
    slots: [u64; WINDOW as usize],
    /// The second of the newest slot.
    now: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            slots: [0; WINDOW as usize],
            now: 0,
        }
    }
}

impl Window {
    fn move_to(&mut self, now: u64) {
        let passed = now.saturating_sub(self.now).min(WINDOW);
        for second in 0..passed {
            self.slots[((now - second) % WINDOW) as usize] = 0;
        }
        self.now = self.now.max(now);
    }

    /// Counts, unless that would be more than `limit`; then how many seconds there is to wait.
    fn add(&mut self, amount: u64, limit: Option<u64>, now: u64) -> Result<(), u64> {
        self.move_to(now);
        let used: u64 = self.slots.iter().sum();
        let slot = &mut self.slots[(self.now % WINDOW) as usize];
        match limit {
            Some(limit) if used.saturating_add(amount) > limit => {
                Err(self.wait(used.saturating_add(amount) - limit))
            }
            _ => {
                *slot = slot.saturating_add(amount);
                Ok(())
            }
        }
    }

    /// Seconds until as much as `excess` is forgotten; the whole window if that is never.
    fn wait(&self, excess: u64) -> u64 {
        let mut forgotten = 0u64;
        for second in 1..=WINDOW {
            // The oldest is the one that the next second takes the place of.
            let oldest = self.slots[((self.now + second) % WINDOW) as usize];
            forgotten = forgotten.saturating_add(oldest);
            if forgotten >= excess {
                return second;
            }
        }
        WINDOW
    }
}

/// What one key uses.
#[derive(Debug, Default)]
struct Used {
    at_once: u32,
    calls: Window,
    bytes: Window,
}

impl Used {
    fn is_idle(&self, now: u64) -> bool {
        let since = now.saturating_sub(self.calls.now.max(self.bytes.now));
        self.at_once == 0 && since >= WINDOW
    }
}

/// What all keys use. Copies are the same.
#[derive(Clone)]
pub(crate) struct Ledger {
    keys: Arc<Mutex<HashMap<String, Used>>>,
    since: Instant,
}

/// A call that is counted until this is dropped.
pub(crate) struct Admitted {
    ledger: Ledger,
    key: Option<String>,
    quotas: Quotas,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            keys: Arc::default(),
            since: Instant::now(),
        }
    }
}

impl Ledger {
    /// Counts one more call.
    pub(crate) fn admit(&self, caller: &Caller) -> Result<Admitted, Fault> {
        let admitted = |key| Admitted {
            ledger: self.clone(),
            key,
            quotas: caller.quotas,
        };
        let Some(key) = &caller.id else {
            return Ok(admitted(None));
        };
        let now = self.now();
        let mut keys = self.lock();
        if keys.len() >= MANY && !keys.contains_key(key) {
            keys.retain(|_, used| !used.is_idle(now));
        }
        let used = keys.entry(key.clone()).or_default();
        if let Some(limit) = caller.quotas.concurrent
            && used.at_once >= limit
        {
            let why = format!("the key's quota is {limit} calls at the same time");
            return Err(Fault::new(Kind::Quota, why).after(1));
        }
        let limit = caller.quotas.calls_per_minute;
        used.calls
            .add(1, limit.map(u64::from), now)
            .map_err(|seconds| {
                let limit = limit.unwrap_or_default();
                let why = format!("the key's quota is {limit} calls a minute");
                Fault::new(Kind::Quota, why).after(seconds)
            })?;
        used.at_once += 1;
        drop(keys);
        Ok(admitted(Some(key.clone())))
    }

    fn now(&self) -> u64 {
        // Beyond the window, so that nothing is older than the beginning.
        self.since.elapsed().as_secs() + WINDOW
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Used>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// Counts bytes that arrived.
    pub(crate) fn bytes(&self, bytes: usize) -> Result<(), Fault> {
        let Some(key) = &self.key else {
            return Ok(());
        };
        let now = self.ledger.now();
        let limit = self.quotas.bytes_per_minute;
        let mut keys = self.ledger.lock();
        let used = keys.entry(key.clone()).or_default();
        used.bytes.add(bytes as u64, limit, now).map_err(|seconds| {
            let limit = limit.unwrap_or_default();
            let why = format!("the key's quota is {limit} bytes of arguments a minute");
            match bytes as u64 > limit {
                true => Fault::new(Kind::Quota, why).hint("this one alone is longer than that"),
                false => Fault::new(Kind::Quota, why).after(seconds),
            }
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(key) = &self.key
            && let Some(used) = self.ledger.lock().get_mut(key)
        {
            used.at_once = used.at_once.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[test]
    fn what_is_older_than_a_minute_is_forgotten() {
        let mut window = Window::default();
        assert_eq!(window.add(2, Some(3), 100), Ok(()));
        assert_eq!(window.add(1, Some(3), 110), Ok(()));
        assert_eq!(window.add(1, Some(3), 130), Err(30));
        assert_eq!(window.add(3, Some(3), 159), Err(11));
        assert_eq!(window.add(4, Some(3), 159), Err(60));
        assert_eq!(window.add(2, Some(3), 160), Ok(()));
        assert_eq!(window.add(1, Some(3), 169), Err(1));
        assert_eq!(window.add(9, None, 169), Ok(()));
    }

    proptest! {
        #[test]
        fn it_counts_as_a_list_of_times_does(steps in proptest::collection::vec((0u64..40, 0u64..5), 0..60)) {
            let (mut window, mut list) = (Window::default(), VecDeque::new());
            let mut now = WINDOW;
            for (pause, amount) in steps {
                now += pause;
                list.retain(|(at, _)| at + WINDOW > now);
                let used: u64 = list.iter().map(|(_, amount)| amount).sum();
                let found = window.add(amount, Some(7), now);
                prop_assert_eq!(found.is_ok(), used + amount <= 7);
                match found {
                    Ok(()) => list.push_back((now, amount)),
                    Err(seconds) => {
                        let later = list.iter().filter(|(at, _)| at + WINDOW > now + seconds);
                        let left: u64 = later.map(|(_, amount)| amount).sum();
                        prop_assert!(left + amount <= 7);
                    }
                }
            }
        }
    }

    fn caller(quotas: Quotas) -> Caller {
        Caller {
            id: Some("k".to_owned()),
            quotas,
            ..Caller::user()
        }
    }

    #[test]
    fn a_call_counts_until_it_ends() {
        let ledger = Ledger::default();
        let caller = caller(Quotas {
            concurrent: Some(2),
            ..Quotas::default()
        });
        let first = ledger.admit(&caller).unwrap();
        let _second = ledger.admit(&caller).unwrap();
        let refused = ledger.admit(&caller).err().unwrap();
        assert_eq!((refused.kind, refused.retry_after), (Kind::Quota, Some(1)));
        drop(first);
        assert!(ledger.admit(&caller).is_ok());
        assert!(ledger.admit(&Caller::user()).is_ok());
    }

    #[test]
    fn bytes_count_together() {
        let ledger = Ledger::default();
        let caller = caller(Quotas {
            bytes_per_minute: Some(10),
            ..Quotas::default()
        });
        let admitted = ledger.admit(&caller).unwrap();
        assert!(admitted.bytes(8).is_ok());
        let refused = ledger.admit(&caller).unwrap().bytes(3).unwrap_err();
        assert!(
            refused
                .retry_after
                .is_some_and(|after| (1..=60).contains(&after))
        );
        let never = admitted.bytes(11).unwrap_err();
        assert_eq!(never.retry_after, None);
        assert!(
            ledger
                .admit(&Caller::user())
                .unwrap()
                .bytes(1 << 30)
                .is_ok()
        );
    }

    #[test]
    fn keys_that_are_idle_are_forgotten() {
        let mut ledger = Ledger::default();
        let named = |n: usize| Caller {
            id: Some(n.to_string()),
            ..Caller::user()
        };
        let busy = ledger.admit(&named(0)).unwrap();
        for n in 1..MANY {
            ledger.admit(&named(n)).unwrap();
        }
        ledger.since -= std::time::Duration::from_secs(WINDOW);
        ledger.admit(&named(MANY)).unwrap();
        assert_eq!(ledger.lock().len(), 2);
        drop(busy);
    }
}
