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
use super::leads::Leads;
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
    /// Folders whose new entries are watched, and the names, or paths from there, that must not
    /// appear.
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
    pub(super) fn scan(root: &Path, spec: &SandboxSpec, home: Option<&Path>) -> Result<Self> {
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
            mut pinned,
            links,
        } = walk.found;
        let mut leads = Leads::new(root);
        names
            .paths()
            .for_each(|path| leads.follow(&root.join(path)));
        leads.git(&repositories, &protected, home);
        leads.links(&protected);
        protected.append(&mut leads.protected);
        let mut awaited = leads.awaited;
        awaited.retain(|folder, paths| {
            // Nothing can be made in a protected folder.
            paths.retain(|path| !names.allows_path(&folder.join(path)));
            !paths.is_empty() && !protected.iter().any(|above| folder.starts_with(above))
        });
        let mut linked = links.leading_outside();
        linked.retain(|path| !protected.iter().any(|above| path.starts_with(above)));
        let carriers = protected.len() + awaited.values().map(BTreeSet::len).sum::<usize>();
        if carriers + linked.len() > MOST_PROTECTED {
            return Err(too_many(root, carriers, linked.len()));
        }
        let mut watched = vec![(PathBuf::new(), names.missing_at_root(&protected))];
        for (folder, paths) in awaited {
            pinned.insert(folder.clone());
            watched.push((folder, paths.into_iter().collect()));
        }
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
        // A git folder is pinned even if nothing in it is protected yet.
        let kept = self.repositories.iter().chain(&self.pinned);
        for folder in self
            .protected
            .iter()
            .chain(kept)
            .flat_map(|path| path.ancestors())
        {
            pins.insert((folder.components().count(), folder), Access::ReadWrite);
        }
        pins.remove(&(0, Path::new("")));
        for path in &self.protected {
            pins.insert((path.components().count(), path), Access::ReadOnly);
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

    /// Paths that the policy adds in folders below.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let below = self.added.iter().filter(|name| name.contains('/'));
        below.map(Path::new).filter(|path| !self.allows_path(path))
    }

    fn allows_path(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        [path.to_str(), name]
            .into_iter()
            .flatten()
            .any(|text| self.allows(text))
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
