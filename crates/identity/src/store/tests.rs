//! The store against its rules, against another process, and against kill -9.

use super::*;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn at(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("casemate/identity.sqlite")
}

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

fn sighting(path: &[u8], digest: Digest) -> Sighting<'_> {
    Sighting {
        path,
        digest,
        fingerprint: None,
        verity: None,
        may_add: true,
    }
}

fn fingerprint(ino: u64) -> Fingerprint {
    Fingerprint {
        dev: 1,
        ino,
        size: 2,
        mtime: (3, 4),
        ctime: (5, 6),
    }
}

#[test]
fn the_first_digest_is_trusted_and_another_one_is_not() {
    let folder = folder();
    let store = Store::open(&at(&folder)).unwrap();
    let see = |byte| store.see(&sighting(b"/p", digest(byte))).unwrap();
    assert_eq!(see(1), Verdict::Added);
    assert_eq!(see(1), Verdict::Trusted);
    assert_eq!(see(2), Verdict::Changed(vec![digest(1)]));
    assert_eq!(see(2), Verdict::Changed(vec![digest(1)]));
    store.approve(b"/p", digest(2)).unwrap();
    assert_eq!(see(2), Verdict::Trusted);
    assert_eq!(see(1), Verdict::Trusted);
    assert_eq!(store.forget(b"/p").unwrap(), 2);
    assert_eq!(store.forget(b"/p").unwrap(), 0);
    assert_eq!(see(3), Verdict::Added);
}

#[test]
fn it_is_still_there_when_opened_again() {
    let folder = folder();
    let path = at(&folder);
    assert!(Store::open_existing(&path).unwrap().is_none());
    Store::open(&path)
        .unwrap()
        .approve(b"/\xff", digest(1))
        .unwrap();
    let store = Store::open_existing(&path).unwrap().unwrap();
    let records = store.show(b"/\xff").unwrap();
    assert_eq!(
        (records.len(), records[0].digest, records[0].approved),
        (1, digest(1), true)
    );
    assert_eq!(store.list().unwrap(), records);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
}

#[test]
fn a_fingerprint_or_a_verity_digest_recalls_what_was_recorded_with_it() {
    let folder = folder();
    let store = Store::open(&at(&folder)).unwrap();
    let recall = |path: &[u8], ino, verity| store.recall(path, &fingerprint(ino), verity).unwrap();
    assert_eq!(recall(b"/p", 1, Some(b"v")), None);
    let seen = Sighting {
        fingerprint: Some(&fingerprint(1)),
        verity: Some(b"v"),
        ..sighting(b"/p", digest(1))
    };
    store.see(&seen).unwrap();
    assert_eq!(recall(b"/p", 1, None), Some(digest(1)));
    assert_eq!(recall(b"/p", 2, None), None);
    assert_eq!(recall(b"/p", 2, Some(b"w")), None);
    assert_eq!(recall(b"/p", 2, Some(b"v")), Some(digest(1)));
    assert_eq!(recall(b"/q", 1, Some(b"v")), None);
    // A sighting that stands for nothing leaves what is there.
    store.see(&sighting(b"/p", digest(1))).unwrap();
    assert_eq!(recall(b"/p", 1, None), Some(digest(1)));
}

