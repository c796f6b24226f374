//! Events as OCSF 1.8.0 has them.
//!
//! Five classes are used, with the profile `security_control` for what was decided. What OCSF has
//! no place for is in `unmapped`.
//!
//! Source: the Open Cybersecurity Schema Framework, version 1.8.0.

mod kind;
mod objects;
mod record;

pub use kind::{FindingActivity, HttpActivity, Kind, LifecycleActivity, NetworkActivity};
pub use record::HttpRequest;

/// The version of the schema.
pub const VERSION: &str = "1.8.0";
