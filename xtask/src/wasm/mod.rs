//! What the Wasm wall promises, and whether each promise has a test (`wasm-rows`); and programs
//! that nobody wrote, many more than the tests run (`wasm-determinism`).
//!
//! - [`list`]: the promises, each with its tests, as they are written down
//! - [`listing`]: the tests that there are
//! - [`rows`]: one against the other
//! - [`determinism`]: the programs
//!
//! Nothing of the wall is linked in: it is asked by way of its tests.

mod determinism;
mod list;
mod listing;
mod rows;

pub(crate) use determinism::{Options as DeterminismOptions, run as determinism};
pub(crate) use rows::{Options as RowsOptions, run as rows};
