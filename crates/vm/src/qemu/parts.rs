//! A machine's memory and disks, on their way into a snapshot.
//!
//! Each is copied while the machine runs, and then again what has changed meanwhile, with the machine
//! stopped: so it stands still for as long as it takes to compare, and not for as long as it takes to
//! write. A difference is what differs from the parent; a full snapshot is what differs from
//! nothing, and so has no page that is zero.
//!
//! A disk on a file system that shares blocks is shared, whole.

use super::chain::Chain;
use super::manifest::{hash_of, ranges};
use crate::memory::{Layers, PAGE, Ranges};
use casemate_core::error::{Error, Result};
use rustix::fs::ioctl_ficlone;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Where a file is now, and what it is called in a snapshot.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// When it was last written, if it was before the snapshot that this builds on.
    pub(super) since: Option<Stamp>,
    /// Whether it is written past its time of writing: memory is.
    pub(super) is_mapped: bool,
}

/// One file.
#[derive(Debug)]
pub(super) struct Part {
    source: Source,
    target: File,
    pages: u64,
    /// What the target would show without its own pages, and then those.
    layers: Layers,
    own: Ranges,
    is_shared: bool,
    is_difference: bool,
}

impl Part {
    /// Its file in a snapshot's folder, of which nothing is there yet.
    pub(super) fn begin(source: Source, draft: &Path, parent: Option<&Chain>) -> Result<Self> {
        let path = draft.join(&source.name);
        let fail = |error: &std::io::Error| Error::io("make", error).on(path.display());
        let length = source.file.metadata().map_err(|error| fail(&error))?.len();
        let mut options = File::options();
        options.read(true).write(true).create_new(true).mode(0o600);
        let target = options.open(&path).map_err(|error| fail(&error))?;
        target.set_len(length).map_err(|error| fail(&error))?;
        let layers = parent.map(|chain| chain.layers(&source.name)).transpose()?;
        Ok(Self {
            source,
            target,
            pages: length.div_ceil(PAGE),
            is_difference: layers.is_some(),
            layers: layers.unwrap_or_default(),
            own: Ranges::default(),
            is_shared: false,
        })
    }

    /// Takes what the source is now, as far as it isn't here yet.
    pub(super) fn take(&mut self) -> Result<()> {
        let Source { file, .. } = &self.source;
        let fail = |error: &std::io::Error| {
            let path = self.source.path.display();
            Error::io("write into the snapshot what is in", error).on(path)
        };
        let now = Stamp::of(file).map_err(|error| fail(&error))?;
        let is_new = now.is_none() || now != self.source.since;
        if self.source.is_mapped || is_new {
            self.is_shared = !self.source.is_mapped && ioctl_ficlone(&self.target, file).is_ok();
            if !self.is_shared {
                let found = self.layers.differing(file, self.pages, Some(&self.target));
                let found = found.map_err(|error| fail(&error))?;
                let target = self.target.try_clone().map_err(|error| fail(&error))?;
                self.layers.put(target, &found);
                self.own = self.own.union(&found);
            }
        }
        self.source.since = now;
        Ok(())
    }

    /// When the source was last written, if nothing can have been written since it was taken.
    pub(super) fn stamp(&self) -> Option<(String, Stamp)> {
        let stamp = self.source.since.filter(|_| !self.source.is_mapped)?;
        Some((self.source.name.clone(), stamp))
    }

    /// Writes which pages are its own, if others are the parent's.
    pub(super) fn finish(
        &self,
        draft: &Path,
        differences: &mut BTreeMap<String, String>,
    ) -> Result<()> {
        if self.is_difference && !self.is_shared {
            let path = draft.join(ranges(&self.source.name));
            let bytes = self.own.encode();
            fs::write(&path, &bytes)
                .map_err(|error| Error::io("write", &error).on(path.display()))?;
            differences.insert(self.source.name.clone(), hash_of(&bytes));
        }
        Ok(())
    }
}

/// When a file was last written. It says that nothing was written since only if that was a while
/// ago: clocks of file systems tick slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(SystemTime);

/// Longer than any file system's tick.
const TICK: Duration = Duration::from_secs(1);

impl Stamp {
    /// `None` if it was just now.
    pub(super) fn of(file: &File) -> std::io::Result<Option<Self>> {
        let written = file.metadata()?.modified()?;
        let age = SystemTime::now().duration_since(written);
        Ok(age.is_ok_and(|age| age > TICK).then_some(Self(written)))
    }

    /// Of a copy that nobody has opened yet. Its time is put back, so that it is changed by whatever
    /// is written from now on.
    pub(super) fn begin(file: &File) -> std::io::Result<Option<Self>> {
        file.set_modified(SystemTime::now() - 10 * TICK)?;
        Self::of(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_file_that_is_written_has_another_stamp() {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(b"x", 0).expect("it is written");
        assert_eq!(Stamp::of(&file).expect("it has one"), None);
        let before = Stamp::begin(&file).expect("it has one");
        assert!(before.is_some());
        assert_eq!(Stamp::of(&file).expect("it has one"), before);
        file.write_all_at(b"x", 0).expect("it is written");
        assert_ne!(Stamp::of(&file).expect("it has one"), before);
    }
}
