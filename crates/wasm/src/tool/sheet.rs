//! The memory between the controller and the process of a guest.
//!
//! ```text
//!  0        4        8             ANSWER           ANSWER + 8
//!  │ phase  │ length │ verdict      │ length of job  │ job, as JSON │ module … │
//! ```
//!
//! It's one memfd, so one descriptor crosses the wall and no path does. The controller writes the
//! right half before the wall stands and reads the left half after everything behind the wall has
//! ended. Its size is sealed: whatever the guest does to it, reading it is bounded, and reading past
//! an end can't happen.

use super::job::Job;
use super::verdict::Verdict;
use casemate_core::error::{Error, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// The largest module.
pub const MODULE_MOST: u64 = 256 << 20;
/// The room for a verdict, and what is before it.
pub(super) const ANSWER: usize = 64 << 10;
const HEAD: usize = 8;
/// The longest job: what a command line can hold, and more.
const JOB_MOST: u64 = 16 << 20;

/// How far the process of a guest has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has not said anything.
    Starting,
    /// It compiles the module.
    Compiling,
    /// The program runs.
    Running,
}

/// The memory that both processes see.
pub struct Sheet {
    file: File,
}

impl Sheet {
    /// Writes a job and a module.
    ///
    /// # Errors
    /// The module is too large or can't be read, or there is no memory.
    pub fn write(job: &Job, module: impl Read) -> Result<Self> {
        const STEP: &str = "hand the module to its process";
        let fail = |error: std::io::Error| Error::io(STEP, &error);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create(c"wasm-job", flags)
            .map_err(|errno| Error::errno(STEP, errno.raw_os_error()))?;
        let mut file = File::from(file);
        let job = serde_json::to_vec(job).map_err(|error| Error::rule(STEP, error.to_string()))?;
        let seek = file.seek(SeekFrom::Start(ANSWER as u64));
        seek.and_then(|_| file.write_all(&(job.len() as u64).to_le_bytes()))
            .and_then(|()| file.write_all(&job))
            .map_err(fail)?;
        let copied = std::io::copy(&mut module.take(MODULE_MOST + 1), &mut file);
        let size = copied.map_err(|error| Error::io("read the module", &error))?;
        if size > MODULE_MOST {
            let why = format!("it is larger than {} MiB", MODULE_MOST >> 20);
            return Err(Error::rule("read the module", why));
        }
        let seals = SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        fcntl_add_seals(&file, seals).map_err(|errno| fail(errno.into()))?;
        Ok(Self { file })
    }

    /// The sheet that a process was handed.
    pub fn taken(descriptor: OwnedFd) -> Self {
        Self {
            file: descriptor.into(),
        }
    }

    /// Another descriptor of it, to hand over.
    ///
    /// # Errors
    /// There are too many.
    pub fn descriptor(&self) -> Result<OwnedFd> {
        let copy = self.file.try_clone();
        copy.map(OwnedFd::from)
            .map_err(|error| Error::io("copy a descriptor", &error))
    }

    /// What was asked for, and the module's bytes.
    ///
    /// # Errors
    /// It isn't a sheet.
    pub fn job(&self) -> Result<(Job, Vec<u8>)> {
        let fail = |error: std::io::Error| Error::io("read the job", &error);
        let whole = self.file.metadata().map_err(fail)?.len();
        let mut length = [0; HEAD];
        self.file
            .read_exact_at(&mut length, ANSWER as u64)
            .map_err(fail)?;
        let length = u64::from_le_bytes(length);
        let start = (ANSWER + HEAD) as u64;
        let rest = whole
            .checked_sub(start)
            .and_then(|rest| rest.checked_sub(length));
        let (Some(rest), true) = (rest, length <= JOB_MOST) else {
            return Err(Error::rule("read the job", "its length is wrong"));
        };
        let mut job = vec![0; length as usize];
        self.file.read_exact_at(&mut job, start).map_err(fail)?;
        let mut module = vec![0; rest as usize];
        self.file
            .read_exact_at(&mut module, start + length)
            .map_err(fail)?;
        let job = serde_json::from_slice(&job)
            .map_err(|error| Error::rule("read the job", error.to_string()))?;
        Ok((job, module))
    }

