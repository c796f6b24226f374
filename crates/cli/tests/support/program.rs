//! The program under test.

use std::path::PathBuf;

/// What `CASEMATE_BIN` names: the one that is handed out. By default it's the one that was built
/// with the tests.
pub(crate) fn casemate() -> PathBuf {
    let named = std::env::var_os("CASEMATE_BIN");
    named.map_or_else(|| env!("CARGO_BIN_EXE_casemate").into(), PathBuf::from)
}
