use super::super::event::Change;
use super::super::event::Kind::{self, Chmod, Create, Remove, Rename, Write};
use super::{Tree, check};
use crate::fault::Cause;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// What has happened since it was last asked.
fn told(tree: &mut Tree) -> Vec<(String, Kind)> {
    let mut told = Vec::new();
    let tell = &mut |change: Change| told.push((change.path.display().to_string(), change.kind));
    while !tree.changes(tell).unwrap() {}
    told
}

fn expect(tree: &mut Tree, expected: &[(&str, Kind)]) {
    let told = told(tree);
    let told: Vec<(&str, Kind)> = told
        .iter()
        .map(|(path, kind)| (path.as_str(), *kind))
        .collect();
    assert_eq!(told, expected);
}

fn watched(recursive: bool, prepare: impl FnOnce(&Path)) -> (tempfile::TempDir, Tree) {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let tree = Tree::new(folder.path(), recursive).unwrap();
    (folder, tree)
}

#[test]
fn each_kind_of_change() {
    let (folder, mut tree) = watched(false, |_| {});
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a"), "x").unwrap();
    expect(&mut tree, &[("a", Create), ("a", Write)]);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(path("a"), mode).unwrap();
    expect(&mut tree, &[("a", Chmod)]);
    fs::rename(path("a"), path("b")).unwrap();
    expect(&mut tree, &[("a", Rename), ("b", Create)]);
    fs::remove_file(path("b")).unwrap();
    expect(&mut tree, &[("b", Remove)]);
    expect(&mut tree, &[]);
}

#[test]
fn folders_below_are_watched_if_asked() {
    let prepare = |root: &Path| fs::create_dir_all(root.join("old/deep")).unwrap();
    let (folder, mut flat) = watched(false, prepare);
    let mut deep = Tree::new(folder.path(), true).unwrap();
    fs::write(folder.path().join("old/deep/a"), "x").unwrap();
    expect(&mut flat, &[]);
    expect(&mut deep, &[("old/deep/a", Create), ("old/deep/a", Write)]);
}

#[test]
fn what_is_put_into_a_new_folder_at_once_is_told_once() {
    let (folder, mut tree) = watched(true, |_| {});
    fs::create_dir_all(folder.path().join("a/b/c")).unwrap();
    fs::write(folder.path().join("a/b/1"), "x").unwrap();
    let mut early = told(&mut tree);
    early.sort_by(|left, right| left.0.cmp(&right.0));
    let names: Vec<&str> = early.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "a/b", "a/b/1", "a/b/c"]);
    assert!(early.iter().all(|(_, kind)| *kind == Create));
    fs::write(folder.path().join("a/b/c/2"), "x").unwrap();
    expect(&mut tree, &[("a/b/c/2", Create), ("a/b/c/2", Write)]);
    // A name that is told twice was made twice.
    fs::remove_file(folder.path().join("a/b/1")).unwrap();
    fs::write(folder.path().join("a/b/1"), "").unwrap();
    expect(&mut tree, &[("a/b/1", Remove), ("a/b/1", Create)]);
}

#[test]
fn folders_are_followed_as_they_move() {
    let prepare = |root: &Path| fs::create_dir_all(root.join("a/b")).unwrap();
    let (folder, mut tree) = watched(true, prepare);
    let path = |name: &str| folder.path().join(name);
    fs::rename(path("a"), path("z")).unwrap();
    fs::write(path("z/b/1"), "x").unwrap();
    expect(
        &mut tree,
        &[
            ("a", Rename),
            ("z", Create),
            ("z/b/1", Create),
            ("z/b/1", Write),
        ],
    );
    // Out of sight: nothing more is told about it.
    let outside = tempfile::tempdir().unwrap();
    fs::rename(path("z"), outside.path().join("out")).unwrap();
    expect(&mut tree, &[("z", Rename)]);
    fs::write(outside.path().join("out/b/2"), "x").unwrap();
    expect(&mut tree, &[]);
    // And back, with what it holds.
    fs::rename(outside.path().join("out"), path("y")).unwrap();
    let mut back = told(&mut tree);
    back.sort_by(|left, right| left.0.cmp(&right.0));
    let names: Vec<&str> = back.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["y", "y/b", "y/b/1", "y/b/2"]);
    fs::write(path("y/b/1"), "more").unwrap();
    // Emptied, then written.
    assert!(
        told(&mut tree)
            .iter()
            .all(|(name, kind)| (name.as_str(), *kind) == ("y/b/1", Write))
    );
}

#[test]
fn links_are_not_entered() {
    let outside = tempfile::tempdir().unwrap();
    let (folder, mut tree) = watched(true, |_| {});
    symlink(outside.path(), folder.path().join("link")).unwrap();
    expect(&mut tree, &[("link", Create)]);
    fs::write(outside.path().join("a"), "").unwrap();
    expect(&mut tree, &[]);
}

#[test]
fn the_folder_itself_is_a_dot() {
    let (folder, mut tree) = watched(true, |_| {});
    let root = folder.path().to_owned();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&root, mode).unwrap();
    expect(&mut tree, &[(".", Chmod)]);
    fs::remove_dir(&root).unwrap();
    expect(&mut tree, &[(".", Remove)]);
}

#[test]
fn changes_that_were_lost_are_told() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > 100_000 {
        eprintln!("skipped: the kernel keeps {limit} events");
        return;
    }
    let (folder, mut tree) = watched(false, |_| {});
    // Two events each, none like the one before.
    for number in 0..=limit / 2 {
        let path = folder.path().join(number.to_string());
        fs::write(&path, "").unwrap();
        fs::remove_file(&path).unwrap();
    }
    let fault = loop {
        if let Err(fault) = tree.changes(&mut |_| {}) {
            break fault;
        }
    };
    assert_eq!(fault.cause, Cause::Lost);
    assert!(fault.text.contains("some are lost"), "{fault:?}");
}

#[test]
fn only_folders_are_watched() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("file"), "").unwrap();
    assert_eq!(check(&path("file")).unwrap_err().cause, Cause::Invalid);
    assert_eq!(check(&path("none")).unwrap_err().cause, Cause::Missing);
    assert_eq!(check(folder.path()), Ok(()));
}
