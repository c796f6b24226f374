//! A machine's state, taken from QEMU as it writes it.
//!
//! A stopped machine's memory isn't quite still: what the host says to the guest is put into it by
//! QEMU also then. State and memory have to be of one moment, or the devices' queues are not where
//! the state says. QEMU writes the devices' states in one go, holding the lock without which none of
//! its devices moves, and waits in the middle of it while the pipe is full. There, memory is taken.

use casemate_core::error::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::pipe::fcntl_setpipe_size;
use std::fs::File;
use std::io::{Read, Write};
use std::time::Instant;

/// What QEMU says before it takes the lock is shorter than that, and what it says then longer by
/// more than fits into the pipe and into one of its own blocks. Bytes.
const HELD: u64 = 16 << 10;
const NARROW: usize = 4 << 10;
const WIDE: usize = 1 << 20;

/// A state that is taken.
pub(super) struct Taking {
    /// The pipe that QEMU writes to.
    pub(super) pipe: OwnedFd,
    /// Where it goes.
    pub(super) file: File,
    /// The most that it may have, bytes.
    pub(super) most: u64,
    pub(super) deadline: Instant,
}

impl Taking {
    /// Makes the pipe as narrow as can be.
    pub(super) fn narrow(&self) {
        // A wider one holds less of QEMU, and is a pipe as well.
        let _ = fcntl_setpipe_size(&self.pipe, NARROW);
    }

    /// Takes all of it. What is to be done meanwhile is done while QEMU waits. Whatever fails, QEMU
    /// is let to its end, so that the machine can go on.
    pub(super) fn take(self, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        let fail = |what: &str, error: &std::io::Error| Error::io(what, error);
        let mut meanwhile = Some(meanwhile);
        let mut done = Ok(());
        let (mut block, mut taken) = (vec![0; WIDE], 0);
        let mut pipe = File::from(self.pipe);
        loop {
            if taken >= HELD
                && let Some(meanwhile) = meanwhile.take()
            {
                done = meanwhile();
                let _ = fcntl_setpipe_size(&pipe, WIDE);
            }
            wait(&pipe, self.deadline)?;
            let room = if meanwhile.is_some() { NARROW } else { WIDE };
            let count = pipe.read(&mut block[..room]);
            let count = count.map_err(|error| fail("read a machine's state", &error))?;
            if count == 0 {
                break;
            }
            taken += count as u64;
            if taken > self.most {
                let why = format!("it is longer than {} bytes", self.most);
                return Err(Error::rule("write a machine's state", why));
            }
            if done.is_ok() {
                let written = (&self.file).write_all(&block[..count]);
                done = written.map_err(|error| fail("write a machine's state", &error));
            }
        }
        match meanwhile {
            // One so short was never held. It is an error of QEMU's, which is asked next.
            Some(meanwhile) => done.and_then(|()| meanwhile()),
            None => done,
        }
    }
}

fn wait(pipe: &File, deadline: Instant) -> Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).ok();
    let ready = poll(&mut [PollFd::new(pipe, PollFlags::IN)], left.as_ref());
    match ready {
        Ok(0) => Err(Error::rule("write a machine's state", "QEMU took too long")),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(Error::io("read a machine's state", &errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::os::unix::fs::FileExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn taking(most: u64, patience: u64) -> (Taking, File, File) {
        let (pipe, to) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let file = tempfile::tempfile().expect("a file");
        let copy = file.try_clone().expect("a file");
        let deadline = Instant::now() + Duration::from_secs(patience);
        let taking = Taking {
            pipe,
            file,
            most,
            deadline,
        };
        taking.narrow();
        (taking, copy, File::from(to))
    }

    #[test]
    fn who_writes_waits_meanwhile() {
        let (taking, copy, mut to) = taking(1 << 20, 60);
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n >> 5) as u8).collect();
        let expected = bytes.clone();
        let writes = std::thread::spawn(move || {
            for block in bytes.chunks(32 << 10) {
                to.write_all(block).expect("it is taken");
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        let meanwhile = || {
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(
                sent.load(Ordering::SeqCst),
                0,
                "it waits in its first block"
            );
            Ok(())
        };
        taking.take(meanwhile).expect("it is taken");
        writes.join().expect("it has written");
        let mut taken = vec![0; expected.len()];
        copy.read_exact_at(&mut taken, 0).expect("it is all there");
        assert!(taken == expected);
    }

    #[test]
    fn who_writes_gets_to_the_end_whatever_fails() {
        let (taking, copy, mut to) = taking(1 << 20, 60);
        let writes = std::thread::spawn(move || to.write_all(&[7; 200_000]));
        let error = taking.take(|| Err(Error::rule("copy", "no room")));
        assert!(error.expect_err("no room").to_string().contains("no room"));
        writes.join().expect("it ends").expect("all is taken");
        assert!(copy.metadata().expect("a file").len() < 200_000);
    }

    #[test]
    fn neither_length_nor_time_is_without_end() {
        let (long, _, mut to) = taking(100_000, 60);
        let writes = std::thread::spawn(move || while to.write_all(&[7; 4096]).is_ok() {});
        long.take(|| Ok(())).expect_err("it is too long");
        writes.join().expect("it ends");
        let (slow, _, _to) = taking(100_000, 0);
        slow.take(|| Ok(())).expect_err("it takes too long");
    }
}
