//! What a sandbox's agent is asked, as types and Connect services.
//!
//! The contract is written in `proto/` and compiled by the build script. The framework behind
//! the generated code changes often; it is named in this crate, so that one crate changes with it.

pub use buffa;
pub use buffa_types;
pub use connectrpc;

#[expect(missing_docs, reason = "generated")]
mod generated {
    connectrpc::include_generated!();
}

pub use generated::{filesystem, process};
