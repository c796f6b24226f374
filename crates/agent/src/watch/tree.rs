//! The folders that are watched, and what inotify(7) says about them.
//!
//! inotify knows folders by number and says nothing about what is below them. This keeps which
//! number is which folder, adds folders as they appear, follows them as they move, and reads what
//! was put into a new folder before it was watched.

use super::event::{Change, Kind};
use crate::fault::{Cause, Fault, Result};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{AtFlags, CWD, FileType, statat};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders of one watch.
const MOST_FOLDERS: usize = 65_536;
/// Names that are found in new folders before the kernel has been heard.
const MOST_FOUND: usize = 65_536;
/// Events that are read in one go.
const AT_ONCE: usize = 4096;

/// What is asked about each folder.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK);

/// Who is told.
type Tell<'a> = &'a mut dyn FnMut(Change);

/// One watched folder, with those below it if it is watched with them.
pub(super) struct Tree {
    inotify: Arc<OwnedFd>,
    root: PathBuf,
    recursive: bool,
    /// Where each watched folder is below the root.
    paths: HashMap<i32, PathBuf>,
    numbers: BTreeMap<PathBuf, i32>,
    /// A folder that has left its place; the next event says whether it has another.
    leaving: Option<(u32, PathBuf)>,
    /// Names that were found by looking, about which the kernel may still be about to speak.
    found: HashSet<PathBuf>,
}

impl Tree {
    /// Watches the folder at `root`.
    pub(super) fn new(root: &Path, recursive: bool) -> Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .map_err(|errno| fault(root, errno))?;
        let mut tree = Self {
            inotify: Arc::new(inotify),
            root: root.to_owned(),
            recursive,
            paths: HashMap::new(),
            numbers: BTreeMap::new(),
            leaving: None,
            found: HashSet::new(),
        };
        tree.add(PathBuf::new())?;
        if recursive {
            // What was there before isn't news.
            tree.look_into(PathBuf::new(), None)?;
        }
        Ok(tree)
    }

    /// The descriptor that becomes readable when there are changes.
    pub(super) fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.inotify)
    }

    /// Whether the folders below are watched too.
    pub(super) fn is_recursive(&self) -> bool {
        self.recursive
    }

    /// The folder that is watched.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Tells what has happened, in order: true if that was all, false if it is more than should
    /// be told in one go.
    pub(super) fn changes(&mut self, tell: Tell<'_>) -> Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let inotify = Arc::clone(&self.inotify);
        let mut events = inotify::Reader::new(&*inotify, &mut buffer);
        let mut read = 0;
        loop {
            // What was read from the kernel is gone there.
            if read >= AT_ONCE && events.is_buffer_empty() {
                return Ok(false);
            }
            read += 1;
            match events.next() {
                Ok(event) => {
                    let name = event
                        .file_name()
                        .map(|name| OsStr::from_bytes(name.to_bytes()));
                    self.event(event.wd(), event.events(), event.cookie(), name, tell)?;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.left();
                    self.found.clear();
                    return Ok(true);
                }
                Err(errno) => return Err(fault(&self.root, errno)),
            }
        }
    }

    fn event(
        &mut self,
        number: i32,
        what: ReadFlags,
        cookie: u32,
        name: Option<&OsStr>,
        tell: Tell<'_>,
    ) -> Result<()> {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            return Err(lost(&self.root));
        }
        let returned = what.contains(ReadFlags::MOVED_TO)
            && self
                .leaving
                .as_ref()
                .is_some_and(|(left, _)| *left == cookie);
        if !returned {
            self.left();
        }
        let Some(folder) = self.paths.get(&number) else {
            // It was watched until a moment ago.
            return Ok(());
        };
        if what.contains(ReadFlags::IGNORED) {
            let folder = folder.clone();
            self.paths.remove(&number);
            self.numbers.remove(&folder);
            return Ok(());
        }
        let path = match name {
            Some(name) => folder.join(name),
            // Folders below are told about by the folders that they are in.
            None if !folder.as_os_str().is_empty() => return Ok(()),
            None => PathBuf::from("."),
        };
        for kind in kinds(what) {
            // A name that was found by looking was told when it was found.
            if kind != Kind::Create || !self.found.remove(&path) {
                tell(Change {
                    path: path.clone(),
                    kind,
                });
            }
        }
        match self.recursive && name.is_some() && what.contains(ReadFlags::ISDIR) {
            true => self.folder(path, what, cookie, tell),
            false => Ok(()),
        }
    }

    /// Follows a folder that came, went or moved.
    fn folder(
        &mut self,
        path: PathBuf,
        what: ReadFlags,
        cookie: u32,
        tell: Tell<'_>,
    ) -> Result<()> {
        if what.contains(ReadFlags::MOVED_FROM) {
            self.leaving = Some((cookie, path));
            return Ok(());
        }
        if what.contains(ReadFlags::DELETE) {
            // Somebody may still have it open, and its name may be another's by now.
            self.leaving = Some((0, path));
            self.left();
            return Ok(());
        }
        if !what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            return Ok(());
        }
        if let Some((_, old)) = self.leaving.take() {
            self.rename(&old, &path);
        }
        // One that came from elsewhere, or that moved before it was watched, is new to us.
        if !self.numbers.contains_key(&path) && self.add(path.clone())? {
            self.look_into(path, Some(tell))?;
        }
        Ok(())
    }

    /// Watches a folder; false if it is gone, or isn't ours to watch.
    fn add(&mut self, path: PathBuf) -> Result<bool> {
        if self.paths.len() >= MOST_FOLDERS {
            return Err(Fault::new(
                Cause::Bound,
                format!(
                    "'{}' has more than {MOST_FOLDERS} folders to watch",
                    self.root.display()
                ),
            ));
        }
        let is_root = path.as_os_str().is_empty();
        let (place, flags) = match is_root {
            true => (self.root.clone(), CHANGES),
            false => (self.root.join(&path), CHANGES | WatchFlags::DONT_FOLLOW),
        };
        match inotify::add_watch(&*self.inotify, &place, flags) {
            Ok(number) => {
                // A folder that is seen at another place than before has moved there.
                if let Some(old) = self.paths.insert(number, path.clone()) {
                    self.numbers.remove(&old);
                }
                self.numbers.insert(path, number);
                Ok(true)
            }
            Err(
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::NAMETOOLONG,
            ) if !is_root => Ok(false),
            Err(errno) => Err(fault(&place, errno)),
        }
    }

    /// Reads what is below a folder that was just watched, watches the folders there, and tells
    /// each name if they are news.
    fn look_into(&mut self, path: PathBuf, mut tell: Option<Tell<'_>>) -> Result<()> {
        let mut unread = vec![path];
        while let Some(folder) = unread.pop() {
            // Gone already, or closed to us: then its names can't be told.
            let Ok(items) = std::fs::read_dir(self.root.join(&folder)) else {
                continue;
            };
            for item in items.flatten() {
                let path = folder.join(item.file_name());
                if let Some(tell) = &mut tell {
                    tell(Change {
                        path: path.clone(),
                        kind: Kind::Create,
                    });
                    self.found.insert(path.clone());
                    if self.found.len() > MOST_FOUND {
                        return Err(lost(&self.root));
                    }
                }
                if item.file_type().is_ok_and(|kind| kind.is_dir()) && self.add(path.clone())? {
                    unread.push(path);
                }
            }
        }
        Ok(())
    }

    /// Gives a folder and those below it their new names.
    fn rename(&mut self, old: &Path, new: &Path) {
        for (path, number) in self.below(old) {
            self.numbers.remove(&path);
            // Every path below starts with it.
            let rest = path.strip_prefix(old).unwrap_or(&path);
            let renamed = match rest.as_os_str().is_empty() {
                true => new.to_owned(),
                false => new.join(rest),
            };
            self.paths.insert(number, renamed.clone());
            self.numbers.insert(renamed, number);
        }
    }

    /// Stops watching the folder that has left, if one has.
    fn left(&mut self) {
        let Some((_, old)) = self.leaving.take() else {
            return;
        };
        for (path, number) in self.below(&old) {
            self.numbers.remove(&path);
            self.paths.remove(&number);
            // It fails if the kernel was faster.
            inotify::remove_watch(&*self.inotify, number).ok();
        }
    }

    /// The watched folders from `path` on down.
    fn below(&self, path: &Path) -> Vec<(PathBuf, i32)> {
        self.numbers
            .range(path.to_owned()..)
            .take_while(|(below, _)| below.starts_with(path))
            .map(|(below, number)| (below.clone(), *number))
            .collect()
    }
}

