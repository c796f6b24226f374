//! Every attempt of the catalogue, made outside the wall, where it must succeed, and inside, where
//! it must not. Neither half means anything without the other.
//!
//! An attempt is three tests: `outside`, `inside`, and `inside_unprivileged`, which a root caller
//! runs as another user. `CASEMATE_BIN` names the program to test; by default it is the one that
//! was built beside this test.

mod catalogue;
mod control;
mod host;
mod naive;
mod objects;
#[path = "../../src/world.rs"]
mod places;
mod process;
mod services;
mod snapshot;
mod stage;
mod survivors;
mod terminal;
mod verdict;
mod world;
