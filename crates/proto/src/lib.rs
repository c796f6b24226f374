//! What a sandbox's agent is asked, as types and Connect services.
//!
//! The contract is written in `proto/` and compiled by the build script. The framework behind
//! the generated code changes often; it is named in this crate, so that one crate changes with it.

pub mod signal;

pub use buffa;
pub use buffa_types;
pub use connectrpc;

#[expect(missing_docs, reason = "generated")]
mod generated {
    connectrpc::include_generated!();
}

pub use generated::{filesystem, process};

/// The alternatives of messages that are one of several things.
pub mod oneof {
    /// What a watched folder tells.
    pub use crate::generated::filesystem::__buffa::oneof::watch_dir_response::Event as WatchEvent;
    pub use crate::generated::process::__buffa::oneof::process_event::Event;
    pub use crate::generated::process::__buffa::oneof::process_event::data_event::Output;
    pub use crate::generated::process::__buffa::oneof::process_input::Input;
    pub use crate::generated::process::__buffa::oneof::process_selector::Selector;
    pub use crate::generated::process::__buffa::oneof::stream_input_request::Event as InputEvent;
}
