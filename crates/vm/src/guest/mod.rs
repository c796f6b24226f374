//! What a machine is made from.
//!
//! ```text
//!   kernel      the user's own, or Debian's, fetched and never installed here
//!     modules     what it needs beyond itself, in load order        (modinfo)
//!   first       the program that the kernel starts: 5 kB without any library
//!   initramfs   first, its modules and their list, as an archive    (cpio)
//!   disk        ext4 images from folders and tarballs; copies of them
//!     tools       the second disk: the agent, the same for every root
//!   setup       all of it in one folder, with a manifest
//! ```
//!
//! Nothing here runs as part of a machine, and nothing is taken from one: these files are made
//! once, by whoever sets the node up, and machines get them read-only or as copies.
//! `docs/decisions/0024-vm-guest.md` says why they are what they are.

mod cpio;
mod debian;
pub mod disk;
pub mod first;
pub mod initramfs;
pub mod kernel;
mod modinfo;
pub mod modules;
pub mod setup;
mod tool;

pub use debian::Package;
