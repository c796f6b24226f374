//! What a carrier leads to: targets of symbolic links, and what a repository's configuration
//! names. Whoever writes there writes the carrier, be it there already or only named.

use super::gitconfig;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows (path_resolution(7)).
const MOST_LINKS: u32 = 40;
/// Files of configuration, and the bytes of one: an earlier program may have written them.
const MOST_FILES: usize = 256;
const MOST_BYTES: u64 = 1 << 20;

/// Paths that were led to, relative to a workspace's root.
pub(super) struct Leads<'a> {
    root: &'a Path,
    /// What is there.
    pub(super) protected: BTreeSet<PathBuf>,
    /// What isn't: by the folder that is, the rest of the path.
    pub(super) awaited: BTreeMap<PathBuf, BTreeSet<String>>,
}

impl<'a> Leads<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        Self {
            root,
            protected: BTreeSet::new(),
            awaited: BTreeMap::new(),
        }
    }

    /// Goes along an absolute path: to what it leads to, or to where it ends too early. Links on
    /// the way decide on that as well.
    pub(super) fn follow(&mut self, path: &Path) {
        let mut here = PathBuf::from("/");
        let mut rest = parts(path);
        let mut links = 0;
        while let Some(next) = rest.pop() {
            if next == Path::new("..") {
                here.pop();
                continue;
            }
            let there = here.join(&next);
            match there.symlink_metadata() {
                Ok(meta) if meta.is_symlink() && links < MOST_LINKS => {
                    links += 1;
                    self.protect(&there);
                    let Ok(target) = std::fs::read_link(&there) else {
                        return;
                    };
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    rest.extend(parts(&target));
                }
                Ok(_) => here = there,
                Err(error) => {
                    rest.push(next);
                    // A file may make way for a folder.
                    if error.kind() == ErrorKind::NotADirectory
                        && let Some(name) = here.file_name().map(PathBuf::from)
                    {
                        rest.push(name);
                        here.pop();
                    }
                    return self.wait(&here, rest);
                }
            }
        }
        self.protect(&here);
    }

    fn protect(&mut self, path: &Path) {
        if let Ok(path) = path.strip_prefix(self.root)
            && !path.as_os_str().is_empty()
        {
            self.protected.insert(path.into());
        }
    }

    fn wait(&mut self, folder: &Path, mut rest: Vec<PathBuf>) {
        let Ok(folder) = folder.strip_prefix(self.root) else {
            return;
        };
        let mut path = PathBuf::new();
        while let Some(part) = rest.pop() {
            // `missing/..` leads nowhere until somebody makes it.
            match part == Path::new("..") {
                true if !path.pop() => return,
                true => {}
                false => path.push(part),
            }
        }
        // A name that is no text can't have been written in a policy or in git's settings.
        if let Some(path) = path.to_str().filter(|path| !path.is_empty()) {
            let awaited = self.awaited.entry(folder.into()).or_default();
            awaited.insert(path.into());
        }
    }

    /// The targets of protected links, and of links in a protected folder, as hooks often are
    /// some.
    pub(super) fn links(&mut self, protected: &BTreeSet<PathBuf>) {
        let all: BTreeSet<PathBuf> = protected.union(&self.protected).cloned().collect();
        for path in all.iter().map(|path| self.root.join(path)) {
            if path.is_symlink() {
                self.follow(&path);
            }
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            for entry in entries.map(|entry| entry.path()) {
                if entry.is_symlink() {
                    self.follow(&entry);
                }
            }
        }
    }

    /// What the configurations of repositories name: their hooks, what they include, and that in
    /// turn (core.hooksPath and include.path in git-config(1)). Every value counts, since which
    /// one git takes depends on more than the file.
    pub(super) fn git(
        &mut self,
        repositories: &BTreeSet<PathBuf>,
        protected: &BTreeSet<PathBuf>,
        home: Option<&Path>,
    ) {
        let mut files = BTreeSet::new();
        for (repository, tops) in tops(self.root, repositories, protected) {
            let mut pending = ["config", "config.worktree"]
                .map(|n| repository.join(n))
                .to_vec();
            while let Some(file) = pending.pop() {
                if files.len() >= MOST_FILES || !files.insert(file.clone()) {
                    continue;
                }
                let folder = file.parent().unwrap_or(&repository);
                let settings = gitconfig::settings(&text(&file)).into_iter();
                for (key, value) in settings.filter(|(_, value)| !value.is_empty()) {
                    let value = value.strip_prefix(":(optional)").unwrap_or(&value);
                    let value = match (value.strip_prefix("~/"), home) {
                        (Some(rest), Some(home)) => home.join(rest),
                        _ => PathBuf::from(value),
                    };
                    match key.as_str() {
                        "hookspath" | "attributesfile" => {
                            tops.iter().for_each(|top| self.follow(&top.join(&value)));
                        }
                        "path" => {
                            self.follow(&folder.join(&value));
                            pending.push(folder.join(value));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Git folders, and the folders from which paths in their settings count: the git folder itself,
/// and its work trees.
fn tops(
    root: &Path,
    repositories: &BTreeSet<PathBuf>,
    protected: &BTreeSet<PathBuf>,
) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let mut tops: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
    for repository in repositories.iter().map(|path| root.join(path)) {
        let above = repository.parent().filter(|_| repository.ends_with(".git"));
        let all = above.into_iter().chain([&*repository]);
        tops.insert(repository.clone(), all.map(Path::to_owned).collect());
    }
    // A work tree with its git folder elsewhere (gitrepository-layout(5)).
    for file in protected.iter().filter(|path| path.ends_with(".git")) {
        let file = root.join(file);
        let (text, Some(top)) = (self::text(&file), file.parent()) else {
            continue;
        };
        let Some(folder) = text.trim().strip_prefix("gitdir:") else {
            continue;
        };
        let Ok(folder) = std::fs::canonicalize(top.join(folder.trim())) else {
            continue;
        };
        let common =
            std::fs::canonicalize(folder.join(self::text(&folder.join("commondir")).trim()));
        for folder in [Some(folder), common.ok()].into_iter().flatten() {
            if let Some(tops) = tops.get_mut(&folder) {
                tops.insert(top.into());
            }
        }
    }
    tops
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let part = |component: Component<'_>| match component {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(part).collect()
}

/// The start of a file; none if it is a pipe or a device that an earlier program left.
fn text(path: &Path) -> String {
    let read = || {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = open(path, flags, Mode::empty()).ok()?;
        let kind = FileType::from_raw_mode(fstat(&file).ok()?.st_mode);
        let mut bytes = Vec::new();
        if kind == FileType::RegularFile {
            let mut file = std::fs::File::from(file).take(MOST_BYTES);
            file.read_to_end(&mut bytes).ok()?;
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}