#[test]
fn what_may_not_be_added_is_not() {
    let folder = folder();
    let store = Store::open(&at(&folder)).unwrap();
    let hidden = |byte| Sighting {
        may_add: false,
        ..sighting(b"/p", digest(byte))
    };
    assert_eq!(store.see(&hidden(1)).unwrap(), Verdict::Unknown);
    store.see(&sighting(b"/p", digest(1))).unwrap();
    assert_eq!(store.see(&hidden(1)).unwrap(), Verdict::Trusted);
    assert_eq!(
        store.see(&hidden(2)).unwrap(),
        Verdict::Changed(vec![digest(1)])
    );
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn refused_digests_do_not_pile_up() {
    let folder = folder();
    let store = Store::open(&at(&folder)).unwrap();
    for byte in 0..100 {
        store.see(&sighting(b"/p", digest(byte))).unwrap();
    }
    let records = store.show(b"/p").unwrap();
    assert_eq!(records.len(), 9);
    let is = |byte| records.iter().any(|record| record.digest == digest(byte));
    assert!(is(0) && is(99), "{records:?}");
}

#[test]
fn what_is_wrong_is_said() {
    let folder = folder();
    let path = at(&folder);
    let refused = |wanted: &str| {
        let error = Store::open(&path).map(drop).unwrap_err().to_string();
        assert!(
            error.contains(wanted) && error.contains("\nhint: "),
            "{error}"
        );
    };
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    drop(Store::open(&path).unwrap());
    let whole = std::fs::read(&path).unwrap();

    std::fs::write(&path, "no database at all, whatever it is called").unwrap();
    refused("file is not a database");
    std::fs::write(&path, [&whole[..100], &[0xff; 8000]].concat()).unwrap();
    refused("malformed");
    let mut newer = whole.clone();
    newer[60..64].copy_from_slice(&2_u32.to_be_bytes());
    std::fs::write(&path, newer).unwrap();
    refused("version 2");
    let mut other = whole.clone();
    other[68..72].copy_from_slice(&7_u32.to_be_bytes());
    std::fs::write(&path, other).unwrap();
    refused("version -1");

    std::fs::write(&path, whole).unwrap();
    mode(&path, 0o640);
    refused("other users");
    mode(&path, 0o600);
    mode(path.parent().unwrap(), 0o755);
    refused("other users");
    mode(path.parent().unwrap(), 0o700);
    drop(Store::open(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    refused("no regular file");
}

#[test]
fn a_store_that_can_not_be_written_trusts_nothing_new() {
    if rustix::process::geteuid().is_root() {
        return println!("skip: root writes to every file");
    }
    let folder = folder();
    let path = at(&folder);
    drop(Store::open(&path).unwrap());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    let seen = Store::open(&path).and_then(|store| store.see(&sighting(b"/p", digest(1))));
    let error = seen.unwrap_err().to_string();
    assert!(
        error.contains("readonly") && error.contains("\nhint: make "),
        "{error}"
    );
}

#[test]
fn a_store_that_breaks_while_open_trusts_nothing() {
    let folder = folder();
    let path = at(&folder);
    let store = Store::open(&path).unwrap();
    for byte in 0..50 {
        store.see(&sighting(&[byte; 200], digest(byte))).unwrap();
    }
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let store = Store::open(&path).unwrap();
    let error = store.see(&sighting(&[7; 200], digest(9))).unwrap_err();
    assert!(error.to_string().contains("malformed"), "{error}");
}

/// Runs the body of [`other_process`] in a process of its own.
fn other(path: &Path, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store::tests::other_process",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("CASEMATE_TEST_STORE", path)
        .env("CASEMATE_TEST_ROLE", role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Sees one new path after another, and tells each one after it is recorded. Does nothing by
/// itself.
#[test]
fn other_process() {
    let (Some(path), Ok(role)) = (
        std::env::var_os("CASEMATE_TEST_STORE"),
        std::env::var("CASEMATE_TEST_ROLE"),
    ) else {
        return;
    };
    let store = Store::open(Path::new(&path)).unwrap();
    let mut out = std::io::stdout();
    // Beside the test's own output.
    out.write_all(b"\nready\n").unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let mine = digest(role.as_bytes()[0]);
    for number in 0..200 {
        let path = format!("/{role}/{number}");
        let path = if role.len() == 1 {
            format!("/{number}")
        } else {
            path
        };
        let verdict = store.see(&sighting(path.as_bytes(), mine)).unwrap();
        let first = verdict == Verdict::Added;
        let line = format!("seen {path} {first}\n");
        out.write_all(line.as_bytes()).unwrap();
    }
}

/// What another process told, line by line; it starts when the first line was taken.
fn told(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines
        .map_while(Result::ok)
        .skip_while(|line| line != "ready");
    lines.next().unwrap();
    lines.filter(|line| line.starts_with("seen "))
}

#[test]
fn of_two_processes_one_is_first() {
    let folder = folder();
    let path = at(&folder);
    let mut racers = ["a", "b"].map(|role| other(&path, role));
    let lines = racers.each_mut().map(told);
    for racer in &mut racers {
        racer.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    let firsts: Vec<usize> = lines
        .into_iter()
        .map(|lines| lines.filter(|line| line.ends_with(" true")).count())
        .collect();
    for mut racer in racers {
        assert!(racer.wait().unwrap().success());
    }
    // Each of the 200 paths has one first digest and one refused.
    assert_eq!(firsts.iter().sum::<usize>(), 200, "{firsts:?}");
    let records = Store::open(&path).unwrap().list().unwrap();
    assert_eq!(records.len(), 400);
    assert_eq!(records.iter().filter(|record| record.approved).count(), 200);
}

#[test]
fn kill_9_loses_nothing_that_was_told() {
    let folder = folder();
    let path = at(&folder);
    let mut expected = 0;
    for round in 0..20 {
        let mut writer = other(&path, &format!("round{round}"));
        let mut lines = told(&mut writer);
        writer.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let told: Vec<String> = lines.by_ref().take(1 + 3 * round).collect();
        writer.kill().unwrap();
        writer.wait().unwrap();
        let store = Store::open(&path).unwrap();
        let check = store.run("check", async |store| {
            use sqlx::Row as _;
            sqlx::query("PRAGMA integrity_check")
                .fetch_one(store)
                .await?
                .try_get::<String, _>(0)
        });
        assert_eq!(check.unwrap(), "ok");
        for line in &told {
            let path = line.split(' ').nth(1).unwrap();
            assert_eq!(store.show(path.as_bytes()).unwrap().len(), 1, "{line}");
        }
        let now = store.list().unwrap().len();
        expected += told.len();
        assert!(now >= expected, "{now} of {expected}");
        expected = now;
    }
}
