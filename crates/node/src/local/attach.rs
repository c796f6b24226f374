//! Sandboxes that an earlier daemon left. The driver knows which are somebody's; those are taken
//! over as they are.

use super::Local;
use super::kept::Kept;
use std::sync::Arc;

impl Local {
    /// Goes through what is left.
    pub(super) async fn attach(self: &Arc<Self>) {
        for id in self.driver.left() {
            if let Ok(Some(found)) = self.driver.attach(&id).await {
                self.keep(Kept::found(id, found));
            }
        }
    }

    /// Keeps a sandbox until it ends. From here on, its end is what cleans up.
    pub(super) fn keep(self: &Arc<Self>, kept: Kept) {
        let kept = Arc::new(kept);
        self.table().insert(kept.id.clone(), Arc::clone(&kept));
        if let Some(body) = kept.body() {
            tokio::spawn(kept.watch(body, Arc::clone(self)));
        }
    }
}