    /// Says how far it is.
    ///
    /// # Errors
    /// It can't be written.
    pub fn enter(&self, phase: Phase) -> Result<()> {
        let byte = match phase {
            Phase::Starting => 0,
            Phase::Compiling => 1,
            Phase::Running => 2,
        };
        self.put(&[byte], 0)
    }

    /// Says how it ended.
    ///
    /// # Errors
    /// It can't be written.
    pub fn answer(&self, mut verdict: Verdict) -> Result<()> {
        verdict.cut();
        let text = serde_json::to_vec(&verdict)
            .map_err(|error| Error::rule("say how it ended", error.to_string()))?;
        self.put(&text, HEAD as u64)?;
        // Last, so that half a verdict is none.
        self.put(&(text.len() as u32).to_le_bytes(), 4)
    }

    fn put(&self, bytes: &[u8], at: u64) -> Result<()> {
        let written = self.file.write_all_at(bytes, at);
        written.map_err(|error| Error::io("say how it ended", &error))
    }

    /// What was said; no verdict if there is none that can be read.
    ///
    /// # Errors
    /// The memory can't be read.
    pub fn read(&self) -> Result<(Phase, Option<Verdict>)> {
        let mut bytes = vec![0; ANSWER];
        let read = self.file.read_exact_at(&mut bytes, 0);
        read.map_err(|error| Error::io("read how it ended", &error))?;
        let phase = match bytes[0] {
            0 => Phase::Starting,
            1 => Phase::Compiling,
            _ => Phase::Running,
        };
        let length = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        let text = HEAD
            .checked_add(length)
            .and_then(|end| bytes.get(HEAD..end));
        let verdict = text.and_then(|text| serde_json::from_slice(text).ok());
        Ok((phase, verdict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::verdict::End;

    fn job() -> Job {
        Job {
            name: "tool".into(),
            args: vec!["a".into()],
            env: Vec::new(),
            folders: Vec::new(),
            invoke: None,
            fuel: None,
            counts: false,
            memory: 1 << 20,
            timeout: None,
            clock: None,
            random_seed: None,
        }
    }

    fn verdict() -> Verdict {
        Verdict {
            end: End::Exited { code: 3 },
            frames: Vec::new(),
            instructions: None,
            peak_memory: 7,
        }
    }

    #[test]
    fn both_sides_read_what_the_other_wrote() {
        let ours = Sheet::write(&job(), &b"module"[..]).unwrap();
        assert_eq!(ours.read().unwrap(), (Phase::Starting, None));
        let theirs = Sheet::taken(ours.descriptor().unwrap());
        assert_eq!(theirs.job().unwrap(), (job(), b"module".to_vec()));
        theirs.enter(Phase::Running).unwrap();
        theirs.answer(verdict()).unwrap();
        assert_eq!(ours.read().unwrap(), (Phase::Running, Some(verdict())));
    }

    #[test]
    fn what_a_hostile_process_writes_is_no_verdict() {
        let sheet = Sheet::write(&job(), &b""[..]).unwrap();
        sheet.answer(verdict()).unwrap();
        for length in [0, 1, 65528, 65529, u32::MAX] {
            sheet.put(&length.to_le_bytes(), 4).unwrap();
            assert_eq!(sheet.read().unwrap().1, None, "{length}");
        }
        let deep = vec![b'['; ANSWER - HEAD];
        sheet.put(&deep, HEAD as u64).unwrap();
        sheet.put(&(deep.len() as u32).to_le_bytes(), 4).unwrap();
        assert_eq!(sheet.read().unwrap().1, None);
    }

    #[test]
    fn its_size_is_sealed() {
        let sheet = Sheet::write(&job(), &b"module"[..]).unwrap();
        let theirs = File::from(sheet.descriptor().unwrap());
        assert!(theirs.set_len(0).is_err());
        assert!(theirs.set_len(1 << 30).is_err());
    }
}
