//! Credentials that the sandbox uses and never sees.
//!
//! The program in the sandbox holds a placeholder; the secret is put in its place on the way out,
//! and only on the way to where the credential belongs:
//!
//! ```text
//! Authorization: Bearer openshell:resolve:env:TOKEN
//!        │ placeholder::find
//!        ▼
//! Credentials::resolve(TOKEN, api.example.com:443 /v1/…) ── bound there? ──▶ the secret
//!        │                                                └─ no ──▶ Refusal, nothing is sent
//!        ▼
//! Authorization: Bearer s3cr3t
//! ```
//!
//! Forms of placeholders, `NAME` being letters, digits and underscores:
//! - `casemate:credential:NAME`
//! - `openshell:resolve:env:NAME`, also with a revision before the name (`v2_NAME`, `s<64 hex>_NAME`)
//! - `prefix-OPENSHELL-RESOLVE-ENV-NAME`, for programs that check what a credential looks like
//!
//! Secrets are kept in [memory](casemate_sys::secret) that is cleared when it's given back, and no
//! `Debug` prints them. The head and body that are sent upstream hold them too; those are the
//! caller's.
//!
//! A credential can also be [injected](Injection) without a placeholder, and AWS keys
//! [sign](sigv4).

mod binding;
mod inject;
mod placeholder;
mod rewrite;
mod secret;
pub mod sigv4;
mod store;
mod stream;

pub use binding::{Binding, Destination, InvalidBinding};
pub use inject::{Form, Injection};
pub use placeholder::{MAX_ALIAS_PREFIX_BYTES, MAX_NAME_BYTES, mentions};
pub use rewrite::{Escape, Rewriter};
pub use secret::Secret;
pub use store::{Credential, Credentials, Refusal, SigningKeys};
pub use stream::{HELD_BACK_BYTES, StreamRewriter};
