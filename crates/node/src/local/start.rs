//! How a sandbox is made: the driver brings it up, its agent is told who may use it. What was done
//! is undone if a later step fails.

use super::Local;
use super::kept::Kept;
use crate::driver::Body;
use casemate_core::error::Result;
use casemate_core::node::Refusal;
use casemate_core::sandbox::{SandboxId, Wish};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long whatever all of them need may take.
const PREPARATION: Duration = Duration::from_secs(60);

/// A sandbox that is nobody's yet; dropped, it is ended, and what is left of it removed.
pub(super) struct Draft {
    id: SandboxId,
    wish: Wish,
    body: Option<Arc<dyn Body>>,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Without a runtime, this process ends: the next one finds what nobody was given.
        if let (Some(body), Ok(runtime)) = (self.body.take(), Handle::try_current()) {
            runtime.spawn(take_down(body));
        }
    }
}

/// Ends what was made, and waits until nothing of it is left.
async fn take_down(body: Arc<dyn Body>) {
    body.cut();
    let _ = body.ended().await;
}

impl Draft {
    /// Whether somebody with this wish can have it: what can still be changed is where it may
    /// connect to.
    pub(super) fn suits(&self, wish: &Wish) -> bool {
        (&self.wish.template, &self.wish.from) == (&wish.template, &wish.from)
            && self.wish.resources == wish.resources
    }

    /// Ends it, and waits until nothing of it is left.
    pub(super) async fn end(mut self) {
        if let Some(body) = self.body.take() {
            take_down(body).await;
        }
    }

    /// Whether it still runs.
    pub(super) fn lives(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.lives())
    }

    /// Gives it to somebody.
    async fn settle(mut self, id: &SandboxId, wish: &Wish) -> Result<Kept, Refusal> {
        let Some(body) = self.body.clone() else {
            return Err(Refusal::Unknown);
        };
        let of = |error: casemate_core::error::Error| Refusal::Failed(error.on(id));
        if self.id != *id {
            body.name(id, wish).map_err(of)?;
        }
        let kept = Kept::new(id.clone(), Arc::clone(&body));
        if self.wish.network != wish.network {
            kept.restrict(&wish.network).await?;
        }
        kept.introduce(wish).await?;
        body.own().map_err(of)?;
        self.body = None;
        Ok(kept)
    }
}

impl Local {
    /// Makes a sandbox, or gives one away that is up already.
    pub(super) async fn start(
        self: &Arc<Self>,
        id: &SandboxId,
        wish: &Wish,
    ) -> Result<(), Refusal> {
        self.driver.check(wish)?;
        let ready = tokio::time::timeout(PREPARATION, self.driver.ready()).await;
        ready.map_err(|_| Refusal::Slow(PREPARATION))??;
        let asked = self.pool.asked();
        let started = async {
            let draft = match self.pool.take(wish) {
                Some(draft) => draft,
                None => self.prepare(id, wish).await?,
            };
            draft.settle(id, wish).await
        };
        let patience = self.driver.patience();
        let result = tokio::time::timeout(patience, started).await;
        drop(asked);
        self.pool.used(self, wish);
        self.keep(result.map_err(|_| Refusal::Slow(patience))??);
        Ok(())
    }

    /// Makes a sandbox that is nobody's.
    pub(super) async fn prepare(&self, id: &SandboxId, wish: &Wish) -> Result<Draft, Refusal> {
        // It is never closed.
        let _turn = self.turns.acquire().await;
        let body = self.driver.start(id, wish)?;
        let draft = Draft {
            id: id.clone(),
            wish: wish.clone(),
            body: Some(Arc::clone(&body)),
        };
        match body.up().await {
            Err(Refusal::Failed(error)) => Err(error.on(id).into()),
            up => up.map(|()| draft),
        }
    }
}
