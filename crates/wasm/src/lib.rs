//! The Wasm wall: guests in separate, hostile processes over shared memory.
//!
//! - [`candid`]: what arguments and replies mean
//! - [`canisters`]: canisters that stay
//! - [`call`]: what goes into a canister, and what comes out
//! - [`executor`]: where guests run
//! - `fuzz`: readers, given anything (for tests)
//! - [`guest`]: a module, instantiated
//! - [`lifecycle`]: which workers stay
//! - [`met`]: what this process has done with what guests are made of
//! - [`module`]: from a guest's bytes to a module that can be run
//! - [`process`]: the processes that meet a guest, and what they can't do
//! - [`replay`]: running again what was called
//! - [`store`]: what survives
//! - [`system`]: what a canister may call
//! - [`tool`]: a Wasm program, run once
//! - [`wire`]: what is said between them and the controller
//! - [`worker`]: a worker's half
#![allow(unsafe_code)]

pub mod call;
pub mod candid;
pub mod canisters;
pub mod executor;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod guest;
pub mod lifecycle;
pub mod met;
pub mod module;
mod near;
pub mod process;
pub mod replay;
pub mod store;
pub mod system;
pub mod tool;
pub mod wire;
pub mod worker;
