//! What was done below a folder, step by step; and a process that dies at one of them.

use super::super::StoreError;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// One step. Files and folders are told apart by their number (inode): names change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A new file or folder.
    Made {
        folder: u64,
        name: String,
        file: u64,
        is_folder: bool,
    },
    Wrote {
        file: u64,
        at: u64,
        bytes: Vec<u8>,
    },
    Cut {
        file: u64,
        length: u64,
    },
    Punched {
        file: u64,
        range: Range<u64>,
    },
    Synced {
        file: u64,
    },
    SyncedFolder {
        folder: u64,
    },
    Renamed {
        from: (u64, String),
        to: (u64, String),
        file: u64,
    },
    Removed {
        folder: u64,
        name: String,
    },
    /// What the test has been told: it counts as done.
    Told(u64),
}

struct Traced {
    root: PathBuf,
    steps: Vec<Step>,
    /// How many steps are left until the process is dead.
    left: Option<usize>,
}

static TRACED: Mutex<Vec<Arc<Mutex<Traced>>>> = Mutex::new(Vec::new());

/// A folder that is watched.
pub(crate) struct Trace(Arc<Mutex<Traced>>);

impl Trace {
    /// Watches what happens below a folder.
    pub(crate) fn of(root: &Path) -> Self {
        let traced = Arc::new(Mutex::new(Traced {
            root: root.to_path_buf(),
            steps: Vec::new(),
            left: None,
        }));
        TRACED.lock().unwrap().push(traced.clone());
        Self(traced)
    }

    /// From now on, after so many steps, everything fails.
    pub(crate) fn dies_after(&self, steps: usize) {
        self.0.lock().unwrap().left = Some(steps);
    }

    /// Nothing fails any more.
    pub(crate) fn lives(&self) {
        self.0.lock().unwrap().left = None;
    }

    /// Notes that something counts as done.
    pub(crate) fn told(&self, number: u64) {
        self.0.lock().unwrap().steps.push(Step::Told(number));
    }

    /// What was done.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.0.lock().unwrap().steps.clone()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        TRACED
            .lock()
            .unwrap()
            .retain(|other| !Arc::ptr_eq(other, &self.0));
    }
}

fn with(path: &Path, note: impl FnOnce(&mut Traced)) {
    let found = TRACED.lock().unwrap().iter().find_map(|traced| {
        let is_below = path.starts_with(&traced.lock().unwrap().root);
        is_below.then(|| traced.clone())
    });
    if let Some(traced) = found {
        note(&mut traced.lock().unwrap());
    }
}

/// Before each step.
pub(super) fn step(path: &Path) -> Result<(), StoreError> {
    let mut is_dead = false;
    with(path, |traced| match &mut traced.left {
        Some(0) => is_dead = true,
        Some(left) => *left -= 1,
        None => {}
    });
    match is_dead {
        true => Err(StoreError::io("do anything with", path)(io::Error::other(
            "the process is dead",
        ))),
        false => Ok(()),
    }
}

/// The number of a file; 0 if there is none.
pub(super) fn known(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |found| found.ino())
}

fn place(path: &Path) -> (u64, String) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    (known(path.parent().unwrap()), name)
}

fn note(path: &Path, step: Step) {
    with(path, |traced| traced.steps.push(step));
}

pub(super) fn made(path: &Path) {
    let (folder, name) = place(path);
    let step = Step::Made {
        folder,
        name,
        file: known(path),
        is_folder: path.is_dir(),
    };
    note(path, step);
}

fn number(file: &fs::File) -> u64 {
    file.metadata().unwrap().ino()
}

pub(super) fn wrote(path: &Path, file: &fs::File, at: u64, bytes: &[u8]) {
    with(path, |traced| {
        traced.steps.push(Step::Wrote {
            file: number(file),
            at,
            bytes: bytes.to_vec(),
        });
    });
}

pub(super) fn cut(path: &Path, file: &fs::File, length: u64) {
    let file = number(file);
    note(path, Step::Cut { file, length });
}

pub(super) fn punched(path: &Path, file: &fs::File, range: Range<u64>) {
    let file = number(file);
    note(path, Step::Punched { file, range });
}

pub(super) fn synced(path: &Path, file: &fs::File) {
    let file = number(file);
    note(path, Step::Synced { file });
}

pub(super) fn synced_folder(path: &Path) {
    let folder = known(path);
    note(path, Step::SyncedFolder { folder });
}

pub(super) fn renamed(from: &Path, to: &Path, file: u64) {
    let step = Step::Renamed {
        from: place(from),
        to: place(to),
        file,
    };
    note(to, step);
}

pub(super) fn removed(path: &Path) {
    let (folder, name) = place(path);
    note(path, Step::Removed { folder, name });
}
