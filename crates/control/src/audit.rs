//! The journal of who changed what.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// The actor of what nobody asked for: the end of a timeout, a wake-up, a restart.
pub(crate) const ITSELF: &str = "casemate";

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its number; later ones are higher.
    pub id: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The id of an API key, or `casemate`.
    pub actor: String,
    /// What was done: `sandbox.create`, `key.revoke`, …
    pub action: String,
    /// To which sandbox or key.
    pub target: String,
    /// Why it failed; nothing if it was done.
    #[serde(rename = "error", skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What was asked for.
    #[schema(value_type = Object)]
    pub detail: Value,
}
