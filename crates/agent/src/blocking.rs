//! Work that waits for a disk, on threads where nobody waits for it.
//!
//! The agent has one thread for everything that is interactive: a keystroke must not queue
//! behind a folder of a hundred thousand files. That includes letting go: closing the last
//! descriptor of a large deleted file frees its pages, and closing an inotify descriptor waits
//! for the kernel.

use crate::fault::{Cause, Fault, Result};
use std::ops::{Deref, DerefMut};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

/// Makes the first thread, while there certainly may be one: the runtime gives up when it has
/// none and the kernel refuses another.
pub(crate) async fn begin() {
    spawn_blocking(|| ()).await.ok();
}

/// Runs `work` on a thread for waiting.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(ended) => Err(Fault::new(
            Cause::Refused,
            format!("the agent gave up on this request: {ended}"),
        )),
    }
}

/// Something that is let go of on a thread for waiting.
pub(crate) struct Elsewhere<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Elsewhere<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// The thing itself, for whoever lets go of it where it may wait.
    pub(crate) fn into_inner(mut self) -> T {
        match self.0.take() {
            Some(value) => value,
            None => unreachable!("taken only as it ends"),
        }
    }
}

impl<T: Send + 'static> Deref for Elsewhere<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => unreachable!("taken only as it ends"),
        }
    }
}

impl<T: Send + 'static> DerefMut for Elsewhere<T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.0 {
            Some(value) => value,
            None => unreachable!("taken only as it ends"),
        }
    }
}

impl<T: Send + 'static> Drop for Elsewhere<T> {
    fn drop(&mut self) {
        let Some(value) = self.0.take() else { return };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(value))),
            // Nobody is interactive here.
            Err(_) => drop(value),
        }
    }
}
