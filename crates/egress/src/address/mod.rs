//! Which addresses a sandbox may be connected to: the guard against server-side request forgery.
//!
//! The proxy dials on behalf of untrusted code, from a place that sees more than that code should:
//! loopback, the local network, the cloud's metadata service. So an address is judged after the
//! name was resolved and before anything is dialled, and the address that was judged is dialled.
//!
//! ```text
//! IpAddr ──classify──▶ Class        what the address is, by the IANA registries alone
//!            │
//!            └──Guard::check──▶ may it be dialled, given what the policy says of the target
//! ```
//!
//! Addresses that carry an IPv4 address inside them (v4-mapped, NAT64, 6to4, Teredo, …) are judged
//! by what is inside: that's where the packets end up.
//!
//! Sources: the IANA special-purpose registries (RFC 6890, RFC 8190); RFC 4291, 6052, 8215, 3056,
//! 4380, 5214, 7915.

mod class;
mod guard;

pub(crate) use class::carried;
pub use class::{Class, canonical, classify};
pub use guard::{CONTROL_PLANE_PORTS, GATEWAY_NAMES, Guard, MAX_ADDRESSES, Refused, Target};
