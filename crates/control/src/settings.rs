//! What the control plane is told once, when it starts.

use crate::quota::Quotas;
use casemate_core::sandbox::Resources;
use std::path::PathBuf;
use std::time::Duration;

/// The version of E2B's guest agent that ours is compatible with; the SDKs choose features by it.
pub const ENVD_VERSION: &str = "0.6.13";

/// How the control plane behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The SQLite file; it is made if it isn't there.
    pub store: PathBuf,
    /// The domain under which sandboxes are reached (`{port}-{id}.domain`). Without one, clients are
    /// told nothing, and use the URL that they were configured with.
    pub domain: Option<String>,
    /// What each key may use, where the key itself doesn't say.
    pub quotas: Quotas,
    /// What a sandbox may use, where the request doesn't say.
    pub resources: Resources,
    /// The most that one request may ask for; a longer timeout (and none at all) is refused.
    pub longest: Option<Duration>,
    /// The name of the node, in answers and in the store.
    pub node: String,
    /// Bytes of a request's body.
    pub largest_body: usize,
}

impl Settings {
    /// The defaults, with this store.
    pub fn new(store: impl Into<PathBuf>) -> Self {
        Self {
            store: store.into(),
            domain: None,
            quotas: Quotas::default(),
            resources: Resources::default(),
            longest: None,
            node: "local".into(),
            largest_body: 1 << 20,
        }
    }
}
