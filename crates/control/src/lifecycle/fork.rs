//! Forks: others that go on from where a sandbox stands.
//!
//! It is written once, without a name; each fork is made from that, with an id and tokens of its
//! own, and then what was written is removed.

use crate::clock::later;
use crate::control::{By, Control};
use crate::keys::Key;
use crate::problem::Problem;
use crate::random;
use crate::record::{Lifetime, Record};
use casemate_core::sandbox::lifecycle::State;
use casemate_core::sandbox::{Keep, SnapshotId, Wish};
use futures_util::future::join_all;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

impl Control {
    /// Makes so many forks of a sandbox that runs, which goes on. Each is made, or says why not.
    pub(crate) async fn fork(
        &self,
        key: &Arc<Key>,
        id: &str,
        count: usize,
        timeout: Duration,
    ) -> Result<Vec<Result<Arc<Record>, Problem>>, Problem> {
        self.short_enough(Some(timeout))?;
        let by = By::Key(Arc::clone(key));
        let sandbox = self.find(id)?;
        let (record, snapshot) = {
            let _gate = sandbox.gate.lock().await;
            let snapshot = self.write_held(&by, &sandbox, None, Keep::Memory).await?;
            (sandbox.record(), snapshot)
        };
        let forks = (0..count).map(|_| async {
            let fork = self.forked(key, &record, &snapshot.id, timeout)?;
            self.admit(key, fork, |_| None).await
        });
        let forks = join_all(forks).await;
        self.drop_snapshot(&snapshot.id).await;
        let made = forks.iter().flatten().map(|fork| fork.id.to_string());
        let detail = json!({ "asked": count, "made": made.collect::<Vec<_>>() });
        let entry = self.entry(&by, "sandbox.fork", &sandbox.id, None, detail);
        self.write(vec![entry]).await;
        Ok(forks)
    }

    /// What a fork is: what its source was asked to be, with tokens of its own.
    fn forked(
        &self,
        key: &Key,
        source: &Record,
        from: &SnapshotId,
        timeout: Duration,
    ) -> Result<Record, Problem> {
        let now = self.clock.now();
        let is_secure = source.wish.access_token.is_some();
        let is_private = source.traffic_token.is_some();
        Ok(Record {
            id: random::sandbox()?,
            key: key.id.clone(),
            state: State::Creating,
            reason: None,
            wish: Wish {
                from: Some(from.clone()),
                access_token: is_secure.then(random::token).transpose()?,
                ..source.wish.clone()
            },
            traffic_token: is_private.then(random::token).transpose()?,
            created: now,
            paused: None,
            ended: None,
            lifetime: Lifetime {
                first: Some(timeout),
                end: Some(later(now, timeout)),
                ..source.lifetime
            },
            ..source.clone()
        })
    }
}
