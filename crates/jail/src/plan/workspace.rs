//! Writable host folders: what in them the host would later execute or trust.
//!
//! One walk over the folder finds the carriers, which become read-only, and the files that have
//! a name outside of it, which would be changed there too. Pinning a path means mounting it on
//! itself: a mount point can't be renamed or removed, so neither the carrier nor any folder
//! above it can be moved out of the way.
//!
//! Names that don't exist yet can't be mounted on, and placeholders would litter the host; the
//! supervisor watches for them instead (see `supervisor::guard`).

use super::Step;
use super::walk::{Found, Walk};
use casemate_core::carriers::{self, Place};
use casemate_core::error::{Error, Result};
use casemate_core::spec::{Access, SandboxSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// More protected paths than this mean a mount table that slows everything down.
const MOST_PROTECTED: usize = 8192;

/// What tells that a file changed: inode, size, content and status time.
pub(crate) type Stamp = (u64, u64, i64, i64);

/// A writable folder and what was found in it.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Paths that are read-only inside, relative to the root.
    pub(crate) protected: BTreeSet<PathBuf>,
    /// Folders whose new entries are watched, and the names that must not appear there.
    pub(crate) watched: Vec<(PathBuf, Vec<String>)>,
    /// Files that are read-only inside since they have a name elsewhere.
    pub(crate) linked: BTreeSet<PathBuf>,
    /// Git folders that existed at the start.
    pub(crate) repositories: BTreeSet<PathBuf>,
    /// Folders that can't be moved away, though they may be written.
    pinned: BTreeSet<PathBuf>,
    /// Every file, if a report is wanted.
    pub(crate) before: Option<BTreeMap<PathBuf, Stamp>>,
}

impl Workspace {
    /// Walks the folder.
    pub(super) fn scan(root: &Path, spec: &SandboxSpec) -> Result<Self> {
        let names = Names::of(spec);
        let mut walk = Walk {
            names: &names,
            found: Found::default(),
            stamps: spec.report.then(BTreeMap::new),
        };
        walk.folder(root)?;
        let Found {
            carriers: mut protected,
            repositories,
            pinned,
            links,
        } = walk.found;
        protected.extend(named_by_git(root, &repositories));
        protected.extend(targets(root, &protected));
        let mut linked = links.leading_outside();
        linked.retain(|path| !protected.iter().any(|above| path.starts_with(above)));
        if protected.len() + linked.len() > MOST_PROTECTED {
            return Err(too_many(root, protected.len(), linked.len()));
        }
        let mut watched = vec![(PathBuf::new(), names.missing_at_root(&protected))];
        watched.extend(names.missing_below(root, &protected));
        for repository in &repositories {
            let missing = carriers::GIT
                .iter()
                .filter(|name| !protected.contains(&repository.join(name)));
            let missing = missing
                .filter(|_| !names.allows(".git"))
                .map(|name| (*name).to_owned());
            watched.push((repository.clone(), missing.collect()));
        }
        Ok(Self {
            root: root.into(),
            protected,
            linked,
            watched,
            repositories,
            pinned,
            before: walk.stamps,
        })
    }

    /// Pins for every folder on the way to something protected, outermost first, then the
    /// protected paths themselves.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut pins: BTreeMap<(usize, &Path), Access> = BTreeMap::new();
        for path in &self.protected {
            let above = path
                .ancestors()
                .skip(1)
                .filter(|folder| !folder.as_os_str().is_empty());
            for folder in above {
                pins.entry((folder.components().count(), folder))
                    .or_insert(Access::ReadWrite);
            }
            pins.insert((path.components().count(), path), Access::ReadOnly);
        }
        // A git folder is pinned even if nothing in it is protected yet.
        let kept = self.repositories.iter().chain(&self.pinned);
        for path in kept.filter(|path| !path.as_os_str().is_empty()) {
            pins.entry((path.components().count(), path))
                .or_insert(Access::ReadWrite);
        }
        let pins = pins.into_iter().map(|((_, path), access)| (path, access));
        // A file with another name can be moved; it stays read-only wherever it goes.
        let linked = self
            .linked
            .iter()
            .map(|path| (path.as_path(), Access::ReadOnly));
        pins.chain(linked)
            .map(|(path, access)| Step::Pin {
                target: self.root.join(path),
                access,
            })
            .collect()
    }

    /// The stamps of all files now.
    pub(crate) fn stamps(root: &Path) -> BTreeMap<PathBuf, Stamp> {
        let names = Names::default();
        let mut walk = Walk {
            names: &names,
            found: Found::default(),
            stamps: Some(BTreeMap::new()),
        };
        // What can't be read now is missing from the report, which is better than no report.
        let _ = walk.folder(root);
        walk.stamps.unwrap_or_default()
    }
}

