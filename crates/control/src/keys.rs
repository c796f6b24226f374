//! API keys: `e2b_` and 160 random bits.
//!
//! Only SHA-256 of a key is kept: it is as hard to guess as the key itself. A key is shown once,
//! when it is made; later only how it begins and ends.

use crate::census::lock;
use crate::problem::Problem;
use crate::quota::Quotas;
use crate::random;
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

/// What every key begins with; E2B's older SDKs insist on it.
pub(crate) const PREFIX: &str = "e2b_";
/// Characters after it.
pub(crate) const LENGTH: usize = 40;
/// Characters of each end that are shown.
const SHOWN: usize = 4;

/// What a key may do; each may what the one before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at sandboxes.
    Read,
    /// Make, use and end them.
    Run,
    /// Keys, nodes and the audit journal.
    Admin,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Run => "run",
            Self::Admin => "admin",
        })
    }
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// A UUID.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// SHA-256 of the whole key.
    pub hash: [u8; 32],
    /// How it begins after the prefix.
    pub first: String,
    /// How it ends.
    pub last: String,
    /// What it may do.
    pub scope: Scope,
    /// What it may use.
    pub quotas: Quotas,
    /// When it was made.
    pub created: Timestamp,
    /// When it was used, to the minute.
    pub used: Option<Timestamp>,
}

impl Key {
    /// A new key, and its secret.
    pub(crate) fn new(
        name: String,
        scope: Scope,
        quotas: Quotas,
        now: Timestamp,
    ) -> Result<(Self, String), Problem> {
        let random = casemate_core::hex::encode(&random::bytes::<{ LENGTH / 2 }>()?);
        let secret = format!("{PREFIX}{random}");
        let key = Self {
            id: random::uuid()?,
            name,
            hash: Sha256::digest(&secret).into(),
            first: random[..SHOWN].to_owned(),
            last: random[LENGTH - SHOWN..].to_owned(),
            scope,
            quotas,
            created: now,
            used: None,
        };
        Ok((key, secret))
    }

    /// The key if its scope is enough.
    pub(crate) fn may(self: Arc<Self>, scope: Scope) -> Result<Arc<Self>, Problem> {
        match self.scope >= scope {
            true => Ok(self),
            false => Err(Problem::new(
                StatusCode::FORBIDDEN,
                format!(
                    "this API key's scope is '{}', and this needs '{scope}'",
                    self.scope
                ),
            )),
        }
    }
}

/// The keys that are valid.
#[derive(Default)]
pub(crate) struct Keyring(Mutex<HashMap<[u8; 8], Vec<Arc<Key>>>>);

impl Keyring {
    /// Adds a key, or puts it in the place of the one with its id.
    pub(crate) fn put(&self, key: Key) {
        let mut keys = lock(&self.0);
        let shelf = keys.entry(shelf(&key.hash)).or_default();
        shelf.retain(|other| other.id != key.id);
        shelf.push(Arc::new(key));
    }

    /// Records that a key was used, if it still is one.
    pub(crate) fn used(&self, key: &Key, now: Timestamp) -> bool {
        let mut keys = lock(&self.0);
        let known = keys.get_mut(&shelf(&key.hash)).into_iter().flatten();
        let known = known.into_iter().find(|known| known.id == key.id);
        if let Some(known) = known {
            *known = Arc::new(Key {
                used: Some(now),
                ..Key::clone(known)
            });
            return true;
        }
        false
    }

    /// Takes a key away.
    pub(crate) fn remove(&self, id: &str) {
        let mut keys = lock(&self.0);
        keys.retain(|_, shelf| {
            shelf.retain(|key| key.id != id);
            !shelf.is_empty()
        });
    }

    /// The key with this secret. What is looked up by is a part of the digest, which tells nothing
    /// of the secret; the rest is compared in constant time.
    pub(crate) fn with_secret(&self, secret: &str) -> Option<Arc<Key>> {
        let hash: [u8; 32] = Sha256::digest(secret).into();
        let keys = lock(&self.0);
        let shelf = keys.get(&shelf(&hash))?;
        let found = shelf.iter().find(|key| key.hash.ct_eq(&hash).into());
        found.cloned()
    }

    /// The key with this id.
    pub(crate) fn with_id(&self, id: &str) -> Option<Arc<Key>> {
        let keys = lock(&self.0);
        keys.values().flatten().find(|key| key.id == id).cloned()
    }

    /// All, the oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Key>> {
        let mut all: Vec<_> = lock(&self.0).values().flatten().cloned().collect();
        all.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        all
    }
}

fn shelf(hash: &[u8; 32]) -> [u8; 8] {
    let mut shelf = [0; 8];
    shelf.copy_from_slice(&hash[..8]);
    shelf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_secret_alone() {
        let ring = Keyring::default();
        let (key, secret) = Key::new(
            "k".into(),
            Scope::Run,
            Quotas::default(),
            Timestamp::UNIX_EPOCH,
        )
        .unwrap();
        ring.put(key.clone());
        assert!(secret.starts_with(PREFIX) && secret.len() == PREFIX.len() + LENGTH);
        assert_eq!(
            ring.with_secret(&secret).map(|key| key.id.clone()),
            Some(key.id.clone())
        );
        assert!(ring.with_secret(&secret[..43]).is_none());
        assert!(ring.with_secret("").is_none());
        ring.remove(&key.id);
        assert!(ring.with_secret(&secret).is_none());
    }

    #[test]
    fn a_scope_holds_the_lesser_ones() {
        let (key, _) = Key::new(
            "k".into(),
            Scope::Run,
            Quotas::default(),
            Timestamp::UNIX_EPOCH,
        )
        .unwrap();
        let key = Arc::new(key);
        assert!(Arc::clone(&key).may(Scope::Read).is_ok());
        assert!(Arc::clone(&key).may(Scope::Run).is_ok());
        assert_eq!(
            key.may(Scope::Admin).unwrap_err().status,
            StatusCode::FORBIDDEN
        );
    }
}
