//! The tasks that hyper makes for a connection of HTTP/2, and their end with it.

use crate::proxy::spans;
use hyper::rt::Executor;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinSet;

/// Where tasks are made. Copies make tasks of the same connection.
#[derive(Clone, Default)]
pub(super) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(spans::carried(async move {
            task.await;
        }));
    }
}

/// Ends tasks when it's dropped, also if what waits for them is itself ended.
pub(super) struct Ends(pub(super) Tasks);

impl Drop for Ends {
    fn drop(&mut self) {
        let tasks = &self.0.0;
        tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }
}
