//! Images with files in them from the start.

use super::super::tool::{self, Tool};
use casemate_core::error::{Error, Result};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of what mke2fs and tar print.
const SAID: u64 = 1 << 20;
const FILL: Duration = Duration::from_secs(1800);
/// mke2fs makes nothing useful below.
const SMALLEST: u64 = 1 << 20;

/// What goes into an image.
#[derive(Debug, Clone)]
pub enum Contents {
    /// A folder, with the owners that its files have.
    Folder(PathBuf),
    /// A tarball, compressed or not. Only root can give its files the owners that it names.
    Tarball(PathBuf),
}

/// What a machine does with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It writes there, and may be stopped in the middle of that.
    Root,
    /// It only reads.
    Tools,
}

/// Makes `image` an ext4 file system of `size` bytes with these contents. It must not be there yet,
/// and is complete when it gets its name.
pub fn filled(contents: &Contents, image: &Path, size: u64, purpose: Purpose) -> Result<()> {
    let step = "make the image";
    let failed = |error: io::Error| Error::io(step, &error).on(image.display());
    if size < SMALLEST {
        let why = format!("{size} bytes are fewer than a file system takes");
        return Err(Error::rule(step, why).on(image.display()));
    }
    let beside = image
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let beside = beside.unwrap_or(Path::new("."));
    let scratch = tempfile::Builder::new()
        .prefix(".image-")
        .tempdir_in(beside)
        .map_err(failed)?;
    let folder = match contents {
        Contents::Folder(folder) => folder.clone(),
        Contents::Tarball(tarball) => unpacked(tarball, scratch.path())?,
    };
    let making = scratch.path().join("image");
    File::create_new(&making)
        .and_then(|file| file.set_len(size))
        .map_err(failed)?;
    format(&folder, &making, purpose)?;
    // Unlike a rename, this replaces nothing.
    fs::hard_link(&making, image).map_err(failed)
}

/// Nothing of this machine's own settings goes into the image.
fn format(folder: &Path, image: &Path, purpose: Purpose) -> Result<()> {
    let mut mke2fs = Tool::MKE2FS.command()?;
    mke2fs.env("MKE2FS_CONFIG", "/dev/null");
    mke2fs.args([
        "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0",
    ]);
    // The file is all zeros: neither mke2fs nor the machine's kernel has to write more of them.
    mke2fs.args(["-E", "assume_storage_prezeroed=1,nodiscard", "-O"]);
    match purpose {
        Purpose::Root => mke2fs
            .arg(format!("{FEATURES},has_journal"))
            .args(["-L", "casemate-root"]),
        Purpose::Tools => mke2fs.args([FEATURES, "-L", "casemate-tools"]),
    };
    mke2fs.arg("-d").arg(folder).arg(image);
    tool::output("fill the image with", mke2fs, SAID, FILL)
        .map(drop)
        .map_err(|e| {
            e.on(folder.display())
                .hint("give it more bytes if there was no room")
        })
}

/// What the kernels that we boot know, written out: mke2fs's own choice changes with its version.
const FEATURES: &str = "none,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,\
                        sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

fn unpacked(tarball: &Path, scratch: &Path) -> Result<PathBuf> {
    let step = "unpack the tarball";
    if !rustix::process::geteuid().is_root() {
        let why = "its files belong to several users, and only root can make such files";
        let hint = "run this as root, or give a folder";
        return Err(Error::rule(step, why).on(tarball.display()).hint(hint));
    }
    let folder = scratch.join("root");
    fs::create_dir(&folder).map_err(|e| Error::io(step, &e).on(tarball.display()))?;
    let mut tar = Tool::TAR.command()?;
    tar.args([
        "--extract",
        "--same-owner",
        "--numeric-owner",
        "--preserve-permissions",
    ]);
    // Capabilities of programs are such attributes.
    tar.args(["--xattrs", "--xattrs-include=*", "--file"])
        .arg(tarball);
    tar.arg("--directory").arg(&folder);
    tool::output(step, tar, SAID, FILL).map_err(|e| e.on(tarball.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn absent() -> bool {
        let absent = Tool::MKE2FS.find().is_none();
        if absent {
            eprintln!("skipped: mke2fs is not on PATH");
        }
        absent
    }

    fn source() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("etc")).unwrap();
        fs::write(folder.path().join("etc/hello"), "a greeting\n").unwrap();
        folder
    }

    fn read(image: &Path, path: &str) -> String {
        let mut debugfs = std::process::Command::new("/usr/sbin/debugfs");
        let done = debugfs
            .args(["-R", &format!("cat {path}")])
            .arg(image)
            .output()
            .unwrap();
        String::from_utf8(done.stdout).unwrap()
    }

    #[test]
    fn a_folder_becomes_a_sparse_image() {
        if absent() {
            return;
        }
        let (source, folder) = (source(), tempfile::tempdir().unwrap());
        let image = folder.path().join("image");
        let contents = Contents::Folder(source.path().to_owned());
        filled(&contents, &image, 256 << 20, Purpose::Root).unwrap();
        assert_eq!(read(&image, "/etc/hello"), "a greeting\n");
        let facts = fs::metadata(&image).unwrap();
        assert_eq!(facts.len(), 256 << 20);
        assert!(facts.blocks() * 512 < 32 << 20, "{} blocks", facts.blocks());
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        let again = filled(&contents, &image, 256 << 20, Purpose::Root).unwrap_err();
        assert_eq!(again.raw_errno(), Some(17));
    }

    #[test]
    fn a_tarball_becomes_an_image() {
        if absent() || !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can unpack a tarball's owners");
            return;
        }
        let (source, folder) = (source(), tempfile::tempdir().unwrap());
        let tarball = folder.path().join("root.tar.gz");
        let mut tar = std::process::Command::new("tar");
        tar.args(["--create", "--gzip", "--file"]).arg(&tarball);
        assert!(
            tar.arg("--directory")
                .arg(source.path())
                .arg(".")
                .status()
                .unwrap()
                .success()
        );
        let image = folder.path().join("image");
        filled(&Contents::Tarball(tarball), &image, 32 << 20, Purpose::Root).unwrap();
        assert_eq!(read(&image, "/etc/hello"), "a greeting\n");
    }

    #[test]
    fn what_has_no_room_leaves_nothing() {
        if absent() {
            return;
        }
        let (source, folder) = (source(), tempfile::tempdir().unwrap());
        fs::write(source.path().join("large"), vec![1; 8 << 20]).unwrap();
        let contents = Contents::Folder(source.path().to_owned());
        let image = folder.path().join("image");
        let error = filled(&contents, &image, 4 << 20, Purpose::Root).unwrap_err();
        assert!(error.hint.is_some(), "{error}");
        let error = filled(&contents, &image, 4096, Purpose::Root).unwrap_err();
        assert!(error.to_string().contains("4096 bytes"), "{error}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