/// The names that are protected in this run.
#[derive(Default)]
pub(crate) struct Names {
    allowed: BTreeSet<String>,
    added: BTreeSet<String>,
}

impl Names {
    fn of(spec: &SandboxSpec) -> Self {
        Self {
            allowed: spec.allow_carriers.clone(),
            added: spec.protect_carriers.clone(),
        }
    }

    pub(super) fn allows(&self, name: &str) -> bool {
        self.allowed.contains(name)
    }

    /// Names that don't exist at a workspace's root and must not appear there.
    fn missing_at_root(&self, protected: &BTreeSet<PathBuf>) -> Vec<String> {
        let listed = carriers::NAMES.iter().map(|carrier| carrier.path);
        let added = self
            .added
            .iter()
            .map(String::as_str)
            .filter(|name| !name.contains('/'));
        listed
            .chain(added)
            .filter(|name| !self.allows(name) && !protected.contains(Path::new(name)))
            .map(str::to_owned)
            .collect()
    }

    /// The same for names that the policy adds in folders below.
    fn missing_below(
        &self,
        root: &Path,
        protected: &BTreeSet<PathBuf>,
    ) -> Vec<(PathBuf, Vec<String>)> {
        let added = self.added.iter().map(Path::new);
        let missing = added.filter(|path| !protected.contains(*path) && !self.allows_path(path));
        missing
            .filter_map(|path| {
                let folder = path.parent().filter(|folder| root.join(folder).is_dir())?;
                let name = path.file_name()?.to_str()?.to_owned();
                (!folder.as_os_str().is_empty()).then(|| (folder.to_owned(), vec![name]))
            })
            .collect()
    }

    fn allows_path(&self, path: &Path) -> bool {
        path.to_str().is_some_and(|path| self.allows(path))
    }

    /// True if an entry that exists is protected.
    pub(super) fn protects(
        &self,
        name: &str,
        path: &Path,
        at_root: bool,
        in_packages: bool,
    ) -> bool {
        if self.allows(name) {
            return false;
        }
        let added = self
            .added
            .iter()
            .any(|added| path == Path::new(added) || (at_root && name == added));
        let listed = carriers::find(name.as_bytes()).is_some_and(|carrier| match carrier.place {
            Place::Root => at_root,
            Place::Anywhere => !in_packages,
        });
        added || listed
    }
}

/// What protected symbolic links lead to, if that is in the workspace too: whoever writes there
/// writes the carrier. The links in a protected folder count as well, as hooks often are some.
fn targets(root: &Path, protected: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let mut links: Vec<PathBuf> = protected.iter().map(|path| root.join(path)).collect();
    for folder in links.clone().iter().filter(|path| path.is_dir()) {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        links.extend(entries.map(|entry| entry.path()));
    }
    let links = links.into_iter().filter(|path| path.is_symlink());
    let real = links.filter_map(|path| std::fs::canonicalize(path).ok());
    within(root, real).collect()
}

/// Files and folders of the workspace that a repository's configuration names: its hooks, and
/// what it includes (core.hooksPath and include.path in git-config(1)). Every value counts, since
/// which one git takes depends on more than the file.
fn named_by_git(root: &Path, repositories: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let mut named = Vec::new();
    for repository in repositories {
        let folder = root.join(repository);
        let config = std::fs::read_to_string(folder.join("config")).unwrap_or_default();
        let top = if repository.ends_with(".git") {
            folder.parent()
        } else {
            None
        };
        for line in config.lines() {
            // A section may stand on the same line.
            let line = line.rsplit_once(']').map_or(line, |(_, rest)| rest);
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let key = key.trim().to_ascii_lowercase();
            let value = value.trim().trim_matches('"');
            if key == "hookspath" {
                named.push(top.unwrap_or(&folder).join(value));
            }
            if key == "path" || key == "attributesfile" {
                named.push(folder.join(value));
            }
        }
    }
    within(
        root,
        named
            .into_iter()
            .filter_map(|path| std::fs::canonicalize(path).ok()),
    )
    .collect()
}

/// Paths below the root, relative to it.
fn within(root: &Path, paths: impl Iterator<Item = PathBuf>) -> impl Iterator<Item = PathBuf> {
    paths
        .filter_map(move |path| path.strip_prefix(root).ok().map(Path::to_owned))
        .filter(|path| !path.as_os_str().is_empty())
}

fn too_many(root: &Path, carriers: usize, linked: usize) -> Error {
    let why = format!(
        "{} paths in it would have to be read-only",
        carriers + linked
    );
    let error = Error::rule("protect", why).on(root.display());
    match linked > carriers {
        true => error.hint(
            "most of them are files with another name outside (hard links), which the program could change \
             there; copy the folder, or clone it with `git clone --no-hardlinks`",
        ),
        false => error.hint("choose a smaller --workdir, or accept names with --allow-carrier NAME"),
    }
}
