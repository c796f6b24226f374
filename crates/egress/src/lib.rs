//! The way out: accept, identify, decide, splice or inspect.
//!
//! What is spoken on the way is read and written by modules that do no I/O. They take bytes of which
//! every one is hostile, bound what they keep, never panic, and refuse what could be read in two ways:
//!
//! | where to | what is said | what is done about it |
//! |---|---|---|
//! | [`dns`], [`host`], [`address`] | [`hello`], [`http1`], [`path`], [`json`], [`websocket`], [`graphql`], [`jsonrpc`], [`mcp`] | [`redact`], [`credentials`], [`denial`], [`audit`] |
//!
//! [`proxy`] is what does the I/O. What may leave is decided by a policy, or by what the clients of
//! a platform ask for: [`open`].

pub mod address;
pub mod audit;
mod civil;
pub mod credentials;
pub mod denial;
pub mod dns;
pub mod graphql;
pub mod hello;
pub mod host;
pub mod http1;
pub mod json;
pub mod jsonrpc;
pub mod mcp;
pub mod open;
pub mod path;
mod percent;
pub mod proxy;
pub mod redact;
pub mod websocket;
