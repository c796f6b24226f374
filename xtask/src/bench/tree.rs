//! The tree that the workloads read: 10,000 small files in 100 folders under git, and a
//! tarball of 3,000 of them. It is the same in every run.

use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::command;

/// Folders in the tree.
pub(crate) const FOLDERS: u32 = 100;
/// Files in each of them.
pub(crate) const FILES_PER_FOLDER: u32 = 100;
const FOLDERS_IN_TARBALL: u32 = 30;

/// The tree, in the working directory.
pub(crate) const TREE: &str = "tree";
/// The tarball, in the working directory.
pub(crate) const TARBALL: &str = "tree.tar";

/// Makes the tree and the tarball in `work`, as the caller.
pub(crate) fn plant(work: &Path) -> Result<()> {
    let tree = work.join(TREE);
    for folder in 0..FOLDERS {
        let path = tree.join(folder_name(folder));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    for (index, file) in files().enumerate() {
        write(&tree.join(file), index).context("cannot fill the tree")?;
    }
    commit(&tree).context("the tree could not be put under git")?;
    let folders = (0..FOLDERS_IN_TARBALL).map(folder_name);
    let mut tar = Command::new("tar");
    tar.arg("-cf")
        .arg(work.join(TARBALL))
        .arg("-C")
        .arg(&tree)
        .args(folders);
    command::output(&mut tar).map(drop)
}

/// Every file of the tree, relative to it.
pub(crate) fn files() -> impl Iterator<Item = PathBuf> {
    let folder = |folder| {
        (0..FILES_PER_FOLDER)
            .map(move |file| PathBuf::from(format!("{}/file{file:03}.txt", folder_name(folder))))
    };
    (0..FOLDERS).flat_map(folder)
}

fn folder_name(folder: u32) -> String {
    format!("folder{folder:03}")
}

/// 0.4 to 3.6 KiB of text. The old date keeps git from reading a file again because it
/// could have changed within the index's own second.
fn write(path: &Path, index: usize) -> Result<()> {
    let mut file = File::create(path)?;
    let lines = 10 + (index * 7) % 80;
    for line in 0..lines {
        writeln!(file, "file {index}, line {line}: forty-two characters")?;
    }
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    file.set_times(FileTimes::new().set_modified(past))?;
    Ok(())
}

fn commit(tree: &Path) -> Result<()> {
    let git = |arguments: &[&str]| {
        command::output(Command::new("git").arg("-C").arg(tree).args(arguments)).map(drop)
    };
    git(&["init", "--quiet"])?;
    git(&["add", "."])?;
    let who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"];
    git(&[&who[..], &["commit", "--quiet", "-m", "the tree"]].concat())?;
    git(&["status", "--porcelain"])
}
