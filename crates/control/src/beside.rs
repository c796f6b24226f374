//! What else is served on the port asks: whose a request is, what they may use, and to write down what
//! they change.

use crate::control::{By, Control};
use crate::keys::Key;
use crate::problem::Problem;
use crate::quota::Quotas;
use http::HeaderMap;
use serde_json::json;
use std::sync::Arc;

impl Control {
    /// Whose key a request with these headers brings.
    ///
    /// # Errors
    /// It brings none, or none that is valid.
    pub fn whose(self: &Arc<Self>, headers: &HeaderMap) -> Result<Arc<Key>, Problem> {
        crate::rest::key(self, headers)
    }

    /// What a key may use: what it says itself, and else what all may.
    pub fn quotas(&self, key: &Key) -> Quotas {
        key.quotas.or(self.settings.quotas)
    }

    /// Writes a line of the audit journal: who has the key of this id changed something, or couldn't, and why. It
    /// doesn't wait for the store.
    pub fn journal(
        self: &Arc<Self>,
        key: &str,
        action: &str,
        target: &str,
        failed: Option<&Problem>,
    ) {
        let by = self.keys.with_id(key).map_or(By::Itself, By::Key);
        let entry = self.entry(&by, action, target, failed, json!({}));
        let control = Arc::clone(self);
        self.tasks
            .spawn(async move { control.write(vec![entry]).await });
    }
}
