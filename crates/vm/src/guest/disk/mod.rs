//! Disks of machines: images of ext4, and copies of them.
//!
//! ```text
//!   folder or tarball ──▶ image      mke2fs fills it: nothing is mounted        (filled)
//!   image             ──▶ copy       one that shares its blocks where it can    (copy)
//!   image             ──▶ overlay    one that shows it where it hasn't been written (overlay)
//!   program           ──▶ tools      the disk that holds the agent
//! ```
//!
//! No root is needed for any of it except to unpack a tarball, whose files belong to many users. An
//! image is a sparse file: it takes what is written in it.

mod copy;
mod filled;
mod overlay;
mod tools;

pub use copy::copy;
pub use filled::{Contents, Purpose, filled};
pub use overlay::overlay;
pub use tools::tools;
