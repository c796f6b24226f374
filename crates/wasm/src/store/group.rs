//! Many wait for the disk, and one asks it.
//!
//! ```text
//!  append a ─ append b ─ append c          the canister goes on after each
//!     └─ wait    └─ wait    └─ wait
//!        the first one syncs (fdatasync) for all that is written by then;
//!        the next of those that are left syncs for the rest
//! ```
//!
//! After a sync that failed nobody can say what is on the disk, and the kernel won't say it again
//! (fsync(2)): from then on all of them fail, and so does each later record.

use super::StoreError;
use super::disk::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How far a file is on the disk.
#[derive(Debug)]
pub(crate) struct Group {
    file: Arc<File>,
    progress: Mutex<Progress>,
    turn: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    written: u64,
    synced: u64,
    is_syncing: bool,
    /// A sync failed.
    failed: Option<Failed>,
    /// How often the disk was asked.
    syncs: u64,
}

#[derive(Debug, Clone)]
struct Failed {
    path: PathBuf,
    why: String,
}

impl Failed {
    fn error(&self) -> StoreError {
        StoreError::io("sync", &self.path)(io::Error::other(self.why.clone()))
    }
}

impl Group {
    /// Of a file whose first `synced` bytes are on the disk.
    pub(crate) fn new(file: Arc<File>, synced: u64) -> Self {
        let progress = Progress {
            written: synced,
            synced,
            ..Progress::default()
        };
        Self {
            file,
            progress: Mutex::new(progress),
            turn: Condvar::new(),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Numbers: whoever panicked left them whole.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That the file has been written up to there.
    pub(crate) fn wrote(&self, upto: u64) {
        self.progress().written = upto;
    }

    /// Up to where it is on the disk, or that nobody can say.
    pub(crate) fn synced(&self) -> Result<u64, StoreError> {
        let progress = self.progress();
        match &progress.failed {
            Some(failed) => Err(failed.error()),
            None => Ok(progress.synced),
        }
    }

    /// How often the disk was asked.
    pub(crate) fn syncs(&self) -> u64 {
        self.progress().syncs
    }

    /// What was written counts as on the disk: a checkpoint holds all of it.
    pub(crate) fn retire(&self) {
        self.progress().synced = u64::MAX;
        self.turn.notify_all();
    }

    /// Returns when the file is on the disk up to there.
    fn wait(&self, upto: u64) -> Result<(), StoreError> {
        let mut progress = self.progress();
        loop {
            if progress.synced >= upto {
                return Ok(());
            }
            if let Some(failed) = &progress.failed {
                return Err(failed.error());
            }
            if progress.is_syncing {
                let woken = self.turn.wait(progress);
                progress = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let written = progress.written;
            progress.is_syncing = true;
            progress.syncs += 1;
            drop(progress);
            let done = self.file.sync();
            progress = self.progress();
            progress.is_syncing = false;
            match done {
                Ok(()) => progress.synced = progress.synced.max(written),
                Err(why) => {
                    progress.failed = Some(Failed {
                        path: self.file.path().to_path_buf(),
                        why: why.to_string(),
                    });
                }
            }
            self.turn.notify_all();
        }
    }
}

/// A record that was written, and may have to be waited for. Whoever asked may be told of what came
/// of the call after [`wait`](Self::wait), and not before; the canister can go on meanwhile.
#[derive(Debug, Clone)]
#[must_use = "it isn't done before it was waited for"]
pub struct Written {
    kept: Kept,
    group: Option<(Arc<Group>, u64)>,
}

/// What a call survives that counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The end of every process.
    Written,
    /// A power cut.
    OnDisk,
    /// Nothing, until the next checkpoint.
    Unwritten,
}

impl Written {
    /// One that is not waited for.
    pub(crate) fn at_once(kept: Kept) -> Self {
        Self { kept, group: None }
    }

    /// One that is done when a file is on the disk up to there.
    pub(crate) fn on_disk(group: Arc<Group>, upto: u64) -> Self {
        Self {
            kept: Kept::OnDisk,
            group: Some((group, upto)),
        }
    }

    /// Returns when the call counts as done, and says what it survives from now on.
    ///
    /// # Errors
    /// The disk failed: nobody can say whether the call is on it. The canister has to be opened anew.
    pub fn wait(self) -> Result<Kept, StoreError> {
        if let Some((group, upto)) = &self.group {
            group.wait(*upto)?;
        }
        Ok(self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn one_sync_is_for_all_that_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = Arc::new(File::make(&folder.path().join("file")).unwrap());
        let group = Arc::new(Group::new(file, 0));
        group.wrote(50);
        for upto in [10, 50, 30] {
            let written = Written::on_disk(group.clone(), upto);
            assert_eq!(written.wait().unwrap(), Kept::OnDisk);
        }
        assert_eq!(group.syncs(), 1);
        assert_eq!(group.synced().unwrap(), 50);
    }

    /// Whoever returns has been synced, by however few syncs, and nobody waits for ever.
    #[test]
    fn many_wait_and_all_are_synced() {
        const THREADS: u64 = 8;
        const EACH: u64 = 50;
        let folder = tempfile::tempdir().unwrap();
        let file = Arc::new(File::make(&folder.path().join("file")).unwrap());
        let group = Arc::new(Group::new(file, 0));
        let length = Mutex::new(0_u64);
        let barrier = Barrier::new(THREADS as usize);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..EACH {
                        let upto = {
                            let mut length = length.lock().unwrap();
                            *length += 1;
                            group.wrote(*length);
                            *length
                        };
                        let _ = Written::on_disk(group.clone(), upto).wait().unwrap();
                        assert!(group.synced().unwrap() >= upto);
                    }
                });
            }
        });
        assert!(group.syncs() <= THREADS * EACH);
        assert_eq!(group.synced().unwrap(), THREADS * EACH);
    }

    #[test]
    fn after_a_sync_that_failed_nothing_counts_as_done() {
        let folder = tempfile::tempdir().unwrap();
        let trace = super::super::disk::trace::Trace::of(folder.path());
        let file = Arc::new(File::make(&folder.path().join("file")).unwrap());
        let group = Arc::new(Group::new(file, 0));
        group.wrote(2);
        trace.dies_after(0);
        Written::on_disk(group.clone(), 1).wait().unwrap_err();
        trace.lives();
        Written::on_disk(group.clone(), 2).wait().unwrap_err();
        assert!(group.synced().is_err());
        assert_eq!(group.syncs(), 1);
    }
}
