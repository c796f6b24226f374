//! POST /files/compose: files put together into one, as large uploads come in parts.

use super::intake::Written;
use super::{Answer, user};
use crate::error::Refusal;
use crate::fault::{Cause, Fault, Result};
use crate::filesystem::folder::ensure_parent;
use crate::filesystem::metadata::Metadata;
use crate::filesystem::owner::Owner;
use crate::{Agent, blocking, paths};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, open, openat, renameat, unlinkat};
use rustix::io::Errno;
use serde::Deserialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a request to compose.
pub(super) const BODY: usize = 16 * 1024 * 1024;
/// Parts of one file.
const MOST_SOURCES: usize = 10_000;

/// The body of a request to compose.
#[derive(Deserialize)]
pub(super) struct Composition {
    source_paths: Vec<String>,
    destination: String,
    username: Option<String>,
}

pub(super) async fn answer(
    State(agent): State<Arc<Agent>>,
    composition: std::result::Result<Json<Composition>, JsonRejection>,
) -> Answer<Json<Written>> {
    let Json(wanted) = composition.map_err(|e| Refusal::invalid(e.body_text()))?;
    if wanted.source_paths.is_empty() {
        return Err(Refusal::invalid("source_paths must not be empty"));
    }
    if wanted.source_paths.len() > MOST_SOURCES {
        let most = MOST_SOURCES;
        return Err(Refusal::invalid(format!(
            "source_paths has more than {most} paths"
        )));
    }
    if wanted.destination.is_empty() {
        return Err(Refusal::invalid("destination is required"));
    }
    let (default, workdir) = {
        let given = agent.given();
        (given.user.clone(), given.workdir.clone())
    };
    let named = wanted.username.filter(|name| !name.is_empty());
    let user = user(&named.unwrap_or(default))?;
    let resolve = |path: &String| {
        paths::resolve(path, &user.home, workdir.as_deref())
            .map_err(|refused| Refusal::invalid(refused.to_string()))
    };
    let sources = wanted
        .source_paths
        .iter()
        .map(resolve)
        .collect::<Answer<Vec<_>>>()?;
    let destination = resolve(&wanted.destination)?;
    let owner = Owner::of(&agent, &user);
    blocking::run(move || {
        compose(&sources, &destination, owner)?;
        Ok(Json(Written::new(&destination, &Metadata::new())))
    })
    .await
    .map_err(Refusal::from)
}

/// Puts `sources` together as `destination`, in one step, and removes them.
fn compose(sources: &[PathBuf], destination: &Path, owner: Owner) -> Result<()> {
    // Before anything is made.
    for source in sources {
        if source == destination {
            return Err(Fault::invalid(format!(
                "source path '{}' cannot be the same as destination",
                source.display()
            )));
        }
        part(source)?;
    }
    let fault = |errno| Fault::errno("write", destination, errno);
    let (way, name) = ensure_parent(destination, owner)?;
    let folder = way.folder;
    if let Ok(found) = rustix::fs::statat(&folder, name, AtFlags::empty())
        && FileType::from_raw_mode(found.st_mode) == FileType::Directory
    {
        return Err(fault(Errno::ISDIR));
    }
    let whole = Whole::new(folder.as_fd(), owner).map_err(fault)?;
    let mut target = whole
        .file
        .try_clone()
        .map_err(|e| Fault::io("write", destination, &e))?;
    for source in sources {
        std::io::copy(&mut part(source)?, &mut target)
            .map_err(|error| Fault::io("write", destination, &error))?;
    }
    renameat(whole.folder, &whole.name, &folder, name).map_err(fault)?;
    for source in sources {
        // It is in the whole already; one that is gone meanwhile is as good as removed.
        rustix::fs::unlink(source).ok();
    }
    Ok(())
}

fn part(path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file: OwnedFd = open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => Fault::new(
            Cause::Missing,
            format!("source file not found: {}", path.display()),
        ),
        errno => Fault::errno("read", path, errno),
    })?;
    let found = fstat(&file).map_err(|errno| Fault::errno("read", path, errno))?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok(file.into()),
        _ => Err(Fault::invalid(format!(
            "source path is not a regular file: {}",
            path.display()
        ))),
    }
}

/// The file beside the destination that becomes it, and that is gone if it doesn't.
struct Whole<'a> {
    folder: BorrowedFd<'a>,
    name: String,
    file: File,
}

impl<'a> Whole<'a> {
    fn new(folder: BorrowedFd<'a>, owner: Owner) -> std::result::Result<Self, Errno> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let name = format!(".casemate-compose-{:016x}", u64::from_ne_bytes(random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = owner.makes(|| openat(folder, &name, flags, Mode::from_raw_mode(0o644)))?;
        Ok(Self {
            folder,
            name,
            file: file.into(),
        })
    }
}

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        // After the rename there is nothing under this name.
        unlinkat(self.folder, &self.name, AtFlags::empty()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::compose;
    use crate::fault::Cause;
    use crate::filesystem::owner::Owner;

    const OWNER: Owner = Owner { uid: 0, gid: 0 };

    #[test]
    fn parts_become_one_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, content) in [("1", "one "), ("2", "two "), ("3", "")] {
            std::fs::write(path(name), content).unwrap();
        }
        std::fs::write(path("whole"), "before").unwrap();
        compose(&[path("2"), path("1"), path("3")], &path("whole"), OWNER).unwrap();
        assert_eq!(std::fs::read(path("whole")).unwrap(), b"two one ");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_goes_wrong_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("1"), "one").unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        for (sources, destination, cause) in [
            (vec!["1", "none"], "new", Cause::Missing),
            (vec!["1", "folder"], "new", Cause::Invalid),
            (vec!["1"], "1", Cause::Invalid),
            (vec!["1"], "folder", Cause::Invalid),
            (vec!["1"], "1/below", Cause::Invalid),
        ] {
            let sources: Vec<_> = sources.into_iter().map(path).collect();
            let fault = compose(&sources, &path(destination), OWNER).unwrap_err();
            assert_eq!(fault.cause, cause, "{fault:?}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(std::fs::read(path("1")).unwrap(), b"one");
    }
}
