//! Names that every part of Casemate shares.
//!
//! A run starts as a [`spec::SandboxSpec`]: what the caller asked for, checked for form but
//! not yet for this machine. The wall turns it into processes and mounts, enforces its
//! [`limits::Limits`], and ends with a [`report::Report`] and an [`exit::Outcome`]. What goes
//! wrong on the way is an [`error::Error`], which always says what was tried, on what, and why
//! it failed.
//!
//! A sandbox that outlives its command, as the platform keeps them, is a [`sandbox`] on a
//! [`node`].
//!
//! This crate does no I/O.

pub mod carriers;
pub mod error;
pub mod exit;
pub mod flow;
pub mod guest;
pub mod hex;
pub mod layer;
pub mod limits;
pub mod node;
pub mod report;
pub mod sandbox;
pub mod spec;
