//! What the gateway asks of who knows the sandboxes.

use casemate_core::node::Refusal;
use casemate_core::sandbox::SandboxId;
use casemate_core::sandbox::lifecycle::State;
use std::pin::Pin;

/// An answer that may take a while.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who knows the sandboxes: the control plane.
pub trait Sandboxes: Send + Sync {
    /// What is known of a sandbox. It's asked for every request.
    fn find<'a>(&'a self, id: &'a SandboxId) -> Soon<'a, Option<Sandbox>>;

    /// The sandbox for whose access token this signature was made, among all that aren't gone.
    /// Whether it has expired is for the agent to say, which has the sandbox's clock.
    fn find_by_signature<'a>(&'a self, signed: &'a Signed) -> Soon<'a, Option<SandboxId>>;

    /// Continues a sandbox that is paused or just being paused, or waits for one that is just being
    /// continued; answers when it runs. The request is held meanwhile; if its client goes, this is
    /// no longer waited for, which must not leave the sandbox half awake.
    fn wake<'a>(&'a self, id: &'a SandboxId) -> Soon<'a, Result<(), Refusal>>;

    /// A sandbox is being used. Called when a request begins and ends, and now and then in between
    /// while bytes move: about once a second at most. It must not block.
    fn touch(&self, id: &SandboxId);

    /// Answers when what ran in a sandbox is gone: at once if it is, or there is no such sandbox. A
    /// pause is no end. Everything open to the sandbox is then cut off.
    fn ended<'a>(&'a self, id: &'a SandboxId) -> Soon<'a, ()>;
}

/// What is known of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Where in its life it is.
    pub state: State,
    /// A request continues it if it's paused.
    pub resumes: bool,
    /// What the agent's callers show; `None` lets everybody call it. The agent checks it by itself;
    /// here it decides who may wake the sandbox.
    pub access_token: Option<String>,
    /// What callers of its ports show, if they aren't public.
    pub traffic: Traffic,
    /// What programs inside are told that the host is, instead of what the client asked for. In it,
    /// `${PORT}` is the port.
    pub mask_host: Option<String>,
}

/// Who may reach a sandbox's ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Traffic {
    /// Everybody.
    Public,
    /// Who shows this token.
    Private(String),
}

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading a file.
    Read,
    /// Writing one.
    Write,
}

impl Operation {
    /// The word that is signed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// A request for a file with a signature in place of a token; its parts are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The file's path, as the client wrote it.
    pub path: String,
    /// What is to be done with it.
    pub operation: Operation,
    /// The user's name; empty if none was given.
    pub user: String,
    /// The signature, with its version's prefix.
    pub signature: String,
    /// When it expires, in Unix seconds and as the client wrote it.
    pub expiration: Option<String>,
}
