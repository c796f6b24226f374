//! The control plane: E2B's REST interface over sandboxes that a [`Node`](casemate_core::node::Node)
//! keeps.
//!
//! A request comes in by [`rest`], which knows HTTP and E2B's shapes. It finds its key in [`keys`],
//! becomes an operation of [`lifecycle`] on a sandbox of the [`census`], is measured against a
//! [`quota`], is done by the node, and is written to the [`store`] with a line of the [`audit`]
//! journal. What happens by itself ([`timers`], [`meters`]) is begun by [`Control::run`] and driven
//! by a [`Clock`]. The gateway asks its questions by the methods in [`way_in`].
//!
//! ```text
//!  client ──▶ rest ──▶ lifecycle ──▶ dyn Node            gateway ──▶ way_in ─┐
//!               │        │  ▲                                               │
//!             keys    census └── timers ◀── dyn Clock      census ◀─────────┘
//!               └──▶ ledger ──▶ dyn Store
//! ```
//!
//! It never knows what is behind the node: the whole interface is tested without privileges.

mod audit;
mod beside;
mod census;
mod clock;
mod control;
mod idempotency;
mod key_desk;
mod keys;
mod ledger;
mod lifecycle;
mod meters;
mod network;
mod problem;
mod quota;
mod random;
mod record;
mod rest;
mod settings;
mod snapshots;
pub mod store;
mod timers;
mod way_in;

pub use audit::Entry;
pub use clock::{Clock, Sleep, SystemClock};
pub use control::Control;
pub use keys::{Key, Scope};
pub use meters::{Level, Line, Sample};
pub use network::{EgressProxy, Network, Rule, Transform};
pub use problem::Problem;
pub use quota::Quotas;
pub use record::{AtEnd, Lifetime, Record, Snapshot};
pub use settings::{ENVD_VERSION, Settings};
pub use way_in::{Signed, WayIn};
