//! What clients note about a file, kept with the file: extended attributes `user.e2b.<key>`
//! (xattr(7)).

use crate::fault::{Fault, Result};
use rustix::fd::BorrowedFd;
use rustix::fs::{
    XattrFlags, flistxattr, flistxattr_query, fremovexattr, fsetxattr, getxattr, listxattr,
    listxattr_query,
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::path::Path;

/// Keys and their values.
pub(crate) type Metadata = BTreeMap<String, String>;

const PREFIX: &str = "user.e2b.";
/// Bytes of a name with its prefix (XATTR_NAME_MAX).
const LONGEST_NAME: usize = 255;
/// Bytes of all names and values: ext4 keeps them in one block.
const MOST: usize = 4096;

/// Whether this can be kept on every file system: printable ASCII within the bounds. Asked before
/// the file is touched.
pub(crate) fn check(metadata: &Metadata) -> Result<()> {
    let printable = |text: &str| text.bytes().all(|b| (b' '..=b'~').contains(&b));
    let mut all = 0;
    for (key, value) in metadata {
        if key.is_empty() || key.len() > LONGEST_NAME - PREFIX.len() {
            return Err(Fault::invalid(format!(
                "a metadata key has 1 to {} bytes, '{}' has {}",
                LONGEST_NAME - PREFIX.len(),
                key.escape_debug(),
                key.len()
            )));
        }
        if !printable(key) || !printable(value) {
            return Err(Fault::invalid(format!(
                "metadata is printable ASCII, '{}' is not",
                key.escape_debug()
            )));
        }
        all += PREFIX.len() + key.len() + value.len();
    }
    match all <= MOST {
        true => Ok(()),
        false => Err(Fault::invalid(format!(
            "metadata of one file has at most {MOST} bytes, these are {all}"
        ))),
    }
}

/// What is noted about a file; links are followed. What a program in the sandbox has set beyond
/// the bounds, or not in UTF-8, is left out, and a file system that keeps nothing has nothing.
pub(crate) fn read(path: &Path) -> Metadata {
    let size = listxattr_query(path).unwrap_or(0);
    // Almost every file has none.
    if size == 0 {
        return Metadata::new();
    }
    let mut list = vec![0; size];
    let length = listxattr(path, &mut list[..]).unwrap_or(0);
    let mut value = vec![0; MOST];
    let (mut metadata, mut all) = (Metadata::new(), 0);
    for name in names(&list[..length]) {
        let Ok(length) = getxattr(path, name, &mut value[..]) else {
            continue;
        };
        let Ok(text) = std::str::from_utf8(&value[..length]) else {
            continue;
        };
        all += name.len() + text.len();
        if all > MOST {
            break;
        }
        metadata.insert(name[PREFIX.len()..].to_owned(), text.to_owned());
    }
    metadata
}

/// Replaces what is noted about an open file: an upload over a file is a new one, about which the
/// old notes say nothing. A file system that keeps no notes isn't a reason to refuse the bytes.
pub(crate) fn replace(file: BorrowedFd<'_>, path: &Path, metadata: &Metadata) -> Result<()> {
    match replace_all(file, metadata) {
        Ok(()) | Err(Errno::NOTSUP) => Ok(()),
        Err(errno) => Err(Fault::errno("keep metadata of", path, errno)),
    }
}

fn replace_all(file: BorrowedFd<'_>, metadata: &Metadata) -> std::result::Result<(), Errno> {
    let mut list = vec![0; flistxattr_query(file)?];
    if !list.is_empty() {
        let length = flistxattr(file, &mut list[..])?;
        for name in names(&list[..length]) {
            if !metadata.contains_key(&name[PREFIX.len()..]) {
                match fremovexattr(file, name) {
                    Ok(()) | Err(Errno::NODATA) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
    }
    for (key, value) in metadata {
        let name = format!("{PREFIX}{key}");
        fsetxattr(file, name, value.as_bytes(), XattrFlags::empty())?;
    }
    Ok(())
}

/// Our names in a list that the kernel made: each ends with a zero byte.
fn names(list: &[u8]) -> impl Iterator<Item = &str> {
    list.split(|byte| *byte == 0)
        .filter_map(|name| std::str::from_utf8(name).ok())
        .filter(|name| name.len() > PREFIX.len() && name.starts_with(PREFIX))
}

#[cfg(test)]
mod tests {
    use super::{Metadata, check, read, replace};
    use rustix::fd::AsFd;
    use rustix::fs::{XattrFlags, setxattr};

    fn metadata(pairs: &[(&str, &str)]) -> Metadata {
        let own = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn what_is_replaced_is_read_and_nothing_of_before() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path();
        if setxattr(path, "user.other", b"x", XattrFlags::empty()).is_err() {
            eprintln!("skipped: the file system keeps no extended attributes");
            return;
        }
        assert_eq!(read(path), Metadata::new());
        for pairs in [
            metadata(&[("a", "1"), ("b", "")]),
            metadata(&[("b", "two words")]),
            metadata(&[]),
        ] {
            replace(file.as_file().as_fd(), path, &pairs).unwrap();
            assert_eq!(read(path), pairs);
        }
        for (name, value) in [
            ("user.e2b.x", b"\xff".as_slice()),
            ("user.e2b.y", &[b'a'; 5000]),
        ] {
            setxattr(path, name, value, XattrFlags::empty()).ok();
        }
        assert_eq!(read(path), Metadata::new());
    }

    #[test]
    fn what_cannot_be_kept_is_refused_before() {
        let long = "k".repeat(247);
        for (pairs, why) in [
            (metadata(&[("", "x")]), "1 to 246 bytes"),
            (metadata(&[(&long, "x")]), "has 247"),
            (metadata(&[("a\n", "x")]), "printable"),
            (metadata(&[("a", "ä")]), "printable"),
            (metadata(&[("a", &"x".repeat(5000))]), "at most 4096"),
        ] {
            let fault = check(&pairs).unwrap_err();
            assert!(fault.text.contains(why), "{fault:?}");
        }
        assert_eq!(check(&metadata(&[(&long[1..], "x ~")])), Ok(()));
    }
}
