//! Long computing that everything else comes before.
//!
//! A processor is left to the rest of the program while files are hashed (`turns`), but not every
//! machine has one to leave: with two, the sandbox's own programs take theirs. So long hashing is
//! done by a thread of its own, and whoever wakes up runs before it. That can't be taken back
//! without privilege, so the thread ends with its work.

use casemate_sys::schedule::compute_in_background;
use std::panic::resume_unwind;
use std::thread::{Builder, scope};

/// A tenth of the share of others, when there is no processor to spare: even then a file of 100 MB
/// is hashed within seconds.
const NICE: i32 = 10;

/// Runs `work` and waits for it. Where there can't be another thread, this one does it.
pub(crate) fn run<T: Send>(work: impl Fn() -> T + Sync) -> T {
    scope(|scope| {
        let nice = || {
            // Only how soon others have their turn depends on it.
            let _ = compute_in_background(NICE);
            work()
        };
        match Builder::new().name("hash".into()).spawn_scoped(scope, nice) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => work(),
        }
    })
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    #[test]
    fn the_work_is_nice_and_its_caller_is_not() {
        let before = getpriority_process(None).unwrap();
        let during = super::run(|| getpriority_process(None).unwrap());
        assert_eq!(during, super::NICE.max(before));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
