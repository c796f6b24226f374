//! The way in: one port for the platform's API, the agents and the programs in sandboxes.
//!
//! ```text
//!            ┌ patience ┐   ┌─ whose is it? ─┐   ┌─ may it, now? ─┐
//!  client ══▶│ accept   │══▶│ route          │══▶│ admit          │══▶ forward ══▶ the sandbox
//!            │ TLS, h2  │   │ Host, headers, │   │ state, tokens, │     │   one connection a
//!            └──────────┘   │ path, signature│   │ wake           │     │   request, from the
//!                           └───────┬────────┘   └────────────────┘     │   pool of its class
//!                                   ▼                                   ▼
//!                                  api                         Node::dial, when the pool has none
//! ```
//!
//! Everything that comes from a sandbox is hostile, and everything from a client is unknown. The
//! gateway reads a message's head completely, writes another one itself, and moves bodies without
//! keeping more than a few reads of them.
//!
//! - [`sandboxes`]: what the gateway asks the control plane, the [`Sandboxes`] trait
//! - [`route`]: whose a request is; [`admit`]: whether it may enter; [`answer`]: what is said if not
//! - [`cors`]: what pages of other origins may read
//! - [`class`]: interactive, calls, files, ports; [`pool`]: their connections, never shared
//! - [`inside`]: a sandbox as the gateway knows it, and its end
//! - [`dial`], [`link`]: a connection to a sandbox; [`paced`]: how fast its bytes may go;
//!   [`reads`]: how many come at once
//! - [`forward`]: a request there and a response back; upgrades; the path mode's rewriting
//! - [`accept`]: connections of clients; [`tls`]: certificates; [`dns`]: names for them
//! - [`metrics`]: numbers for Prometheus

mod accept;
mod admit;
mod answer;
mod class;
mod cors;
mod dial;
pub mod dns;
mod forward;
mod gateway;
mod inside;
mod link;
pub mod metrics;
mod paced;
mod pool;
mod reads;
mod route;
mod sandboxes;
mod settings;
mod tasks;
pub mod tls;

pub use accept::Client;
pub use answer::Body;
pub use gateway::Gateway;
pub use metrics::Metrics;
pub use sandboxes::{Operation, Sandbox, Sandboxes, Signed, Soon, Traffic};
pub use settings::{Patience, Settings};
