//! Sandboxes that an earlier daemon left. Those whose keeper answers are taken over as they are;
//! of the others the rest is removed.

use super::Local;
use super::kept::Kept;
use crate::folder::{KEEPER, LAUNCH, OWNED};
use crate::keeper::Launch;
use crate::keeper::same::Process;
use casemate_core::sandbox::SandboxId;
use rustix::process::{Signal, pidfd_send_signal};
use std::sync::Arc;

impl Local {
    /// Goes through the folders.
    pub(super) async fn attach(self: &Arc<Self>) {
        for id in self.folders.list() {
            let own = Arc::clone(self);
            let taken = tokio::task::spawn_blocking(move || own.take_over(&id));
            if let Ok(Some(kept)) = taken.await {
                self.table().insert(kept.id.clone(), Arc::clone(&kept));
                tokio::spawn(kept.watch(Arc::clone(self)));
            }
        }
    }

    fn take_over(&self, id: &SandboxId) -> Option<Arc<Kept>> {
        let folder = self.folders.of(id);
        let process = folder
            .read::<Process>(KEEPER)
            .ok()
            .and_then(|process| process.open());
        let Some(process) = process else {
            folder.remove();
            return None;
        };
        let outside = folder
            .read::<Launch>(LAUNCH)
            .ok()
            .and_then(|launch| launch.outside);
        let own = process.try_clone().ok();
        let owned = folder
            .read::<SandboxId>(OWNED)
            .is_ok_and(|owner| owner == *id);
        match Kept::hold(id.clone(), folder.clone(), process, outside) {
            Ok(kept) if owned => {
                self.ids.note(outside);
                Some(Arc::new(kept))
            }
            // One that is nobody's, or doesn't answer, is no use to anybody.
            _ => {
                own.map(|process| pidfd_send_signal(&process, Signal::KILL));
                folder.remove();
                None
            }
        }
    }
}
