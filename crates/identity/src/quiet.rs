//! When a fingerprint may stand for contents.
//!
//! A file's times tell of every change, except that:
//!
//! - they move in steps of the kernel's tick, so a second change within one step leaves them as
//!   they are: a fingerprint that is younger than two of the longest ticks stands for nothing;
//! - a mapping that writes is seen at its first write only (until the page has been written
//!   out): a file that somebody can still write through an open descriptor stands for nothing.
//!   What runs can't be open for writing (ETXTBSY, execve(2)), but a file that is hashed ahead
//!   can, and kernels 6.11 and 6.12 allow both.

use crate::executable::{Fingerprint, Opened};
use rustix::fd::AsFd as _;
use rustix::time::{ClockId, clock_gettime};

/// Two ticks of the slowest kernel (HZ=100).
const RECENT: i128 = 20_000_000;

/// True if the file has been as it is for longer than its times are exact. Asked before it is
/// read: what changes after that shows in the times.
pub(crate) fn is_settled(fingerprint: &Fingerprint) -> bool {
    let now = clock_gettime(ClockId::Realtime);
    is_settled_at(fingerprint, (now.tv_sec, now.tv_nsec as u32))
}

fn is_settled_at(fingerprint: &Fingerprint, now: (i64, u32)) -> bool {
    let times = [fingerprint.mtime, fingerprint.ctime];
    let away = |time| (nanos(now) - nanos(time)).abs();
    times.into_iter().all(|time| away(time) > RECENT)
}

/// True if nobody has the file open for writing. Asked before and after it is read.
pub(crate) fn has_no_writer(file: &Opened) -> bool {
    match casemate_sys::lease::has_writer(file.as_fd()) {
        Ok(writer) => !writer,
        // Another user's file: nothing that runs as this one can write to it. An access list
        // would show in the group's bits (acl(5)).
        Err(_) => {
            let own = rustix::process::geteuid().as_raw();
            file.stat.st_uid != own && file.stat.st_mode & 0o022 == 0
        }
    }
}

fn nanos((seconds, nanos): (i64, u32)) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_within_20_ms_of_now_stand_for_nothing() {
        let now = (1000, 10_000_000);
        let old = (999, 0);
        let settled = |mtime, ctime| {
            let (dev, ino, size) = (1, 2, 3);
            is_settled_at(
                &Fingerprint {
                    dev,
                    ino,
                    size,
                    mtime,
                    ctime,
                },
                now,
            )
        };
        assert!(settled(old, old));
        assert!(settled(old, (999, 989_999_999)));
        assert!(!settled(old, (999, 990_000_000)));
        assert!(!settled((1000, 0), old));
        assert!(!settled(old, now));
        // A clock that was set back, or a time that somebody chose.
        assert!(!settled((1000, 30_000_000), old));
        assert!(settled((1000, 30_000_001), old));
        assert!(settled((i64::MAX, 0), (i64::MIN, 0)));
    }
}
