//! A snapshot that builds on nothing any more.
//!
//! The whole files are put together in a folder beside, which then changes places with the snapshot's
//! (RENAME_EXCHANGE in renameat2(2)). Whoever is killed meanwhile leaves one or the other under the
//! name, and a folder beside that the next one removes. The snapshot's id stays, as it is the same:
//! what builds on it goes on doing so.

use super::chain::{Chain, hold};
use super::manifest::STATE;
use crate::monitor::draft::{Draft, clear};
use casemate_core::error::{Error, Result};
use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const ENDING: &str = "merged";

/// Makes it whole. Machines that were restored from it before keep what they have.
pub(super) fn merge(folder: &Path) -> Result<()> {
    let held = hold(folder, FlockOperation::LockExclusive)?;
    let chain = Chain::below(held, folder)?;
    let mut manifest = chain.newest().clone();
    if manifest.parent.is_none() {
        return clear(folder, ENDING).map(drop);
    }
    let draft = Draft::beside(folder, ENDING)?;
    for name in manifest.names() {
        match chain.is_whole(&name) {
            true => link(folder, &draft.path, &name)?,
            false => chain.build(&name, &draft.path.join(&name))?,
        }
    }
    link(folder, &draft.path, STATE)?;
    manifest.parent = None;
    manifest.differences = BTreeMap::new();
    manifest.write(&draft.path)?;
    draft.sync()?;
    draft.replace()
}

/// A file that doesn't change.
fn link(from: &Path, to: &Path, name: &str) -> Result<()> {
    let (from, to) = (from.join(name), to.join(name));
    fs::hard_link(&from, &to).map_err(|error| Error::io("link", &error).on(from.display()))
}

#[cfg(test)]
mod tests {
    use super::super::MEMORY;
    use super::super::manifest::tests::manifest;
    use super::super::manifest::{Manifest, Parent, hash_of, ranges};
    use super::*;
    use crate::memory::{PAGE, Ranges};
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::PathBuf;
    use std::process::Command;
    use std::time::Duration;

    const FOLDER: &str = "CASEMATE_MERGED";
    const PAGES: u64 = 2000;

    /// A snapshot whose own pages are full of this byte.
    fn snapshot(
        folder: &Path,
        own: &Ranges,
        byte: u8,
        parent: Option<(&Path, &Manifest)>,
    ) -> Manifest {
        fs::create_dir(folder).expect("a folder");
        let memory = File::create(folder.join(MEMORY)).expect("a file");
        memory.set_len(PAGES * PAGE).expect("it is long");
        for page in own.iter().flatten() {
            let bytes = [byte; PAGE as usize];
            memory
                .write_all_at(&bytes, page * PAGE)
                .expect("it is written");
        }
        let mut manifest = manifest(folder);
        if let Some((path, parent)) = parent {
            let bytes = own.encode();
            fs::write(folder.join(ranges(MEMORY)), &bytes).expect("it is written");
            manifest
                .differences
                .insert(MEMORY.to_owned(), hash_of(&bytes));
            manifest.parent = Some(Parent {
                id: parent.id.clone(),
                folder: path.to_owned(),
            });
        }
        manifest.write(folder).expect("it is written");
        manifest
    }

    /// A chain of three, and what the newest's memory is.
    fn chain(folder: &Path) -> (PathBuf, Vec<u8>) {
        let [one, two, three] = ["one", "two", "three"].map(|name| folder.join(name));
        let first = snapshot(&one, &Ranges::first(1500), 1, None);
        let own: Ranges = [0..10, 1490..1510].into_iter().collect();
        let second = snapshot(&two, &own, 0, Some((&one, &first)));
        let own: Ranges = [5..20, 1999..2000].into_iter().collect();
        snapshot(&three, &own, 3, Some((&two, &second)));
        let byte = |page| match page {
            5..20 | 1999 => 3,
            20..1490 => 1,
            _ => 0,
        };
        let bytes = (0..PAGES).flat_map(|page| [byte(page); PAGE as usize]);
        (three, bytes.collect())
    }

