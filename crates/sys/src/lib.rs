//! Linux behind safe types.
//!
//! The wall is made of kernel features, and most of them have no safe door in a library: this
//! crate is that door, one small file a feature. Everything here is mechanism; which
//! namespaces, mounts and system calls a sandbox gets is decided in `casemate-jail`.
//!
//! - [`process`], [`signal`]: clone3 with pidfds, exec, signals as file descriptors
//! - [`mount`]: the mount API that works on file descriptors
//! - [`landlock`], [`seccomp`], [`privilege`]: what a process gives up for good
//! - [`channel`]: messages with file descriptors between supervisor and sandbox
//! - [`net`], [`unixdiag`]: the loopback interface; which Unix sockets a namespace holds
//! - [`cgroup`]: limits of versions 1 and 2
//! - [`memory`]: what a waiting process gives back
//! - [`dnotify`]: a signal when a name appears in a folder
//! - [`probe`]: what this machine can enforce, by trying it
//!
//! The unsafe code of the process wall lives here and nowhere else.
#![allow(unsafe_code)]

pub mod cgroup;
pub mod channel;
pub mod dnotify;
pub mod landlock;
pub mod memory;
pub mod mount;
pub mod net;
pub mod privilege;
pub mod probe;
pub mod process;
pub mod seccomp;
pub mod signal;
pub mod unixdiag;

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
