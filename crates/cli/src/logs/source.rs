//! The lines of the log's files, in order, and those that come later.

use casemate_sys::dnotify;
use casemate_sys::signal::{self, Signals};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Older parts than this are not made.
const MOST_PARTS: u32 = 9;
/// A line is cut after so many bytes: events are shorter.
const MOST_LINE: usize = 1 << 20;
/// How often a file is looked at whose folder can't tell of changes.
const CLOCK: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// See the module.
pub(super) struct Source {
    path: PathBuf,
    parts: VecDeque<File>,
    current: Option<BufReader<File>>,
    /// The beginning of a line whose end isn't there yet.
    begun: Vec<u8>,
    follow: Option<Bell>,
}

struct Bell {
    signals: Signals,
    _folder: Option<OwnedFd>,
}

impl Source {
    /// Opens the files that are there; to follow, there need be none yet.
    pub(super) fn open(path: &Path, follow: bool) -> io::Result<Self> {
        let follow = follow.then(|| Bell::new(path)).transpose()?;
        let mut parts = VecDeque::new();
        for number in (0..=MOST_PARTS).rev() {
            match File::open(part(path, number)) {
                Ok(file) => parts.push_back(file),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if number == 0 && parts.is_empty() && follow.is_none() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            path: path.to_owned(),
            parts,
            current: None,
            begun: Vec::new(),
            follow,
        })
    }

    /// The next line, without its end. `idle` is called before it waits.
    pub(super) fn next_line(
        &mut self,
        mut idle: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Option<String>> {
        loop {
            if let Some(line) = self.read()? {
                return Ok(Some(line));
            }
            if let Some(next) = self.parts.pop_front() {
                self.current = Some(BufReader::new(next));
                self.begun.clear();
                continue;
            }
            let Some(bell) = &self.follow else {
                return Ok(None);
            };
            match self.newer()? {
                Some(file) => {
                    // What was written to the old one before it was moved comes first.
                    if let Some(line) = self.read()? {
                        self.parts.push_front(file);
                        return Ok(Some(line));
                    }
                    self.parts.push_back(file);
                }
                None => {
                    if idle().is_err() {
                        return Ok(None);
                    }
                    bell.wait();
                }
            }
        }
    }

    fn read(&mut self) -> io::Result<Option<String>> {
        let Some(current) = &mut self.current else {
            return Ok(None);
        };
        loop {
            let available = current.fill_buf()?;
            if available.is_empty() {
                return Ok(None);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let count = end.map_or(available.len(), |end| end + 1);
            let room = MOST_LINE.saturating_sub(self.begun.len());
            self.begun
                .extend_from_slice(&available[..end.unwrap_or(count).min(room)]);
            current.consume(count);
            if end.is_some() {
                let line = std::mem::take(&mut self.begun);
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
        }
    }

    /// The file that now has the name, if it is another one.
    fn newer(&self) -> io::Result<Option<File>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(current) = &self.current else {
            return Ok(Some(file));
        };
        let (old, new) = (current.get_ref().metadata()?, file.metadata()?);
        let same = (old.dev(), old.ino()) == (new.dev(), new.ino());
        Ok((!same).then_some(file))
    }
}

impl Bell {
    fn new(path: &Path) -> io::Result<Self> {
        drop(Signals::block(&[signal::OVERFLOW])?);
        let signals = Signals::block(&[signal::spare()])?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, crate::reload::folder_of(path), flags, Mode::empty()).ok();
        let folder =
            folder.filter(|folder| dnotify::tell_thread(folder.as_fd(), signal::spare()).is_ok());
        Ok(Self {
            signals,
            _folder: folder,
        })
    }

    fn wait(&self) {
        let mut fds = [PollFd::new(&self.signals, PollFlags::IN)];
        let _ = poll(&mut fds, Some(&CLOCK));
        while self.signals.next().is_some() {}
    }
}

fn part(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    PathBuf::from(name)
}
