//! The node, with a span of each thing that it's asked for, and a line in the log where it failed:
//! clients are told less.

use casemate_core::node::{Door, Ended, Kept, Node, Refusal, Reply};
use casemate_core::sandbox::{Keep, Outward, SandboxId, SnapshotId, Usage, Wish};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tracing::{Instrument as _, Span, info_span};

/// See the module.
pub(super) struct Watched(pub(super) Arc<dyn Node>);

fn watched<'a, T: 'a>(span: Span, reply: Reply<'a, T>) -> Reply<'a, T> {
    let watched = async move {
        let done = reply.await;
        match &done {
            Err(Refusal::Failed(error)) => tracing::error!(%error, "the node failed"),
            Err(refusal @ (Refusal::Full(_) | Refusal::Slow(_))) => {
                tracing::warn!(%refusal, "the node declined");
            }
            Err(refusal) => tracing::debug!(%refusal, "the node refused"),
            Ok(_) => {}
        }
        done
    };
    Box::pin(watched.instrument(span))
}

impl Node for Watched {
    fn stores(&self) -> bool {
        self.0.stores()
    }

    fn create<'a>(&'a self, id: &'a SandboxId, wish: &'a Wish) -> Reply<'a, ()> {
        let span = info_span!("create", sandbox = id.as_str());
        watched(span, self.0.create(id, wish))
    }

    fn kill<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, ()> {
        let span = info_span!("kill", sandbox = id.as_str());
        watched(span, self.0.kill(id))
    }

    fn pause<'a>(&'a self, id: &'a SandboxId, keep: Keep) -> Reply<'a, ()> {
        let span = info_span!("pause", sandbox = id.as_str());
        watched(span, self.0.pause(id, keep))
    }

    fn resume<'a>(&'a self, id: &'a SandboxId, wish: &'a Wish, keep: Keep) -> Reply<'a, ()> {
        let span = info_span!("resume", sandbox = id.as_str());
        watched(span, self.0.resume(id, wish, keep))
    }

    fn greet<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, ()> {
        watched(info_span!("greet", sandbox = id.as_str()), self.0.greet(id))
    }

    fn snapshot<'a>(
        &'a self,
        id: &'a SandboxId,
        name: &'a SnapshotId,
        keep: Keep,
    ) -> Reply<'a, ()> {
        let span = info_span!("snapshot", sandbox = id.as_str(), snapshot = name.as_str());
        watched(span, self.0.snapshot(id, name, keep))
    }

    fn discard<'a>(&'a self, name: &'a SnapshotId) -> Reply<'a, ()> {
        let span = info_span!("discard", snapshot = name.as_str());
        watched(span, self.0.discard(name))
    }

    fn snapshots(&self) -> Reply<'_, Vec<SnapshotId>> {
        watched(info_span!("snapshots"), self.0.snapshots())
    }

    fn restrict<'a>(&'a self, id: &'a SandboxId, outward: &'a Outward) -> Reply<'a, ()> {
        let span = info_span!("restrict", sandbox = id.as_str());
        watched(span, self.0.restrict(id, outward))
    }

    /// Asked every few seconds of each, so not written down.
    fn usage<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, Usage> {
        self.0.usage(id)
    }

    fn dial<'a>(&'a self, id: &'a SandboxId, to: Door) -> Reply<'a, OwnedFd> {
        watched(info_span!("dial"), self.0.dial(id, to))
    }

    fn list(&self) -> Reply<'_, Vec<Kept>> {
        watched(info_span!("list"), self.0.list())
    }

    fn ended(&self) -> Reply<'_, Ended> {
        self.0.ended()
    }
}
