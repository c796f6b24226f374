//! What the processes of the Wasm wall need beyond what a sandbox needs.
//!
//! - [`image`]: which build of a program this is
//! - [`memory`]: what becomes of this process's pages, for good
//! - [`root`]: a root folder in which nothing is
//!
//! Their filters are in [`crate::seccomp::guest`].

pub mod image;
pub mod memory;
pub mod root;
