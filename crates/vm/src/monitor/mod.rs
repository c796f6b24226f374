//! What all monitors have in common: a process that is supervised, and files that are whole or not
//! there.
//!
//! - [`process`]: a monitor's process, and its end; [`tail`]: the last of what it and its guest said
//! - [`fate`]: what is known of how a machine ends
//! - [`draft`]: a snapshot's folder in the making

pub(crate) mod draft;
pub(crate) mod fate;
pub(crate) mod process;
pub(crate) mod tail;

use casemate_core::error::{Error, Result};

/// Work with files, of which there may be much.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::rule("work with files", error.to_string())))
}
