//! What a machine begins as: files that it only reads, so that many can have the same ones.
//!
//! Each sandbox has a folder with names of its own for them (link(2)), which its wall lets it read:
//! whoever gives the others up, the files are there as long as somebody has them.
//!
//! | name | what |
//! |---|---|
//! | `disk0.0` | an image |
//! | `disk0.1` … | what was written over that, and over that |
//! | `disk0` | the last of these |
//! | `manifest.json`, `state`, `memory` | a machine that goes on; without them one starts anew with the disk |

use casemate_core::error::{Error, Result};
use casemate_core::sandbox::Resources;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The disk, and what its layers' names begin with.
const DISK: &str = "disk0";
/// An image is the lowest layer.
pub const IMAGE: &str = "disk0.0";
/// Says that there is a machine that goes on.
pub const MANIFEST: &str = "manifest.json";
/// The most layers of a disk: each costs at every read.
const LAYERS: usize = 32;
/// The most files: they may have been made by somebody who was taken over.
const FILES: usize = LAYERS + 32;

/// Where a machine of this size stands ready, among the images.
pub fn ready(images: &Path, resources: &Resources) -> PathBuf {
    let mib = resources.memory >> 20;
    images.join(format!("ready-{mib}-{}", resources.cpus))
}

/// The layers of the disk of a machine that begins as this, the lowest first.
pub fn layers(base: &Path) -> Vec<PathBuf> {
    let numbered = (0..LAYERS).map(|number| base.join(format!("{DISK}.{number}")));
    let mut layers: Vec<_> = numbered.take_while(|path| path.exists()).collect();
    layers.extend(Some(base.join(DISK)).filter(|path| path.exists()));
    layers
}

/// Makes the folder of a machine that begins as all that is in another.
pub(super) fn of_folder(from: &Path, base: &Path) -> Result<()> {
    make(base)?;
    let fail = |error: &std::io::Error| Error::io("read", error).on(from.display());
    for (number, entry) in fs::read_dir(from)
        .map_err(|error| fail(&error))?
        .enumerate()
    {
        let entry = entry.map_err(|error| fail(&error))?;
        if number == FILES {
            let why = format!("there are more than {FILES} files");
            return Err(Error::rule("begin as a snapshot", why).on(from.display()));
        }
        link(&entry.path(), &base.join(entry.file_name()))?;
    }
    Ok(())
}

/// Makes that of one that starts with an image.
pub fn of_image(image: &Path, base: &Path) -> Result<()> {
    make(base)?;
    link(image, &base.join(IMAGE))
}

/// Adds to what was written of a machine what its disk is laid over.
pub fn complete(written: &Path, base: &Path) -> Result<()> {
    let layers = layers(base);
    if layers.len() >= LAYERS {
        let why = format!("its disk has {LAYERS} layers");
        return Err(Error::rule("write a machine", why)
            .hint("copy what matters to a new sandbox of the template"));
    }
    for (number, layer) in layers.iter().enumerate() {
        link(layer, &written.join(format!("{DISK}.{number}")))?;
    }
    Ok(())
}

fn make(base: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().mode(0o700).create(base);
    made.map_err(|error| Error::io("make", &error).on(base.display()))
}

/// Another name for a file; where that can't be, a copy.
fn link(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        // On another file system, or somebody else's.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::CrossesDevices | ErrorKind::PermissionDenied
            ) =>
        {
            copy(from, to)
        }
        Err(error) => Err(Error::io("link to", &error).on(from.display())),
        Ok(()) => Ok(()),
    }
}

/// Of a file, not of what a link leads to.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let fail = |error: &std::io::Error| Error::io("copy", error).on(from.display());
    let is_file = fs::symlink_metadata(from).map_err(|error| fail(&error))?;
    if !is_file.is_file() {
        return Err(Error::rule("copy", "it is no file").on(from.display()));
    }
    fs::copy(from, to).map(drop).map_err(|error| fail(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_has_all_that_it_is_laid_over() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("image"), "0").unwrap();
        of_image(&at("image"), &at("base")).unwrap();
        assert_eq!(layers(&at("base")), [at("base/disk0.0")]);
        let mut base = at("base");
        for generation in 1..4_usize {
            let written = at(&format!("written{generation}"));
            fs::create_dir(&written).unwrap();
            fs::write(written.join("disk0"), generation.to_string()).unwrap();
            complete(&written, &base).unwrap();
            base = at(&format!("base{generation}"));
            of_folder(&written, &base).unwrap();
            fs::remove_dir_all(&written).unwrap();
            let found = layers(&base);
            let said: Vec<_> = found
                .iter()
                .map(|l| fs::read_to_string(l).unwrap())
                .collect();
            let expected: Vec<_> = (0..=generation).map(|n| n.to_string()).collect();
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn what_is_there_already_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("image"), "0").unwrap();
        of_image(&at("image"), &at("base")).unwrap();
        fs::create_dir(at("written")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("written/disk0.0")).unwrap();
        complete(&at("written"), &at("base")).unwrap_err();
    }
}