/// What happened, in the order in which clients are told about several things at once.
fn kinds(what: ReadFlags) -> impl Iterator<Item = Kind> {
    [
        (ReadFlags::CREATE | ReadFlags::MOVED_TO, Kind::Create),
        (ReadFlags::MOVED_FROM | ReadFlags::MOVE_SELF, Kind::Rename),
        (ReadFlags::ATTRIB, Kind::Chmod),
        (ReadFlags::MODIFY, Kind::Write),
        (ReadFlags::DELETE | ReadFlags::DELETE_SELF, Kind::Remove),
    ]
    .into_iter()
    .filter(move |(flags, _)| what.intersects(*flags))
    .map(|(_, kind)| kind)
}

/// That changes happened which nobody can name any more.
pub(super) fn lost(root: &Path) -> Fault {
    Fault::new(
        Cause::Lost,
        format!(
            "changes in '{}' came faster than they could be told, and some are lost; list the \
             folder to see how it is now",
            root.display()
        ),
    )
}

fn fault(folder: &Path, errno: Errno) -> Fault {
    let path = folder.display();
    let text = match errno {
        Errno::NOSPC => format!(
            "cannot watch '{path}': this user watches as many folders as the kernel allows; \
             hint: raise fs.inotify.max_user_watches, or watch fewer"
        ),
        Errno::MFILE => format!(
            "cannot watch '{path}': this user has as many watches as the kernel allows; \
             hint: raise fs.inotify.max_user_instances, or end some"
        ),
        errno => return Fault::errno("watch", folder, errno),
    };
    Fault::new(Cause::Bound, text)
}

/// Whether `path` is a folder, which alone can be watched.
pub(super) fn check(path: &Path) -> Result<()> {
    let found =
        statat(CWD, path, AtFlags::empty()).map_err(|errno| Fault::errno("watch", path, errno))?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => Ok(()),
        _ => Err(Fault::invalid(format!(
            "path '{}' is not a directory",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests;
