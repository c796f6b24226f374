use super::{PART, Shelf, hold};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A host of a few folders, and a shelf.
struct Scene {
    folder: PathBuf,
}

impl Scene {
    fn new(name: &str) -> Self {
        let name = format!("casemate-skeleton-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        for inner in ["a/b", "a/c/d", "e"] {
            fs::create_dir_all(folder.join("usr").join(inner)).unwrap();
        }
        Self { folder }
    }

    fn place(&self) -> PathBuf {
        self.folder.join("shelf")
    }

    fn shelf(&self, key: &str) -> Shelf {
        let usr = self.folder.join("usr");
        Shelf::of(&self.place(), vec![usr], key.to_owned()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.place()).unwrap().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|name| name != ".lock")
            .collect();
        names.sort();
        names
    }

    fn copied(&self, skeleton: &Path) -> PathBuf {
        skeleton.join(self.folder.join("usr").strip_prefix("/").unwrap())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn one_is_made_once_by_however_many() {
    let scene = Scene::new("once");
    let taken = || scene.shelf("k").take().unwrap();
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(taken)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(scene.names(), ["k-0"]);
    let copied = scene.copied(all[0].path());
    assert!(copied.join("a/c/d").is_dir() && copied.join("e").is_dir());
    let before = inode(&copied);
    drop(all);
    assert_eq!(inode(&scene.copied(taken().path())), before);
}

#[test]
fn a_damaged_one_is_made_anew() {
    let scene = Scene::new("damaged");
    let damages: [fn(&Path, &Path); 4] = [
        |copied, _| fs::remove_dir(copied.join("a/c/d")).unwrap(),
        |copied, _| fs::rename(copied.join("e"), copied.join("f")).unwrap(),
        |copied, _| fs::write(copied.join("file"), "x").unwrap(),
        |_, whole| fs::remove_file(whole.join("census")).unwrap(),
    ];
    for damage in damages {
        let path = scene.shelf("k").take().unwrap().path().to_owned();
        let before = inode(&path);
        damage(&scene.copied(&path), &path);
        let held = hold(&path).unwrap();
        // Who has it below a sandbox keeps it, and nobody else gets it.
        let other = scene.shelf("k").take().unwrap();
        assert_eq!(other.path(), scene.place().join("k-1"));
        assert_eq!(inode(&path), before);
        drop((held, other));
        let again = scene.shelf("k").take().unwrap();
        assert_eq!(again.path(), path);
        let copied = scene.copied(&path);
        assert!(copied.join("a/c/d").is_dir() && copied.join("e").is_dir());
        assert!(!copied.join("file").exists());
        fs::remove_dir_all(scene.place().join("k-1")).unwrap();
    }
}

#[test]
fn what_was_left_unfinished_is_removed_and_not_used() {
    let scene = Scene::new("unfinished");
    let shelf = scene.shelf("k");
    fs::create_dir_all(scene.place().join(format!("{PART}7/usr"))).unwrap();
    let skeleton = shelf.take().unwrap();
    assert!(scene.copied(skeleton.path()).join("a/b").is_dir());
    assert_eq!(scene.names(), ["k-0"]);
}

#[test]
fn those_of_another_day_go_when_nobody_has_them() {
    let scene = Scene::new("old");
    let old = scene.shelf("old").take().unwrap();
    let new = scene.shelf("new");
    let kept = new.take().unwrap();
    new.tidy();
    assert_eq!(scene.names(), ["new-0", "old-0"]);
    let path = old.path().to_owned();
    drop(old);
    new.tidy();
    assert_eq!(scene.names(), ["new-0"]);
    assert!(hold(&path).is_err());
    drop(kept);
    new.tidy();
    assert_eq!(scene.names(), ["new-0"]);
}

#[test]
fn nobody_elses_is_used() {
    let scene = Scene::new("others");
    let path = scene.shelf("k").take().unwrap().path().to_owned();
    // Others could have written to it.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
    assert!(hold(&path).is_err());
    let again = scene.shelf("k").take().unwrap();
    assert_eq!(fs::metadata(again.path()).unwrap().mode() & 0o077, 0);
    drop(again);
    let elsewhere = scene.folder.join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    let skeleton = scene.shelf("k").take().unwrap();
    assert!(!fs::symlink_metadata(skeleton.path()).unwrap().is_symlink());
    fs::set_permissions(scene.place(), fs::Permissions::from_mode(0o755)).unwrap();
    let refused = Shelf::of(&scene.place(), Vec::new(), "k".into()).unwrap_err();
    assert!(
        refused.to_string().contains("others may enter"),
        "{refused}"
    );
}
