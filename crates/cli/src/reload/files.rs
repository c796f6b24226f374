//! The files that a policy consists of, and what they looked like.

use super::folder_of;
use casemate_policy::Document;
use casemate_policy::network::Rego;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Links that one path may lead over (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    files: Vec<(PathBuf, Option<State>)>,
    folders: BTreeSet<PathBuf>,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    place: (u64, u64),
    size: u64,
    times: [i64; 4],
}

impl Files {
    /// The files of a policy, as they are now.
    pub(crate) fn of(document: &Document) -> Self {
        let rules = match &document.network.rego {
            Some(rego) => match &rego.value {
                Rego::File(path) => Some(path.clone()),
                Rego::Inline(_) => None,
            },
            None => None,
        };
        Self::new(document.files().iter().map(PathBuf::from).chain(rules))
    }

    /// Files by their names, and those of before.
    pub(crate) fn named(names: impl Iterator<Item = PathBuf>, before: &Self) -> Self {
        Self::new(names.chain(before.files.iter().map(|(path, _)| path.clone())))
    }

    fn new(names: impl Iterator<Item = PathBuf>) -> Self {
        let names: BTreeSet<PathBuf> = names.collect();
        let folders = names.iter().flat_map(|path| folders(path)).collect();
        let files = names.into_iter().map(|path| (state(&path), path));
        Self {
            files: files.map(|(state, path)| (path, state)).collect(),
            folders,
        }
    }

    /// True if none of them has changed since.
    pub(crate) fn are_same(&self) -> bool {
        self.files.iter().all(|(path, was)| state(path) == *was)
    }

    /// The folders in which a change could make them others.
    pub(crate) fn folders(&self) -> &BTreeSet<PathBuf> {
        &self.folders
    }

    /// One that is below one of these, if any: by its own name, or by a link on its way.
    pub(crate) fn within(&self, below: &[PathBuf]) -> Option<PathBuf> {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let below: Vec<PathBuf> = below.iter().map(|path| real(path)).collect();
        let inside = |path: &PathBuf| {
            let path = real(path);
            below.iter().any(|folder| path.starts_with(folder))
        };
        let files = self.files.iter().map(|(path, _)| path);
        files
            .chain(&self.folders)
            .find(|path| inside(path))
            .cloned()
    }
}

fn state(path: &Path) -> Option<State> {
    let meta = std::fs::metadata(path).ok()?;
    Some(State {
        place: (meta.dev(), meta.ino()),
        size: meta.size(),
        times: [
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ],
    })
}

/// The folder that a file is in, and those of all links on the way.
fn folders(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let (mut path, mut links) = (path.to_owned(), 0);
    'again: while links < MOST_LINKS {
        let mut walked = PathBuf::new();
        let parts: Vec<Component<'_>> = path.components().collect();
        for (at, part) in parts.iter().enumerate() {
            walked.push(part);
            let Ok(to) = std::fs::read_link(&walked) else {
                continue;
            };
            let folder = folder_of(&walked);
            let mut next = folder.join(to);
            next.extend(&parts[at + 1..]);
            found.insert(folder);
            path = next;
            links += 1;
            continue 'again;
        }
        found.insert(folder_of(&path));
        break;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_folder_with_a_link_on_the_way_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().canonicalize().unwrap();
        for name in ["one", "two", "three"] {
            std::fs::create_dir(here.join(name)).unwrap();
        }
        std::fs::write(here.join("three/p"), "x").unwrap();
        symlink("../three", here.join("two/current")).unwrap();
        symlink(here.join("two/current/p"), here.join("one/p")).unwrap();
        let found = folders(&here.join("one/p"));
        let wanted: BTreeSet<_> = ["one", "two", "two/../three"]
            .map(|name| here.join(name))
            .into();
        assert!(found.is_superset(&wanted), "{found:?}");
        // A loop ends.
        symlink("loop", here.join("loop")).unwrap();
        assert!(folders(&here.join("loop")).contains(&here));
    }

    #[test]
    fn a_link_out_of_a_writable_folder_is_within_it() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        for name in ["own", "theirs"] {
            std::fs::create_dir(here.join(name)).unwrap();
        }
        std::fs::write(here.join("own/p"), "x").unwrap();
        symlink(here.join("own/p"), here.join("theirs/p")).unwrap();
        let below = [here.join("theirs")];
        let files = |name: &str| Files::new([here.join(name)].into_iter());
        assert_eq!(files("own/p").within(&below), None);
        assert!(files("theirs/p").within(&below).is_some());
        let before = files("own/p");
        std::fs::write(here.join("own/p"), "xy").unwrap();
        assert!(!before.are_same());
    }
}
