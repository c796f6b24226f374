//! A root file system in a tar archive, plain or gzip.
//!
//! It is read twice: once outside, to refuse what could harm before anything runs, and once
//! inside, where it is unpacked by the program's own user into the private disk. What is
//! refused is what no honest root file system needs: names that lead out, device nodes, and
//! hard links to something that isn't in the archive.

use casemate_core::error::{Error, Result};
use flate2::read::MultiGzDecoder;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Component, Path, PathBuf};
use tar::{Archive, Entry, EntryType};

/// More entries than this are no root file system but an attack on the walk itself.
const MOST_ENTRIES: u64 = 2_000_000;

/// Reads an archive from its start, decompressing it if it is gzip.
fn open(path: &Path, mut file: File) -> Result<Archive<Box<dyn Read>>> {
    let fail = |error: &std::io::Error| Error::io("read the archive", error).on(path.display());
    let mut magic = [0; 2];
    let read = file.read(&mut magic).map_err(|error| fail(&error))?;
    file.rewind().map_err(|error| fail(&error))?;
    let reader = BufReader::with_capacity(128 << 10, file);
    let reader: Box<dyn Read> = if magic[..read] == [0x1f, 0x8b] {
        Box::new(MultiGzDecoder::new(reader))
    } else {
        Box::new(reader)
    };
    Ok(Archive::new(reader))
}

/// Refuses an archive that isn't a plain tree of folders, files and links.
pub(super) fn check(path: &Path) -> Result<()> {
    let file = File::open(path)
        .map_err(|error| Error::io("read the archive", &error).on(path.display()))?;
    let mut archive = open(path, file)?;
    let mut files = BTreeSet::new();
    let mut links = Vec::new();
    let mut count = 0u64;
    for entry in entries(&mut archive, path)? {
        let entry = entry.map_err(|error| broken(path, &error))?;
        count += 1;
        if count > MOST_ENTRIES {
            return Err(refused(
                path,
                Path::new(""),
                "it has more than two million entries",
            ));
        }
        let name = name_of(&entry, path)?;
        match entry.header().entry_type() {
            EntryType::Char | EntryType::Block => {
                return Err(refused(path, &name, "it is a device node")
                    .hint("make the archive without /dev; a sandbox has its own"));
            }
            EntryType::Link => {
                let to = entry
                    .link_name()
                    .ok()
                    .flatten()
                    .unwrap_or_default()
                    .into_owned();
                links.push((
                    name.clone(),
                    inside(&to)
                        .ok_or_else(|| refused(path, &name, "it is a hard link that leads out"))?,
                ));
            }
            _ => {
                files.insert(name);
            }
        }
    }
    // To the end, so that the checksum is looked at.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink())
        .map_err(|error| broken(path, &error))?;
    for (name, to) in links {
        if !files.contains(&to) {
            return Err(refused(
                path,
                &name,
                &format!(
                    "it is a hard link to {}, which is not in the archive",
                    to.display()
                ),
            ));
        }
        files.insert(name);
    }
    Ok(())
}

/// Unpacks into a folder. Runs inside, in a process whose root is that folder, so that no link
/// leads anywhere else.
pub(crate) fn unpack(path_outside: &Path, file: File, into: &Path) -> Result<()> {
    let mut archive = open(path_outside, file)?;
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(false);
    archive.set_unpack_xattrs(false);
    archive.set_overwrite(true);
    for entry in entries(&mut archive, path_outside)? {
        let mut entry = entry.map_err(|error| broken(path_outside, &error))?;
        let name = name_of(&entry, path_outside)?;
        if matches!(
            entry.header().entry_type(),
            EntryType::Char | EntryType::Block
        ) {
            return Err(refused(path_outside, &name, "it is a device node"));
        }
        entry.set_mask(0o6000);
        entry
            .unpack_in(into)
            .map_err(|error| not_unpacked(path_outside, &name, &error))?;
    }
    Ok(())
}

type Entries<'a> = tar::Entries<'a, Box<dyn Read>>;

fn entries<'a>(archive: &'a mut Archive<Box<dyn Read>>, path: &Path) -> Result<Entries<'a>> {
    archive.entries().map_err(|error| broken(path, &error))
}

fn name_of<R: Read>(entry: &Entry<'_, R>, archive: &Path) -> Result<PathBuf> {
    let name = entry
        .path()
        .map_err(|error| broken(archive, &error))?
        .into_owned();
    inside(&name).ok_or_else(|| refused(archive, &name, "its name leads out of the archive"))
}

/// The path relative to the root; `None` if it goes above it.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut relative = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => relative.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(relative)
}

fn not_unpacked(archive: &Path, name: &Path, error: &std::io::Error) -> Error {
    let why = format!("entry {}: {}", name.display(), error.kind());
    let error_text = Error::rule("unpack the root archive", why).on(archive.display());
    match error.kind() {
        std::io::ErrorKind::StorageFull => {
            error_text.hint("it doesn't fit on the private disk; --disk SIZE makes that larger")
        }
        _ => error_text,
    }
}

fn broken(path: &Path, error: &std::io::Error) -> Error {
    Error::rule("read the archive", error.to_string())
        .on(path.display())
        .hint("a root archive is a tar file, plain or gzip")
}

fn refused(archive: &Path, name: &Path, why: &str) -> Error {
    Error::rule(
        "use the root archive",
        format!("entry {}: {why}", name.display()),
    )
    .on(archive.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(build: impl FnOnce(&mut tar::Builder<File>)) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.reopen().unwrap());
        build(&mut builder);
        builder.finish().unwrap();
        file
    }

    fn header(kind: EntryType, name: &str, link: &str) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(0);
        header.set_cksum();
        header
    }

    fn check_one(kind: EntryType, name: &str, link: &str) -> std::result::Result<(), String> {
        let file = archive(|builder| {
            builder
                .append(&header(kind, name, link), std::io::empty())
                .unwrap()
        });
        check(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_leads_out_is_refused() {
        assert!(
            check_one(EntryType::Regular, "../x", "")
                .unwrap_err()
                .contains("leads out")
        );
        assert!(
            check_one(EntryType::Regular, "a/../../x", "")
                .unwrap_err()
                .contains("leads out")
        );
        assert!(
            check_one(EntryType::Char, "dev/null", "")
                .unwrap_err()
                .contains("device node")
        );
        assert!(
            check_one(EntryType::Link, "x", "../../etc/passwd")
                .unwrap_err()
                .contains("leads out")
        );
        assert!(
            check_one(EntryType::Link, "x", "etc/passwd")
                .unwrap_err()
                .contains("not in the archive")
        );
        assert_eq!(check_one(EntryType::Regular, "/etc/passwd", ""), Ok(()));
    }
}
