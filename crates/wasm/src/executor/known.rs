//! Modules that were compiled, and those that were refused: each is compiled once.

use super::{Code, Crash};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// How many are remembered beside those that are in use.
const MOST: usize = 4096;

/// What is known of modules, by their hash. Whoever asks for one that is just being compiled waits for
/// it; others don't.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<[u8; 32], Arc<Mutex<Outcome>>>>);

#[derive(Default)]
enum Outcome {
    #[default]
    Unknown,
    /// As long as anybody has it.
    Made(Weak<Code>),
    /// It would be again.
    Refused(String),
}

impl Known {
    /// The code of the module of this hash: known, or made now. That it couldn't be made for another
    /// reason than its own is forgotten.
    pub(super) fn get(
        &self,
        hash: [u8; 32],
        make: impl FnOnce([u8; 32]) -> Result<Arc<Code>, Crash>,
    ) -> Result<Arc<Code>, Crash> {
        let outcome = self.outcome(hash);
        let mut outcome = locked(&outcome);
        match &*outcome {
            Outcome::Made(code) => {
                if let Some(code) = code.upgrade() {
                    return Ok(code);
                }
            }
            Outcome::Refused(why) => return Err(Crash::Refused(why.clone())),
            Outcome::Unknown => {}
        }
        let made = make(hash);
        *outcome = match &made {
            Ok(code) => Outcome::Made(Arc::downgrade(code)),
            Err(Crash::Refused(why)) => Outcome::Refused(why.clone()),
            Err(_) => Outcome::Unknown,
        };
        made
    }

    fn outcome(&self, hash: [u8; 32]) -> Arc<Mutex<Outcome>> {
        let mut known = locked(&self.0);
        if known.len() >= MOST && !known.contains_key(&hash) {
            // Being compiled, or in use.
            known.retain(|_, outcome| {
                Arc::strong_count(outcome) > 1
                    || matches!(&*locked(outcome), Outcome::Made(code) if code.strong_count() > 0)
            });
        }
        known.entry(hash).or_default().clone()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is known is written in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::compile;
    use crate::module::{Limits, prepare};
    use casemate_sys::pages::Sealed;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    fn code(hash: [u8; 32]) -> Result<Arc<Code>, Crash> {
        let prepared = prepare(b"(module)", &Limits::default()).unwrap();
        let bundle = Sealed::of("module", &compile(&prepared).unwrap()).unwrap();
        Code::new(hash, bundle).map(Arc::new)
    }

    #[test]
    fn a_module_is_compiled_once_by_many_who_ask() {
        let (known, made) = (Known::default(), AtomicUsize::new(0));
        let get = |hash| {
            let make = |hash| {
                made.fetch_add(1, Relaxed);
                code(hash)
            };
            known.get(hash, make).unwrap()
        };
        let codes: Vec<Arc<Code>> = std::thread::scope(|scope| {
            let askers: Vec<_> = (0..4).map(|_| scope.spawn(|| get([1; 32]))).collect();
            askers
                .into_iter()
                .map(|asker| asker.join().unwrap())
                .collect()
        });
        assert!(codes.iter().all(|code| Arc::ptr_eq(code, &codes[0])));
        assert_eq!((made.load(Relaxed), codes[0].hash), (1, [1; 32]));
        assert_eq!(get([2; 32]).hash, [2; 32]);
        // Nobody has it any more.
        drop(codes);
        get([1; 32]);
        assert_eq!(made.load(Relaxed), 3);
    }

    #[test]
    fn a_module_is_refused_once_and_a_failure_is_tried_again() {
        let known = Known::default();
        let refuse = |_| Err(Crash::Refused("no".to_owned()));
        for _ in 0..2 {
            let refused = known.get([3; 32], refuse).err().unwrap();
            assert!(matches!(refused, Crash::Refused(why) if why == "no"));
        }
        let refused = known.get([3; 32], code).err().unwrap();
        assert!(matches!(refused, Crash::Refused(_)));
        let gone = known.get([4; 32], |_| Err(Crash::Gone("it died".to_owned())));
        assert!(matches!(gone, Err(Crash::Gone(_))));
        known.get([4; 32], code).unwrap();
    }

    #[test]
    fn what_nobody_uses_is_forgotten_in_time() {
        let known = Known::default();
        let used = known.get([0; 32], code).unwrap();
        for number in 0..3 * MOST as u64 {
            let mut hash = [9; 32];
            hash[..8].copy_from_slice(&number.to_le_bytes());
            let refuse = |_| Err(Crash::Refused(String::new()));
            known.get(hash, refuse).err().unwrap();
        }
        assert!(locked(&known.0).len() <= MOST + 1);
        let refuse = |_| Err(Crash::Refused(String::new()));
        assert!(Arc::ptr_eq(&known.get([0; 32], refuse).unwrap(), &used));
    }
}
