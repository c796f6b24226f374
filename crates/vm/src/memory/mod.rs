//! Memory of machines as files, page by page.
//!
//! ```text
//!   ranges    which pages: sets of them, and their form on disk
//!   layers    files above each other, of which the topmost that has a page counts; what differs
//!             from that in a file that goes on changing
//!   pages     bytes of pages, read and written so that zeros take no room
//! ```
//!
//! A page has 4 KiB, whatever the host's are. One that is zero is as good as one that was never
//! written, and the other way round: so a page that *became* zero is a change like any other, and
//! has to be said, since nothing is there to be seen.

mod layers;
mod pages;
mod ranges;

pub use layers::Layers;
pub use ranges::{PAGE, Ranges};