    fn built(folder: &Path, scratch: &Path) -> Vec<u8> {
        let to = scratch.join("built");
        let chain = Chain::open(folder).expect("it is there");
        chain.build(MEMORY, &to).expect("it is built");
        let bytes = fs::read(&to).expect("it is there");
        fs::remove_file(to).expect("it is there");
        bytes
    }

    #[test]
    fn what_is_merged_is_the_same_and_needs_no_others() {
        let scratch = tempfile::tempdir().expect("a folder");
        let (folder, expected) = chain(scratch.path());
        assert!(built(&folder, scratch.path()) == expected);
        let before = Manifest::read(&folder).expect("it is one");
        merge(&folder).expect("it is merged");
        for gone in ["one", "two"] {
            fs::remove_dir_all(scratch.path().join(gone)).expect("it is there");
        }
        assert!(fs::read(folder.join(MEMORY)).expect("it is there") == expected);
        let after = Manifest::read(&folder).expect("it is one");
        after.check_state(&folder).expect("its state is there");
        assert_eq!((after.id, after.parent), (before.id, None));
        merge(&folder).expect("it is whole");
        assert_eq!(fs::read_dir(scratch.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn whoever_reads_a_chain_is_waited_for() {
        let scratch = tempfile::tempdir().expect("a folder");
        let (folder, _) = chain(scratch.path());
        let held = Chain::open(&folder).expect("it is there");
        let merged = folder.clone();
        let merges = std::thread::spawn(move || merge(&merged));
        std::thread::sleep(Duration::from_millis(100));
        assert!(folder.join(ranges(MEMORY)).exists());
        drop(held);
        merges.join().expect("it ends").expect("it is merged");
        assert!(!folder.join(ranges(MEMORY)).exists());
    }

    #[test]
    fn what_cannot_be_merged_stays() {
        let scratch = tempfile::tempdir().expect("a folder");
        let (folder, expected) = chain(scratch.path());
        let parent = scratch.path().join("two/memory");
        fs::rename(&parent, scratch.path().join("away")).expect("it is there");
        let error = merge(&folder)
            .expect_err("a part of it is gone")
            .to_string();
        assert!(error.contains("two/memory"), "{error}");
        fs::rename(scratch.path().join("away"), &parent).expect("it is there");
        assert!(built(&folder, scratch.path()) == expected);
        assert_eq!(fs::read_dir(scratch.path()).expect("a folder").count(), 3);
    }

    #[test]
    #[ignore = "it is a part of another test"]
    fn merges_and_is_killed() {
        if let Some(folder) = std::env::var_os(FOLDER) {
            merge(Path::new(&folder)).expect("it is merged");
        }
    }

    #[test]
    fn whoever_is_killed_leaves_the_old_or_the_new() {
        let name = "qemu::merge::tests::merges_and_is_killed";
        let (mut old, mut new) = (0, 0);
        for round in 0..16 {
            let scratch = tempfile::tempdir().expect("a folder");
            let (folder, expected) = chain(scratch.path());
            let mut child = Command::new(std::env::current_exe().expect("it runs"))
                .args(["--ignored", "--exact", name])
                .env(FOLDER, &folder)
                .stdout(std::process::Stdio::null())
                .spawn()
                .expect("it starts");
            // It has begun to write, or is about to end.
            let draft = scratch.path().join(".three.merged");
            while !draft.exists() && child.try_wait().expect("a child").is_none() {}
            std::thread::sleep(Duration::from_millis(round * 4));
            child.kill().expect("a child");
            child.wait().expect("a child");
            match Manifest::read(&folder).expect("it is one").parent {
                Some(_) => old += 1,
                None => new += 1,
            }
            assert!(built(&folder, scratch.path()) == expected);
            merge(&folder).expect("it is merged");
            assert!(built(&folder, scratch.path()) == expected);
            assert_eq!(fs::read_dir(scratch.path()).expect("a folder").count(), 3);
        }
        println!("{old} were as before, {new} were merged");
    }
}
