//! What survives: pages of a canister's memory, and the calls since they were written.
//!
//! A guest's run depends on its call alone, so the record of a call is the call: to recover is to
//! load the overlays, the oldest first, and to run the log again. A record is written before anybody
//! is told of its call, and checked by its length and a CRC; what a crash left of the last one is cut
//! off.
//!
//! - [`directory`]: the folder, and its one owner
//! - [`document`](mod@document): what a canister is, and which files hold the rest
//! - [`overlay`]: pages in a file
//! - [`log`]: calls in a file

mod directory;
mod document;
mod error;
mod log;
mod overlay;

pub use directory::{Directory, write_whole};
pub use document::Document;
pub use error::StoreError;
pub use log::{Durability, Journal, Record};
pub use overlay::{Overlay, write_overlay};
