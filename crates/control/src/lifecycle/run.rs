//! What goes on by itself: alarms, samples, and ends that nobody asked for.

use crate::census::{Sandbox, lock};
use crate::clock::later;
use crate::control::Control;
use crate::meters::Level;
use casemate_core::limits::ByteSize;
use casemate_core::sandbox::lifecycle::State;
use futures_util::StreamExt as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often sandboxes are asked what they use.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// Sandboxes that are asked at the same time.
const AT_ONCE: usize = 16;
/// How long one sandbox may take to say it: it must not keep the others from it.
const PATIENCE: Duration = Duration::from_secs(2);
/// When a node that couldn't say what ended is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl Control {
    /// Keeps time until `shutdown`, and then waits for what was begun. Sandboxes go on without it.
    pub async fn run(self: &Arc<Self>, shutdown: CancellationToken) {
        let work = async {
            tokio::join!(self.keep_time(), self.keep_samples(), self.hear_of_ends());
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
        self.tasks.close();
        self.tasks.wait().await;
        self.catch_up().await;
    }

    async fn keep_time(self: &Arc<Self>) {
        loop {
            for id in self.timers.due(self.clock.now()) {
                let control = Arc::clone(self);
                self.tasks.spawn(async move { control.expire(&id).await });
            }
            match self.timers.next() {
                None => self.timers.changed().await,
                Some(at) => tokio::select! {
                    () = self.clock.sleep_until(at) => {}
                    () = self.timers.changed() => {}
                },
            }
        }
    }

    async fn keep_samples(self: &Arc<Self>) {
        let mut next = self.clock.now();
        loop {
            let control = Arc::clone(self);
            let round = self.tasks.spawn(async move {
                control.sample_all().await;
                control.catch_up().await;
            });
            // A round that panicked is no reason to give up on the next.
            drop(round.await);
            next = later(next, SAMPLE_EVERY).max(self.clock.now());
            self.clock.sleep_until(next).await;
        }
    }

    async fn sample_all(&self) {
        let all = self.census.everybody();
        let running = |sandbox: &&Arc<Sandbox>| sandbox.record().state == State::Running;
        let running: Vec<_> = all.iter().filter(running).collect();
        futures_util::stream::iter(&running)
            .for_each_concurrent(AT_ONCE, |sandbox| self.sample(sandbox))
            .await;
        let paused = all
            .iter()
            .filter(|sandbox| sandbox.record().state == State::Paused);
        self.numbers.there_are(running.len(), paused.count());
        let started = self.started.load(Ordering::Relaxed);
        lock(&self.team).add(self.clock.now(), running.len() as u32, started);
    }

    /// Asks the node what one sandbox uses. One that doesn't answer has no sample: it may just be
    /// ending.
    pub(crate) async fn sample(&self, sandbox: &Sandbox) {
        let usage = tokio::time::timeout(PATIENCE, self.node.usage(&sandbox.id));
        if let Ok(Ok(usage)) = usage.await {
            let resources = sandbox.record().wish.resources;
            let killed = lock(&sandbox.samples).add(self.clock.now(), usage, resources.cpus);
            if killed > 0 {
                self.numbers.killed(killed);
                let limit = ByteSize(resources.memory);
                let message = format!("memory limit {limit} reached: processes were killed");
                let count = BTreeMap::from([("processes".to_owned(), killed.to_string())]);
                self.note(sandbox, Level::Warn, message, count);
            }
        }
    }

    async fn hear_of_ends(self: &Arc<Self>) {
        loop {
            match self.node.ended().await {
                Ok(ended) => {
                    let control = Arc::clone(self);
                    self.tasks.spawn(async move { control.ended(&ended).await });
                }
                Err(refusal) => {
                    tracing::error!(%refusal, "the node doesn't say which sandboxes ended");
                    let again = later(self.clock.now(), ASK_AGAIN);
                    self.clock.sleep_until(again).await;
                }
            }
        }
    }
}
