//! The Wasm wall: guests in separate, hostile processes over shared memory.
#![allow(unsafe_code)]
