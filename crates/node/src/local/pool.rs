//! Sandboxes that are up before anybody wants them.
//!
//! How many depends on use: as many as were wanted in the last while, up to a limit, so that a node
//! at rest keeps none. They are like the last one that was wanted; who wants another kind waits for
//! its own. They are made when nobody waits for one that is asked for.

use super::Local;
use super::start::Draft;
use casemate_core::sandbox::{Outward, SandboxId, Wish};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Uses that count.
const LATELY: Duration = Duration::from_secs(60);

/// How long one that nobody asked for yet lets those wait for it that somebody did.
const MODESTY: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Pool {
    most: usize,
    /// How many are being made for somebody.
    asked: watch::Sender<usize>,
    ready: Mutex<Ready>,
}

/// See [`Pool::asked`].
pub(super) struct Asked<'a>(&'a watch::Sender<usize>);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|asked| *asked -= 1);
    }
}

#[derive(Default)]
struct Ready {
    drafts: VecDeque<Draft>,
    /// When sandboxes were wanted.
    uses: VecDeque<Instant>,
    /// Somebody fills it already.
    filling: bool,
}

impl Pool {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            asked: watch::Sender::new(0),
            ready: Mutex::default(),
        }
    }

    /// Somebody waits for a sandbox, until this is dropped.
    pub(super) fn asked(&self) -> Asked<'_> {
        self.asked.send_modify(|asked| *asked += 1);
        Asked(&self.asked)
    }

    /// Waits until nobody does, for a while.
    async fn quiet(&self) {
        let mut asked = self.asked.subscribe();
        let _ = tokio::time::timeout(MODESTY, asked.wait_for(|asked| *asked == 0)).await;
    }

    /// One for this wish, if there is one.
    pub(super) fn take(&self, wish: &Wish) -> Option<Draft> {
        let mut ready = self.ready();
        let at = ready
            .drafts
            .iter()
            .position(|draft| draft.suits(wish) && draft.lives())?;
        ready.drafts.remove(at)
    }

    /// Notes that one was wanted, and sees to it that the next ones are there.
    pub(super) fn used(&self, local: &Arc<Local>, wish: &Wish) {
        let mut ready = self.ready();
        ready.uses.push_back(Instant::now());
        while ready.uses.len() > self.most {
            ready.uses.pop_front();
        }
        if self.most > 0 && !ready.filling {
            ready.filling = true;
            let wish = Wish {
                environment: Default::default(),
                access_token: None,
                // It may name secrets, and whose sandbox it will be isn't known.
                network: Outward::default(),
                ..wish.clone()
            };
            tokio::spawn(fill(Arc::clone(local), wish));
        }
    }

    /// How many are missing; those that are too many, of another kind or dead are let go. Without
    /// any, the filling is over.
    fn missing(&self, wish: &Wish) -> usize {
        let mut ready = self.ready();
        while ready.uses.front().is_some_and(|at| at.elapsed() > LATELY) {
            ready.uses.pop_front();
        }
        let wanted = ready.uses.len();
        ready
            .drafts
            .retain(|draft| draft.suits(wish) && draft.lives());
        ready.drafts.truncate(wanted);
        let missing = wanted - ready.drafts.len();
        ready.filling = wanted > 0;
        missing
    }

    /// Lets go of all, and makes no more.
    pub(super) fn close(&self) -> Vec<Draft> {
        let mut ready = self.ready();
        ready.filling = true;
        ready.uses.clear();
        ready.drafts.drain(..).collect()
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes what is missing, one after the other, and looks again when uses have grown old.
async fn fill(local: Arc<Local>, wish: Wish) {
    loop {
        if local.pool.missing(&wish) == 0 {
            if !local.pool.ready().filling {
                return;
            }
            tokio::time::sleep(LATELY / 60).await;
            continue;
        }
        local.pool.quiet().await;
        let mut random = [0; 20];
        let id = match getrandom::fill(&mut random) {
            Ok(()) => SandboxId::of(random),
            Err(_) => return local.pool.ready().filling = false,
        };
        // One that is never up must not keep the others from being made.
        let prepared =
            tokio::time::timeout(local.driver.patience(), local.prepare(&id, &wish)).await;
        match prepared {
            Ok(Ok(draft)) => local.pool.ready().drafts.push_back(draft),
            // Who wants one will hear why.
            Ok(Err(_)) | Err(_) => tokio::time::sleep(LATELY / 6).await,
        }
    }
}
