//! Tasks that end with whom they belong to.

use std::sync::{Mutex, PoisonError};
use tokio::task::{AbortHandle, JoinSet};

/// Tasks of one owner; dropping it ends them.
#[derive(Default)]
pub(crate) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task)
    }
}
