//! Who asks.

use crate::fault::{Fault, Kind};
use crate::quota::Quotas;
use http::HeaderMap;
use std::fmt;

/// Who knows the API keys.
pub trait Callers: Send + Sync {
    /// Whoever sent a request with these headers.
    fn recognise(&self, headers: &HeaderMap) -> Result<Caller, Fault>;

    /// Writes down that somebody changed something: `action` of `target`, and why it failed if it did.
    fn note(&self, caller: &Caller, action: &'static str, target: &str, outcome: Option<&Fault>);
}

/// Somebody who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The id of the API key; `None` for this machine's user, who needs none.
    pub id: Option<String>,
    /// What they may do.
    pub scope: Scope,
    /// What they may use.
    pub quotas: Quotas,
}

impl Caller {
    /// The user whose folder it is.
    #[must_use]
    pub fn user() -> Self {
        Self {
            id: None,
            scope: Scope::Run,
            quotas: Quotas::default(),
        }
    }

    pub(crate) fn may(self, scope: Scope) -> Result<Self, Fault> {
        match self.scope >= scope {
            true => Ok(self),
            false => Err(Fault::new(
                Kind::Forbidden,
                format!(
                    "this API key's scope is '{}', and this needs '{scope}'",
                    self.scope
                ),
            )),
        }
    }
}

/// What a key may do with canisters; each may what the one before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Look at them.
    Read,
    /// Call, make and remove them.
    Run,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Run => "run",
        })
    }
}
