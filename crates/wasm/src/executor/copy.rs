//! Large commits, copied by two threads.
//!
//! What a dense update wrote takes longer to copy than a thread to start, and copying pages out of
//! another process is mostly the kernel looking up where each of them is: two do twice as many. Both
//! executors copy so.

use casemate_sys::pages::{Mapped, Runs};
use std::thread;

/// Fewer pages are copied before another thread has begun.
const WORTH: usize = 2048;

/// Copies these pages to where they belong. Whatever part of them fails, all of it has ended.
pub(super) fn in_two<E: Send>(
    runs: &Runs,
    mut window: Mapped<'_>,
    copy: impl Fn(&Runs, &mut Mapped<'_>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let pages = runs.pages();
    if pages < WORTH {
        return copy(runs, &mut window);
    }
    let (first, others) = runs.split(pages / 2);
    let middle = others.as_slice().first().map_or(0, |run| run.start);
    let (mut lower, mut upper) = window.split(middle);
    thread::scope(|scope| {
        let upper = scope.spawn(|| copy(&others, &mut upper));
        let lower = copy(&first, &mut lower);
        let upper = upper
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        lower.and(upper)
    })
}
