//! A snapshot and those that it builds on.
//!
//! ```text
//!   newest ──parent──▶ … ──parent──▶ whole
//!     memory  memory.ranges            memory
//! ```
//!
//! A page is what the newest says that has it as its own. While a chain is held, none of its folders
//! changes: [`merge`](super::merge) puts another in the place of one, and waits for whoever holds it.

use super::manifest::{Manifest, Parent, hash_of, ranges};
use crate::guest::disk;
use crate::memory::{Layers, PAGE, Ranges};
use casemate_core::error::{Error, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The longest chain that is followed.
const LONGEST: usize = 64;

/// It, newest first.
#[derive(Debug)]
pub(super) struct Chain(Vec<Link>);

#[derive(Debug)]
struct Link {
    folder: PathBuf,
    manifest: Manifest,
    _held: File,
}

impl Chain {
    /// Reads and holds it.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        Self::below(hold(folder, FlockOperation::LockShared)?, folder)
    }

    /// Reads the rest and holds it; the newest is held by `held`.
    pub(super) fn below(held: File, folder: &Path) -> Result<Self> {
        let manifest = Manifest::read(folder)?;
        let mut next = manifest.parent.clone();
        let mut links = vec![Link {
            folder: folder.to_owned(),
            manifest,
            _held: held,
        }];
        while let Some(Parent { id, folder }) = next {
            let fail = |why: &str| Error::rule("follow what a snapshot builds on", why);
            if links.iter().any(|link| link.manifest.id == id) {
                return Err(fail("it builds on itself").on(folder.display()));
            }
            if links.len() == LONGEST {
                let why = format!("there are more than {LONGEST}");
                return Err(fail(&why).hint("merge the snapshot that it builds on"));
            }
            let held = hold(&folder, FlockOperation::LockShared)?;
            let manifest = Manifest::read(&folder)?;
            if manifest.id != id {
                return Err(fail("it is another snapshot").on(folder.display()));
            }
            if manifest.names() != links[0].manifest.names()
                || manifest.machine.memory != links[0].manifest.machine.memory
            {
                return Err(fail("it is of another machine").on(folder.display()));
            }
            next = manifest.parent.clone();
            links.push(Link {
                folder,
                manifest,
                _held: held,
            });
        }
        Ok(Self(links))
    }

    pub(super) fn newest(&self) -> &Manifest {
        &self.0[0].manifest
    }

    /// The newest, as what builds on it names it.
    pub(super) fn as_parent(&self) -> Result<Parent> {
        parent(self.newest(), &self.0[0].folder)
    }

    /// Whether the newest's own file is all there is to it.
    pub(super) fn is_whole(&self, name: &str) -> bool {
        !self.newest().differences.contains_key(name)
    }

    /// One of its files, to be compared with.
    pub(super) fn layers(&self, name: &str) -> Result<Layers> {
        let mut layers = Layers::default();
        for part in self.parts(name)?.into_iter().rev() {
            layers.put(part.file, &part.own);
        }
        Ok(layers)
    }

    /// Puts one of its files together as a new one.
    pub(super) fn build(&self, name: &str, to: &Path) -> Result<()> {
        let mut parts = self.parts(name)?;
        let whole = parts
            .pop()
            .ok_or_else(|| Error::rule("build", "there is nothing"))?;
        disk::copy(&whole.path, to)?;
        let fail = |error: &std::io::Error| Error::io("write", error).on(to.display());
        let built = File::options()
            .write(true)
            .open(to)
            .map_err(|error| fail(&error))?;
        for part in parts.iter().rev() {
            part.own
                .apply(&part.file, &built)
                .map_err(|error| fail(&error))?;
        }
        Ok(())
    }

    /// The newest's first, the last is whole.
    fn parts(&self, name: &str) -> Result<Vec<Part>> {
        let mut parts: Vec<Part> = Vec::new();
        for Link {
            folder, manifest, ..
        } in &self.0
        {
            let own = manifest.differences.get(name).map(String::as_str);
            let part = Part::open(folder, name, own)?;
            if parts
                .first()
                .is_some_and(|first| first.length != part.length)
            {
                let why = "it is longer or shorter than what builds on it";
                return Err(Error::rule("read the snapshot", why).on(part.path.display()));
            }
            parts.push(part);
            if own.is_none() {
                break;
            }
        }
        Ok(parts)
    }
}

/// A snapshot, as what builds on it names it.
pub(super) fn parent(manifest: &Manifest, folder: &Path) -> Result<Parent> {
    let whole = std::path::absolute(folder);
    Ok(Parent {
        id: manifest.id.clone(),
        folder: whole.map_err(|error| Error::io("find", &error).on(folder.display()))?,
    })
}

/// A file of one snapshot.
struct Part {
    path: PathBuf,
    file: File,
    length: u64,
    own: Ranges,
}

impl Part {
    /// With the hash of its ranges, if it is a difference.
    fn open(folder: &Path, name: &str, hash: Option<&str>) -> Result<Self> {
        let path = folder.join(name);
        let fail = |error: &std::io::Error| Error::io("open", error).on(path.display());
        let file = File::open(&path).map_err(|error| fail(&error))?;
        let length = file.metadata().map_err(|error| fail(&error))?.len();
        let pages = length.div_ceil(PAGE);
        let own = match hash {
            Some(hash) => own(&folder.join(ranges(name)), hash, pages)?,
            None => Ranges::first(pages),
        };
        Ok(Self {
            path,
            file,
            length,
            own,
        })
    }
}

/// Which pages of a file of so many are a difference's own.
fn own(path: &Path, hash: &str, pages: u64) -> Result<Ranges> {
    let fail = |error: &std::io::Error| Error::io("read", error).on(path.display());
    let file = File::open(path).map_err(|error| fail(&error))?;
    let mut bytes = Vec::new();
    file.take(Ranges::longest(pages))
        .read_to_end(&mut bytes)
        .map_err(|error| fail(&error))?;
    if hash_of(&bytes) != hash {
        return Err(Error::rule("read", "it isn't what was written").on(path.display()));
    }
    Ranges::decode(&bytes, pages).map_err(|error| error.on(path.display()))
}

/// Holds a snapshot's folder (flock(2)): the one that has this name once it is held.
pub(super) fn hold(folder: &Path, how: FlockOperation) -> Result<File> {
    let fail = |error: &std::io::Error| Error::io("open", error).on(folder.display());
    loop {
        let held = File::open(folder).map_err(|error| fail(&error))?;
        flock(&held, how).map_err(|errno| fail(&errno.into()))?;
        let own = held.metadata().map_err(|error| fail(&error))?;
        let named = fs::metadata(folder).map_err(|error| fail(&error))?;
        if (own.dev(), own.ino()) == (named.dev(), named.ino()) {
            return Ok(held);
        }
    }
}
