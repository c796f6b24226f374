//! What an ordinary user's sandboxes have above the host's system folders: shared, made once, and
//! nothing that a sandbox could write to.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/serving.rs"]
mod serving;
mod support;

use sandbox::{Stage, as_user, wait_until};
use serving::Serving;
use std::fs;
use support::PATIENCE;

const SHELF: &str = "home/.cache/casemate/skeletons";

/// What is on the shelf, besides its lock.
fn kept(stage: &Stage) -> Vec<String> {
    let entries = fs::read_dir(stage.path(SHELF)).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != ".lock").collect()
}

/// A sandbox in which root can write to /usr.
#[track_caller]
fn writable(serving: &Serving<'_>) -> String {
    let id = serving.create(&[]);
    let script = "touch /usr/lib/new && mkdir /usr/share/new && ls -d /usr/lib/new /usr/share/new";
    let out = serving.says(&["exec", "--user", "root", &id, "--", "sh", "-c", script]);
    assert_eq!(out, "/usr/lib/new\n/usr/share/new\n");
    id
}

/// Without overlays in user namespaces, there is nothing to be tested.
fn has_overlays() -> bool {
    let release = rustix::system::uname();
    let mut numbers = release.release().to_str().unwrap().split('.');
    let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    let is_new = (next(), next()) >= (Some(5), Some(11));
    if !is_new {
        println!("skipped: needs overlays in user namespaces");
    }
    is_new
}

#[test]
fn one_whose_maker_was_killed() {
    as_user(|stage| {
        if !has_overlays() {
            return;
        }
        stage.folder("home/.cache");
        let mut serving = Serving::new(stage);
        wait_until(PATIENCE, "a beginning", || !kept(stage).is_empty());
        serving.kill();
        serving.restart();
        writable(&serving);
        // What was left is removed when there is time.
        wait_until(PATIENCE, "the rest to go", || {
            let kept = kept(stage);
            kept.len() == 1 && kept[0].ends_with("-0")
        });
    });
}

#[test]
fn one_that_is_damaged() {
    as_user(|stage| {
        if !has_overlays() {
            return;
        }
        stage.folder("home/.cache");
        let mut serving = Serving::new(stage);
        writable(&serving);
        serving.terminate();
        stage.end_processes();
        let before = kept(stage);
        // As by somebody who tidies up caches.
        let lost = stage.path(SHELF).join(&before[0]).join("usr/lib");
        fs::remove_dir_all(&lost).unwrap();
        serving.restart();
        writable(&serving);
        assert!(lost.is_dir());
        assert_eq!(kept(stage), before);
    });
}

#[test]
fn nothing_inside_writes_to_it() {
    as_user(|stage| {
        if !has_overlays() {
            return;
        }
        stage.folder("home/.cache");
        let serving = Serving::new(stage);
        let (id, other) = (writable(&serving), serving.create(&[]));
        let before = stage.listing(SHELF);
        let script = "\
            chmod 777 /usr /usr/lib /usr/share/doc; rm -rf /usr/share/doc /usr/lib/new\n\
            mkdir /usr/share/doc; echo x > /usr/share/doc/x; mv /usr/share/man /usr/share/women\n\
            echo x >> /var/lib/dpkg/status; ln -s / /usr/lib/link; touch -d 2001-01-01 /usr/lib\n\
            setfattr -n user.overlay.opaque -v y /usr/lib; ls /usr/share/doc";
        let said = serving.run(&["exec", "--user", "root", &id, "--", "sh", "-c", script]);
        assert_eq!((said.code, &*said.out), (0, "x\n"), "{said:?}");
        stage.assert_same(SHELF, &before);
        let script = "test -e /usr/lib/new || ls /usr/share/doc | grep -c .";
        let count = serving.says(&["exec", "--user", "root", &other, "--", "sh", "-c", script]);
        assert!(count.trim().parse::<u32>().unwrap() > 1, "{count}");
        // Nor is its path told to anybody inside.
        let told = serving.says(&["exec", &other, "--", "cat", "/proc/self/mountinfo"]);
        assert!(!told.contains("skeletons"), "{told}");
    });
}

#[test]
fn servers_share_it() {
    as_user(|stage| {
        if !has_overlays() {
            return;
        }
        stage.folder("home/.cache");
        let mut serving = Serving::new(stage);
        writable(&serving);
        let before = stage.listing(SHELF);
        serving.terminate();
        stage.end_processes();
        // Another one, as far as everything else goes.
        fs::remove_dir_all(serving.data()).unwrap();
        writable(&Serving::new(stage));
        stage.assert_same(SHELF, &before);
    });
}
