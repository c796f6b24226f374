//! Names that must not appear in a workspace while the program runs.
//!
//! A name that doesn't exist can't be mounted on, no Landlock right tells names apart, and a
//! placeholder would litter the host. So the folders are watched (inotify(7)), and what appears
//! at a protected name is moved aside to one that nobody acts on. Nothing is deleted: it may
//! have been the person outside who made it. Between the creation and the move there is a short
//! moment, which the threat model names.

use crate::plan::Plan;
use casemate_core::error::{Error, Result};
use casemate_core::limits::Reached;
use casemate_core::report::Refusal;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, open, renameat_with, statat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

/// More than this many creations of protected names are an attack on the supervisor.
const PATIENCE: u32 = 64;

/// Watches the folders of a plan.
pub(super) struct Guard {
    inotify: OwnedFd,
    folders: BTreeMap<i32, Folder>,
    moved: Vec<Moved>,
    times: u32,
}

struct Folder {
    path: PathBuf,
    fd: OwnedFd,
    names: Vec<String>,
}

struct Moved {
    path: PathBuf,
    aside: PathBuf,
}

impl Guard {
    /// Starts to watch; nothing runs yet.
    pub(super) fn watch(plan: &Plan) -> Result<Self> {
        let fail = |errno: Errno| {
            Error::errno("watch for protected names", errno.raw_os_error())
                .hint("fs.inotify.max_user_instances or max_user_watches may be used up")
        };
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(fail)?;
        let mut folders = BTreeMap::new();
        for workspace in &plan.workspaces {
            for (folder, names) in &workspace.watched {
                if names.is_empty() {
                    continue;
                }
                let path = workspace.root.join(folder);
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let fd = open(&path, flags, Mode::empty()).map_err(|errno| fail(errno).on(path.display()))?;
                let events = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
                let id = inotify::add_watch(&inotify, &path, events).map_err(|errno| fail(errno).on(path.display()))?;
                folders.insert(id, Folder { path, fd, names: names.clone() });
            }
        }
        Ok(Self { inotify, folders, moved: Vec::new(), times: 0 })
    }

    /// Looks at what appeared; says so if it was too often.
    pub(super) fn sweep_events(&mut self) -> Option<Reached> {
        let mut buffer = [MaybeUninit::uninit(); 8 << 10];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut hits = Vec::new();
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                hits.extend(self.folders.iter().flat_map(|(id, folder)| folder.names.iter().map(|name| (*id, name.clone()))));
            }
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
            hits.extend(name.map(|name| (event.wd(), name)));
        }
        let mut last = None;
        for (id, name) in hits {
            if self.move_aside(id, &name) {
                last = Some(name);
            }
        }
        last.filter(|_| self.times > PATIENCE).map(|name| Reached::Protected { name, times: self.times })
    }

    /// A last look at every name, when nothing runs any more.
    pub(super) fn sweep_all(&mut self) {
        let all: Vec<(i32, String)> =
            self.folders.iter().flat_map(|(id, folder)| folder.names.iter().map(|name| (*id, name.clone()))).collect();
        for (id, name) in all {
            self.move_aside(id, &name);
        }
    }

    fn move_aside(&mut self, id: i32, name: &str) -> bool {
        let Some(folder) = self.folders.get(&id) else { return false };
        if !folder.names.iter().any(|watched| watched == name)
            || statat(&folder.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_err()
        {
            return false;
        }
        for number in 0..=PATIENCE * 2 {
            let aside = match number {
                0 => format!("{name}.casemate-refused"),
                number => format!("{name}.casemate-refused.{number}"),
            };
            match renameat_with(&folder.fd, name, &folder.fd, &aside, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    self.times += 1;
                    self.moved.push(Moved { path: folder.path.join(name), aside: folder.path.join(aside) });
                    return true;
                }
                Err(Errno::EXIST) => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// Sentences for the caller.
    pub(super) fn remarks(&self) -> Vec<String> {
        let shown = self.moved.iter().take(8).map(|moved| {
            let name = moved.path.file_name().unwrap_or_default().to_string_lossy();
            format!(
                "{} was created while the program ran; it is now {}, since the host would act on it (--allow-carrier {name} lets it be)",
                moved.path.display(),
                moved.aside.display(),
            )
        });
        shown.collect()
    }

    /// The moved paths.
    pub(super) fn removed(&self) -> Vec<&Path> {
        self.moved.iter().map(|moved| moved.path.as_path()).collect()
    }

    /// The same as refusals.
    pub(super) fn refusals(&self) -> Vec<Refusal> {
        let mut counts: BTreeMap<&Path, u64> = BTreeMap::new();
        for moved in &self.moved {
            *counts.entry(&moved.path).or_default() += 1;
        }
        let refusal = |(path, count): (&Path, u64)| Refusal {
            kind: "carrier",
            what: path.display().to_string(),
            why: "the host would act on this name".into(),
            count,
        };
        counts.into_iter().map(refusal).collect()
    }
}

impl AsFd for Guard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
