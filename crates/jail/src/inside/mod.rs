//! What runs inside, between clone3 and execve.
//!
//! - [`init`]: process 1: builds the view, starts the program, reaps, forwards signals
//! - [`view`]: carries out the steps of the plan
//! - [`payload`]: the process that becomes the program: gives up everything, then execs
//!
//! All of it runs in a copy of the supervisor's one thread, so it may use the plan as it is.

mod fence;
mod init;
mod layers;
mod payload;
mod view;

pub(crate) use init::{Handover, main};
