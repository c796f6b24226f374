//! Capabilities that are held, and ways to hold more.

use std::fs;
use std::process::Command;

use crate::attempt::Setting::Shared;
use crate::attempt::{Attempt, Verdict, attempt};
use crate::call::{Step, blocked, c, inconclusive, sys};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(hold_effective, "hold an effective capability").root(),
    attempt!(hold_permitted, "hold a permitted capability").root(),
    attempt!(hold_bounding, "have a capability left in the bounding set"),
    attempt!(gain_privileges, "run without no_new_privs"),
    attempt!(raise_capability, "make a capability effective with capset").root(),
    attempt!(raise_ambient, "pass a capability on with the ambient set").root(),
    attempt!(become_another, "become another user with setresuid").root(),
    attempt!(become_group, "become another group with setresgid").root(),
    attempt!(drop_groups, "drop the groups that deny access").root(),
    attempt!(
        run_setid_helper,
        "gain a user through a set-user-ID program"
    )
    .root()
    .with(Shared),
    attempt!(
        file_capability,
        "give capabilities to a file in the workspace"
    )
    .root(),
];

fn status(field: &str) -> Result<String, crate::attempt::Stop> {
    let status = fs::read_to_string("/proc/self/status").prepare("open /proc/self/status")?;
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    match value {
        Some(value) => Ok(value.trim_matches([':', '\t']).to_owned()),
        None => inconclusive(format!("no {field} in the status")),
    }
}

fn hold(field: &str) -> Verdict {
    let set = status(field)?;
    if set.bytes().all(|digit| digit == b'0') {
        return blocked(format!("{field} is {set}"));
    }
    Ok(format!("{field} is {set}"))
}

/// capabilities(7): what the kernel asks.
fn hold_effective() -> Verdict {
    hold("CapEff")
}

/// What could be made effective.
fn hold_permitted() -> Verdict {
    hold("CapPrm")
}

/// What a program could still gain by execve(2).
fn hold_bounding() -> Verdict {
    hold("CapBnd")
}

/// PR_SET_NO_NEW_PRIVS(2const).
fn gain_privileges() -> Verdict {
    match sys!(libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)).prepare("prctl")? {
        0 => Ok("no_new_privs is not set".to_owned()),
        _ => blocked("no_new_privs is set"),
    }
}

/// linux/capability.h: the header of version 3, and the halves of three sets.
const VERSION_3: u32 = 0x2008_0522;
const SYS_ADMIN: u32 = 1 << 21;

fn set(inheritable: u32) -> std::io::Result<i64> {
    let header = [VERSION_3, 0];
    let data = [SYS_ADMIN, SYS_ADMIN, inheritable, 0, 0, 0];
    sys!(libc::syscall(libc::SYS_capset, &header, &data))
}

/// capset(2).
fn raise_capability() -> Verdict {
    set(0).attack("capset")?;
    hold("CapEff")
}

/// PR_CAP_AMBIENT(2const).
fn raise_ambient() -> Verdict {
    set(SYS_ADMIN).attack("capset")?;
    sys!(libc::prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_RAISE,
        21,
        0,
        0
    ))
    .attack("PR_CAP_AMBIENT_RAISE")?;
    hold("CapAmb")
}

/// An identifier that is not the caller's.
const ANOTHER: u32 = 64399;

/// setresuid(2), also by way of 0.
fn become_another() -> Verdict {
    let _ = sys!(libc::syscall(libc::SYS_setuid, 0));
    sys!(libc::syscall(
        libc::SYS_setresuid,
        ANOTHER,
        ANOTHER,
        ANOTHER
    ))
    .attack("setresuid")?;
    match unsafe { libc::getuid() } {
        ANOTHER => Ok(format!("the user is {ANOTHER}")),
        uid => blocked(format!("the user is still {uid}")),
    }
}

/// setresgid(2).
fn become_group() -> Verdict {
    sys!(libc::syscall(
        libc::SYS_setresgid,
        ANOTHER,
        ANOTHER,
        ANOTHER
    ))
    .attack("setresgid")?;
    match unsafe { libc::getgid() } {
        ANOTHER => Ok(format!("the group is {ANOTHER}")),
        gid => blocked(format!("the group is still {gid}")),
    }
}

/// setgroups(2), CVE-2014-8989: a group can also be what denies.
fn drop_groups() -> Verdict {
    sys!(libc::syscall(libc::SYS_setgroups, 0, 0)).attack("setgroups")?;
    Ok("the groups are gone".to_owned())
}

/// execve(2) of a program whose owner is another user.
fn run_setid_helper() -> Verdict {
    let output = Command::new(stage::shared("helper")?)
        .arg("--identity")
        .output();
    let output = output.attack("execve")?;
    let effective = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let own = unsafe { libc::geteuid() }.to_string();
    if effective.is_empty() {
        return inconclusive("the helper said nothing");
    }
    if effective == own {
        return blocked(format!(
            "the helper ran as {own}, without its owner's rights"
        ));
    }
    Ok(format!("the helper ran as {effective}"))
}

/// capabilities(7), security.capability: on the host the file would run with them.
fn file_capability() -> Verdict {
    let path = stage::workspace("capable-program")?;
    fs::write(&path, "#!/bin/sh\n").prepare("create")?;
    // Revision 2 with the effective bit, and CAP_SYS_ADMIN permitted.
    let value = [0x0200_0001u32, SYS_ADMIN, 0, 0, 0];
    let (file, name) = (c(&path), c("security.capability"));
    let result = sys!(libc::setxattr(
        file.as_ptr(),
        name.as_ptr(),
        value.as_ptr().cast(),
        20,
        0
    ));
    let _ = fs::remove_file(path);
    result.attack("setxattr")?;
    Ok("the file has capabilities".to_owned())
}
