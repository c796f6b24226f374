//! The Wasm wall: guests in separate, hostile processes over shared memory.
//!
//! - [`module`]: from a guest's bytes to a module that can be run
//! - [`process`]: the processes that meet a guest, and what they can't do
//! - [`system`]: what a canister may call
//! - [`tool`]: a Wasm program, run once
//! - [`wire`]: what is said between them and the controller
#![allow(unsafe_code)]

pub mod module;
pub mod process;
pub mod system;
pub mod tool;
pub mod wire;
