//! Which process this is.
//!
//! All of them are one program, told apart by the argument list: `["/proc/self/exe", "wasm-role", ROLE,
//! …]`. So a worker is of the same build as its controller, and nothing has to be installed beside the
//! program.

use super::{Runtime, inside};
use std::sync::atomic::{AtomicBool, Ordering};

/// What is executed: this very program, even if another one lies at its path by now.
pub(super) const EXE: &str = "/proc/self/exe";

/// The first argument of a role.
pub(super) const MARK: &str = "wasm-role";

static ASKED: AtomicBool = AtomicBool::new(false);

/// At the top of `main`, before there is a thread or an open file: if this process was started as one
/// of the Wasm wall's, becomes that and doesn't return.
///
/// Without this call, a program can't start any: its processes would be controllers again.
pub fn role<R: Runtime>(runtime: &R) {
    ASKED.store(true, Ordering::Relaxed);
    if let Some(rest) = arguments() {
        let (role, rest) = match rest.split_first() {
            Some((role, rest)) => (role.as_str(), rest),
            None => ("", &rest[..]),
        };
        inside::main(runtime, role, rest);
    }
}

/// Whether [`role`] was called.
pub(super) fn was_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// What follows the mark, if this process has a role.
pub(super) fn arguments() -> Option<Vec<String>> {
    let mut args = std::env::args_os().skip(1);
    (args.next()? == MARK).then(|| args.map(|arg| arg.to_string_lossy().into_owned()).collect())
}
