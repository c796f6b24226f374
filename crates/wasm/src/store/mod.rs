//! What survives: pages of a canister's memory, and the calls since they were written.
//!
//! A guest's run depends on its call alone, so the record of a call is the call: to recover is to
//! load the overlays, the newest on top, and to run the log again. A record is written before anybody
//! is told of its call, and checked by its length and a CRC; what a crash left of the last ones is
//! cut off.
//!
//! ```text
//!  canister.json ─▶ 12.pages  15.pages  16.pages   memory at checkpoint 16: base and overlays
//!                └▶ 16.calls                        the calls since
//! ```
//!
//! - [`directory`]: the folder, and its one owner
//! - [`document`](mod@document): what a canister is, and which files hold the rest
//! - [`checkpoint`]: from one document to the next
//! - [`history`]: checkpoints that stay
//! - [`overlay`]: pages in a file, and several of those
//! - [`log`]: calls in a file, which is made of [`frames`]
//! - [`group`]: one sync for many calls
//! - [`archive`]: a canister in one file, to carry elsewhere
//! - [`disk`]: each step that is taken

mod archive;
mod checkpoint;
mod directory;
pub(crate) mod disk;
mod document;
mod error;
mod frames;
mod group;
mod history;
mod log;
mod overlay;

pub use archive::{export, import};
pub use checkpoint::{Checkpoint, Pages, sweep};
pub use directory::Directory;
pub use disk::write_whole;
pub use document::Document;
pub use error::StoreError;
pub use group::{Kept, Written};
pub use history::{History, Milestone};
pub use log::{Durability, Journal, Record};
pub use overlay::{Base, Overlay, load, write_overlay};
