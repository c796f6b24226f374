//! Network namespaces for tests, as this user and, where that is root, as an ordinary one.

use crate::privilege;
use crate::probe::{child, userns};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A user that no machine is likely to have given anything to.
const STRANGER: u32 = 64321;

/// Runs a test in a child with a user and a network namespace of its own. Where the machine
/// forbids them, that is said and nothing is tested.
pub(crate) fn in_network(test: impl Fn()) {
    let users: &[bool] = if rustix::process::geteuid().is_root() {
        &[false, true]
    } else {
        &[false]
    };
    if let Err(errno) = attempt(false, &|| ()) {
        return eprintln!("skipped: no namespaces here ({errno})");
    }
    for stranger in users {
        let status = attempt(*stranger, &test).unwrap();
        assert_eq!(status, 0, "as another user: {stranger}");
    }
}

const NO_NAMESPACE: i32 = 77;

fn attempt(stranger: bool, test: &dyn Fn()) -> Result<i32, crate::Errno> {
    let child = child::fork(|| {
        let moved = || -> Result<(), crate::Errno> {
            if stranger {
                privilege::become_user(STRANGER, STRANGER)?;
            }
            userns::enter(libc::CLONE_NEWNET)
        };
        if moved().is_err() {
            crate::process::exit_now(NO_NAMESPACE);
        }
        // What the test harness catches would end with this process. Its hook is left alone: the
        // lock may have been taken when this process was forked.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(test)) {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied());
            let line = format!("{}\n", text.unwrap_or("panicked"));
            let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
            crate::process::exit_now(1);
        }
    })?;
    match child::reap(child).and_then(|status| status.exit_status()) {
        Some(NO_NAMESPACE) => Err(crate::Errno::PERM),
        Some(status) => Ok(status),
        None => Ok(-1),
    }
}
