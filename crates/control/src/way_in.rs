//! What the gateway asks: who may reach a sandbox, and to wake it.

use crate::census::Sandbox;
use crate::control::Control;
use crate::problem::Problem;
use crate::record::Record;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use casemate_core::sandbox::SandboxId;
use casemate_core::sandbox::lifecycle::State;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// What is to be known of a sandbox to let a request in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayIn {
    /// Which.
    pub id: SandboxId,
    /// Where in its life it is. Only a running one is reached.
    pub state: State,
    /// It doesn't run now, but [`Control::wake`] makes it run, or waits until it does.
    pub wakes: bool,
    /// What the agent asks for; `None` lets everybody.
    pub access_token: Option<String>,
    /// What callers of its ports have to show; `None` lets everybody.
    pub traffic_token: Option<String>,
    /// The `Host` that programs inside are to see; `${PORT}` stands for the port.
    pub mask_host: Option<String>,
}

impl WayIn {
    fn of(record: &Record) -> Self {
        Self {
            id: record.id.clone(),
            state: record.state,
            wakes: match record.state {
                State::Pausing | State::Paused => record.lifetime.auto_resume,
                state => state == State::Resuming,
            },
            access_token: record.wish.access_token.clone(),
            traffic_token: record.traffic_token.clone(),
            mask_host: record.network.mask_request_host.clone(),
        }
    }
}

/// A signed URL, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// `v1_` and a digest.
    pub signature: &'a str,
    /// The file.
    pub path: &'a str,
    /// `read` or `write`.
    pub operation: &'a str,
    /// Whose file; empty if nobody is named.
    pub user: &'a str,
    /// Seconds since 1970. Whether they are over is the agent's to say.
    pub expiration: Option<u64>,
}

impl Control {
    /// The way into a sandbox; `None` if there is no such sandbox, or not any more.
    pub async fn look_up(&self, id: &SandboxId) -> Option<WayIn> {
        let record = self.census.living(id)?.record();
        record.is_there().then(|| WayIn::of(&record))
    }

    /// Makes a paused sandbox run, if it was made to be woken. Of many callers at once, one wakes it.
    ///
    /// # Errors
    /// It isn't there, doesn't wake by requests, or couldn't be resumed.
    pub async fn wake(self: &Arc<Self>, id: &SandboxId) -> Result<WayIn, Problem> {
        let sandbox = self.census.living(id);
        let sandbox = sandbox.ok_or_else(|| Problem::no_sandbox(id.as_str()))?;
        let control = Arc::clone(self);
        let roused = Arc::clone(&sandbox);
        self.carry_out(async move { control.rouse(&roused).await })
            .await?;
        Ok(WayIn::of(&sandbox.record()))
    }

    /// The sandbox whose token a URL was signed with. It is compared with those of all: a URL names
    /// no sandbox when clients are told one URL for all of them.
    pub async fn find_by_signature(&self, signed: Signed<'_>) -> Option<SandboxId> {
        let digest = signed.signature.strip_prefix("v1_")?;
        let digest = STANDARD_NO_PAD.decode(digest).ok()?;
        let common = Sha256::new()
            .chain_update(signed.path)
            .chain_update(":")
            .chain_update(signed.operation)
            .chain_update(":")
            .chain_update(signed.user)
            .chain_update(":");
        let expiration = signed
            .expiration
            .map(|at| format!(":{at}"))
            .unwrap_or_default();
        let signs = |sandbox: &&Arc<Sandbox>| {
            let record = sandbox.record();
            let token = record
                .wish
                .access_token
                .as_ref()
                .filter(|_| record.is_there());
            token.is_some_and(|token| {
                let own = common.clone().chain_update(token).chain_update(&expiration);
                own.finalize().ct_eq(digest.as_slice()).into()
            })
        };
        let all = self.census.everybody();
        all.iter().find(signs).map(|sandbox| sandbox.id.clone())
    }

    /// Answers when what ran in a sandbox is gone: at once if there is no such sandbox. A pause is no
    /// end.
    pub async fn until_ended(&self, id: &SandboxId) {
        if let Some(sandbox) = self.census.living(id) {
            sandbox.until_over().await;
        }
    }

    /// Somebody uses a sandbox: what ends when it is idle begins to wait anew. To be called for each
    /// request, and now and then for a connection that lasts; it costs a look-up and a store to memory.
    pub fn touch(&self, id: &SandboxId) {
        if let Some(sandbox) = self.census.living(id) {
            sandbox.touch(self.clock.now());
        }
    }
}
