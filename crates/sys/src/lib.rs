//! Linux behind safe types.
//!
//! The wall is made of kernel features, and most of them have no safe door in a library: this
//! crate is that door, one small file a feature. Everything here is mechanism; which
//! namespaces, mounts and system calls a sandbox gets is decided in `casemate-jail`.
//!
//! - [`process`], [`signal`]: clone3 with pidfds, exec, signals as file descriptors
//! - [`descriptor`]: what the program that started this one left open
//! - [`mount`]: the mount API that works on file descriptors
//! - [`landlock`], [`seccomp`], [`privilege`]: what a process gives up for good
//! - [`channel`]: messages with file descriptors between supervisor and sandbox
//! - [`fence`]: a network in which every connection arrives at a listener of one's own
//! - [`net`], [`unixdiag`]: the loopback interface; which Unix sockets a namespace holds
//! - [`socket`]: what a socket is, and what a program has set on it
//! - [`inetdiag`], [`owners`], [`sole`], [`household`]: whose a socket is, and who else has it
//! - [`splice`]: bytes from socket to socket that no memory of ours sees
//! - [`cgroup`]: limits of versions 1 and 2
//! - [`memory`]: what a process keeps and gives back; [`secret`]: what nobody else may find
//! - [`pages`]: a canister's memory: kept, lent, tracked, pulled back
//! - [`uffd`]: memory whose missing pages another process fills
//! - [`dnotify`]: a signal when a name appears in a folder
//! - [`entropy`]: randomness for the kernel's generator
//! - [`lease`], [`verity`]: whether a file can still change
//! - [`ownership`]: files that are made for another user
//! - [`wasm`]: what the processes of the Wasm wall need beyond that
//! - [`probe`]: what this machine can enforce, by trying it
//!
//! The unsafe code of the process wall lives here and nowhere else.
#![allow(unsafe_code)]

pub mod cgroup;
pub mod channel;
pub mod descriptor;
pub mod dnotify;
pub mod entropy;
pub mod fence;
pub mod freezer;
pub mod household;
pub mod inetdiag;
pub mod landlock;
pub mod lease;
pub mod memory;
pub mod mount;
pub mod net;
mod netlink;
pub mod owners;
pub mod ownership;
pub mod pages;
pub mod privilege;
pub mod probe;
pub mod process;
mod raw;
pub mod schedule;
pub mod seccomp;
pub mod secret;
pub mod signal;
pub mod socket;
pub mod sole;
pub mod splice;
#[cfg(test)]
mod testing;
pub mod uffd;
pub mod unixdiag;
pub mod verity;
pub mod vsock;
pub mod wasm;

pub use rustix::io::Errno;

/// Turns the result of a raw system call into a `Result`.
fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result == -1 {
        // The C library just set errno for this thread.
        let errno = std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO);
        return Err(Errno::from_raw_os_error(errno));
    }
    Ok(result)
}
