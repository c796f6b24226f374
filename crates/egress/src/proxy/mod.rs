//! The proxy: everything that leaves a sandbox goes through here, or not at all.
//!
//! ```text
//!  connect(2) ──▶ the wall's supervisor ── who? ──▶ openers
//!                          │                           │ by (source, destination)
//!                          ▼                           ▼
//!  program's socket ══▶ listener ──▶ accept ──▶ decide ──▶ dial ──▶ relay ══▶ the world
//!                                                 │          │         │
//!                         DNS ──▶ names ──────────┘        guard    SNI check
//! ```
//!
//! The listeners are sockets of the sandbox's network namespace; the dialling happens in the
//! namespace of the host. What decides is what the kernel says: the destination is the accepted
//! connection's own address, and who opened it was found out while it waited in connect(2).
//!
//! - [`openers`]: who opened the connections that are about to arrive
//! - [`names`]: which names the sandbox was given for an address; [`lookup`]: where they come from
//! - [`decide`]: identity, names and policy together; a [`Permit`] is what it gives
//! - [`named`]: hosts that only the program's first words tell
//! - [`explicit`]: clients that know that there is a proxy: CONNECT, absolute-form HTTP, SOCKS5
//! - [`places`]: how many connections there are, and how many of them one program may have
//! - [`dial`], [`relay`]: the connection out, and the bytes
//! - [`fast`]: connections that are only bytes, which the program gets itself; [`afterwards`]: what
//!   is written down of them; [`handed`]: their end
//! - [`inspect`]: what is said, where the policy has rules for that
//! - [`queries`]: DNS; [`ledger`]: what happened, by program and host; [`journal`]: the audit log
//! - [`quota`]: limits of entries
//! - [`learn`]: what nothing allows, let through to be written down
//! - [`reload`]: another policy, while connections are open
//! - [`phases`]: how long things take, for [`metrics`] (fetched at [`scrape`]), the [`perf`] log and
//!   [`spans`]; [`heartbeat`]: how late the executor is
//! - [`alone`]: explicit clients of a proxy that has no sandbox

mod accept;
mod afterwards;
mod alone;
mod decide;
mod dial;
mod explicit;
mod fast;
mod handed;
mod heartbeat;
mod inspect;
mod journal;
mod learn;
mod ledger;
mod lookup;
mod metrics;
mod named;
mod names;
mod openers;
mod perf;
mod phases;
mod places;
mod policy;
mod queries;
mod quota;
mod relay;
mod reload;
mod scrape;
mod shared;
mod sniff;
mod spans;

pub use alone::Entrance;
pub use decide::Permit;
pub use fast::{Direct, Wish};
pub use inspect::{Authority, Inspection, Patience};
pub use journal::Journal;
pub use learn::{Learning, Refusal, Seen};
pub use metrics::Metrics;
pub use perf::PerfLog;
pub use phases::{Phase, Phases};
pub use policy::Policy;
pub use reload::Reloading;
pub use scrape::{Numbers, Scrape, scrape};
pub use shared::{Config, Opening, Proxy, Sockets};
pub use spans::{Side, Span, Spans, Value as SpanValue, identity};
