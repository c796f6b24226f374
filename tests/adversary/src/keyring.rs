//! The kernel's key store: the caller's session keyring holds disk and Kerberos keys.

use std::fs;

use crate::attempt::{Attempt, Verdict, attempt};
use crate::call::{Step, blocked, c, sys};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(
        search_session_key,
        "find and read a key of the caller's session keyring"
    ),
    attempt!(request_session_key, "get the same key with request_key"),
    attempt!(list_keys, "find the key in /proc/keys"),
    attempt!(add_key, "add a key to the session keyring"),
    attempt!(
        add_user_key,
        "leave a key in the keyring that all sessions of the user share"
    ),
];

/// linux/keyctl.h.
const SESSION_KEYRING: i32 = -3;
const USER_KEYRING: i32 = -4;
const UNLINK: i32 = 9;
const SEARCH: i32 = 10;
const READ: i32 = 11;

fn read_key(key: i64) -> Verdict {
    let mut bytes = [0u8; 256];
    let length = sys!(libc::syscall(
        libc::SYS_keyctl,
        READ,
        key,
        bytes.as_mut_ptr(),
        bytes.len()
    ))
    .attack("KEYCTL_READ")?;
    stage::reveals(&bytes[..(length as usize).min(bytes.len())], "a key")
}

/// keyctl_search(3): a keyring is inherited like a descriptor.
fn search_session_key() -> Verdict {
    let (kind, name) = (c("user"), c(stage::text("ATTEMPT_KEY")?));
    let (call, kind, name) = (libc::SYS_keyctl, kind.as_ptr(), name.as_ptr());
    let key = sys!(libc::syscall(call, SEARCH, SESSION_KEYRING, kind, name, 0))
        .attack("KEYCTL_SEARCH")?;
    read_key(key)
}

/// request_key(2) searches all keyrings of the process.
fn request_session_key() -> Verdict {
    let (kind, name) = (c("user"), c(stage::text("ATTEMPT_KEY")?));
    let (kind, name, none) = (kind.as_ptr(), name.as_ptr(), std::ptr::null::<u8>());
    let key =
        sys!(libc::syscall(libc::SYS_request_key, kind, name, none, 0)).attack("request_key")?;
    read_key(key)
}

/// proc_keys(5) lists what the reader may view.
fn list_keys() -> Verdict {
    let name = stage::text("ATTEMPT_KEY")?;
    let keys = fs::read_to_string("/proc/keys").attack("open /proc/keys")?;
    if keys.contains(&name) {
        return Ok("the caller's key is listed".to_owned());
    }
    blocked("the caller's key is not listed")
}

fn add(keyring: i32) -> Verdict {
    let (kind, name, value) = (c("user"), c("casemate-planted"), b"planted");
    let (kind, name) = (kind.as_ptr(), name.as_ptr());
    let key = sys!(libc::syscall(
        libc::SYS_add_key,
        kind,
        name,
        value.as_ptr(),
        value.len(),
        keyring
    ))
    .attack("add_key")?;
    sys!(libc::syscall(libc::SYS_keyctl, UNLINK, key, keyring)).prepare("KEYCTL_UNLINK")?;
    Ok(format!("key {key} was added"))
}

/// add_key(2): kernel memory that no process owns.
fn add_key() -> Verdict {
    add(SESSION_KEYRING)
}

/// user-keyring(7): a channel between sandboxes of one user.
fn add_user_key() -> Verdict {
    add(USER_KEYRING)
}
