//! A kernel that lacks something: nothing runs with less, and the error names it.
//!
//! A filter around the controller answers as such a kernel would.

use crate::guest::processes;
use crate::harness::program;
use casemate_sys::seccomp::Instruction;
use casemate_sys::{privilege, seccomp};
use std::process::Command;

/// A call, the value of its first argument if that matters, the errno, and what the error begins with.
const LACKS: [(&str, i64, Option<i32>, i32, &str); 6] = [
    (
        "namespaces",
        libc::SYS_clone3,
        None,
        // Not a refusal: threads are made by it too, and then in an older way.
        libc::ENOSYS,
        "make the namespaces of the workers",
    ),
    (
        "clocks",
        libc::SYS_unshare,
        Some(0x80),
        libc::EINVAL,
        "make a time namespace: Invalid argument (os error 22)\nhint: it needs a kernel with CONFIG_TIME_NS",
    ),
    (
        "mounts",
        libc::SYS_fsopen,
        None,
        libc::EPERM,
        "make an empty root: Operation not permitted",
    ),
    (
        "code",
        libc::SYS_prctl,
        Some(libc::PR_SET_MDWE),
        libc::EINVAL,
        "refuse memory that becomes executable (PR_SET_MDWE): Invalid argument (os error 22)\nhint: it needs Linux 6.3",
    ),
    (
        "landlock",
        libc::SYS_landlock_create_ruleset,
        None,
        libc::ENOSYS,
        "restrict by Landlock: Function not implemented (os error 38)\nhint: it needs Linux 5.13",
    ),
    (
        "filter",
        libc::SYS_seccomp,
        None,
        libc::EINVAL,
        "install the system call filter: Invalid argument",
    ),
];

pub(crate) fn named() {
    let Some(lacking) = std::env::args().nth(3) else {
        for (name, ..) in LACKS {
            let mut controller = Command::new(program());
            let ended = controller.args(["scenario", "missing", name]).status();
            assert!(ended.unwrap().success(), "{name}");
        }
        return;
    };
    let (_, call, argument, errno, expected) = LACKS
        .into_iter()
        .find(|(name, ..)| *name == lacking)
        .unwrap();
    privilege::no_new_privileges().unwrap();
    seccomp::install(&without(call, argument, errno), false).unwrap();
    let failure = processes("").worker().err().unwrap().to_string();
    assert!(failure.starts_with(expected), "{failure}");
}

/// A filter that refuses one call.
fn without(call: i64, argument: Option<i32>, errno: i32) -> Vec<Instruction> {
    let op = |code, k| Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    let equal = |k, jf| Instruction { jf, ..op(0x15, k) };
    let refused = op(0x06, 0x0005_0000 | errno as u32);
    let allowed = op(0x06, 0x7fff_0000);
    match argument {
        None => vec![op(0x20, 0), equal(call as u32, 1), refused, allowed],
        Some(value) => vec![
            op(0x20, 0),
            equal(call as u32, 3),
            op(0x20, 16),
            equal(value as u32, 1),
            refused,
            allowed,
        ],
    }
}
