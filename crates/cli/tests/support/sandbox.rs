//! A caller of `casemate` in a folder of its own, as root and as an unprivileged user.
//!
//! Each test is written once, as a function of a [`Stage`], and [`both!`] makes two of it. The
//! binary is linked into the stage, since the build's own folder need not be open to everybody.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test program uses a part of it"
)]

mod program;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

/// A uid that no account has.
const NOBODY: u32 = 64321;

/// Where programs are found, as a login shell would have it.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Makes a test as root and one as an unprivileged user from a function of `&Stage`.
macro_rules! both {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn as_root() {
                $crate::sandbox::as_root(super::$name);
            }
            #[test]
            fn as_user() {
                $crate::sandbox::as_user(super::$name);
            }
        }
    )+};
}
pub(crate) use both;

/// Runs a test as root, or says that it can't.
pub(crate) fn as_root(test: impl FnOnce(&Stage)) {
    if rustix::process::geteuid().is_root() {
        return test(&Stage::new(0));
    }
    println!("skipped: needs root");
}

/// Runs a test as an unprivileged user: a made-up one if the tests run as root.
pub(crate) fn as_user(test: impl FnOnce(&Stage)) {
    let own = rustix::process::geteuid();
    test(&Stage::new(if own.is_root() {
        NOBODY
    } else {
        own.as_raw()
    }));
}

/// A folder with a workspace, a home and the binary, and who owns them.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    uid: u32,
}

impl Stage {
    fn new(uid: u32) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("casemate-test-")
            .tempdir()
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let stage = Self { folder, uid };
        stage.link_binary();
        for name in ["ws", "home", "outside"] {
            stage.folder(stage.path(name));
        }
        stage
    }

    fn link_binary(&self) {
        let (built, here) = (program::casemate(), self.path("casemate"));
        if fs::hard_link(&built, &here).is_err() {
            fs::copy(built, &here).unwrap();
        }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.uid == 0
    }

    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// A path in the stage's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.folder.path()).unwrap().join(name)
    }

    /// The same as text, for messages and scripts.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The workspace: the folder that the program starts in.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.path("ws")
    }

    /// Makes a folder and those above it; the caller owns the new ones.
    pub(crate) fn folder(&self, path: impl AsRef<Path>) {
        let path = self.path("").join(path);
        if path.exists() {
            return;
        }
        self.folder(path.parent().unwrap());
        fs::create_dir(&path).unwrap();
        self.own(path);
    }

    /// Writes a file that the caller owns, path relative to the stage's folder.
    pub(crate) fn write(&self, path: impl AsRef<Path>, contents: impl AsRef<[u8]>) {
        let path = self.path("").join(path);
        self.folder(path.parent().unwrap());
        fs::write(&path, contents).unwrap();
        self.own(&path);
    }

    /// Writes an executable file that the caller owns.
    pub(crate) fn script(&self, path: &str, contents: impl AsRef<[u8]>) {
        self.write(path, contents);
        self.mode(path, 0o755);
    }

    /// Makes a symbolic link that the caller owns.
    pub(crate) fn symlink(&self, to: impl AsRef<Path>, path: &str) {
        symlink(to, self.path(path)).unwrap();
        self.own(path);
    }

    pub(crate) fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Reads a file of the stage.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("read {path}: {error}"))
    }

    fn own(&self, path: impl AsRef<Path>) {
        if rustix::process::geteuid().is_root() {
            lchown(self.path("").join(path), Some(self.uid), Some(self.uid)).unwrap();
        }
    }

    /// A program that the caller starts, in the workspace and with a plain environment.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.workspace())
            .stdin(Stdio::null())
            .env_clear();
        command
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .env("HOME", self.path("home"));
        command.env("GIT_CONFIG_NOSYSTEM", "1");
        if rustix::process::geteuid().is_root() && self.uid != 0 {
            // As root, this also gives up all other groups.
            command.uid(self.uid).gid(self.uid);
        }
        command
    }

    /// `casemate` itself.
    pub(crate) fn casemate(&self) -> Command {
        self.command(self.path("casemate"))
    }

    /// `casemate run ARGS`.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ended {
        Ended::of(self.casemate().arg("run").args(args))
    }

    /// `casemate run FLAGS -- sh -c SCRIPT`.
    pub(crate) fn shell(&self, flags: &[&str], script: &str) -> Ended {
        self.run(flags.iter().copied().chain(["--", "sh", "-c", script]))
    }

    /// `casemate run FLAGS -- python3 -c SCRIPT`.
    pub(crate) fn python(&self, flags: &[&str], script: &str) -> Ended {
        self.run(
            flags
                .iter()
                .copied()
                .chain(["--", "/usr/bin/python3", "-c", script]),
        )
    }

    /// A shell script that the caller runs without any sandbox.
    pub(crate) fn outside(&self, script: &str) -> String {
        let ended = Ended::of(self.command("sh").arg("-ec").arg(script));
        assert_eq!(ended.code, 0, "{script}: {ended:?}");
        ended.out
    }

    /// What is in a folder of the stage, with everything that a change would show in.
    pub(crate) fn listing(&self, folder: &str) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        list(&self.path(folder), &mut found);
        // Other tests link to it at the same time.
        found.remove(&self.path("casemate"));
        found
    }

    /// Fails, and shows what differs, unless a folder is as it was.
    #[track_caller]
    pub(crate) fn assert_same(&self, folder: &str, before: &BTreeMap<PathBuf, String>) {
        let after = self.listing(folder);
        let gone = before
            .iter()
            .filter(|(path, was)| after.get(*path) != Some(was));
        let new = after
            .iter()
            .filter(|(path, is)| before.get(*path) != Some(is));
        let (gone, new): (Vec<_>, Vec<_>) = (gone.collect(), new.collect());
        assert!(
            gone.is_empty() && new.is_empty(),
            "in {folder}, gone or changed: {gone:#?}\nnew or changed: {new:#?}"
        );
    }

    /// Fails if anything of a run is still there: processes, mounts, or files that changed.
    pub(crate) fn assert_nothing_left(&self) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let folder = self.text("");
        assert!(
            !mounts.contains(folder.trim_end_matches('/')),
            "a mount was left:\n{mounts}"
        );
        // A process that was killed may take a moment to go.
        wait_until(
            Duration::from_secs(2),
            "every process of the run to be gone",
            || self.processes().is_empty(),
        );
    }

    /// Ends all that the test started and that outlived what started it.
    pub(crate) fn end_processes(&self) {
        let pids = |stage: &Self| {
            let all = stage.processes().into_iter();
            all.filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?))
                .collect::<Vec<_>>()
        };
        wait_until(Duration::from_secs(20), "every process to end", || {
            let left = pids(self);
            for pid in &left {
                let _ = rustix::process::kill_process(*pid, rustix::process::Signal::KILL);
            }
            left.is_empty()
        });
    }

    /// Processes whose program or folder is in the stage.
    fn processes(&self) -> Vec<String> {
        let here = self.path("");
        let of_stage = |pid: &String| {
            ["exe", "cwd"].iter().any(|link| {
                fs::read_link(format!("/proc/{pid}/{link}")).is_ok_and(|to| to.starts_with(&here))
            })
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
        pids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .filter(of_stage)
            .collect()
    }
}

fn list(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        let kind = meta.file_type();
        let mut shown = format!(
            "{:o} {}:{} links {}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.nlink()
        );
        if kind.is_symlink() {
            let _ = write!(shown, " -> {}", fs::read_link(&path).unwrap().display());
        } else if kind.is_file() {
            let contents = fs::read(&path).unwrap();
            let _ = write!(
                shown,
                " {:?}",
                String::from_utf8_lossy(&contents[..contents.len().min(256)])
            );
            let _ = write!(
                shown,
                " {} bytes at {}.{:09}",
                meta.size(),
                meta.mtime(),
                meta.mtime_nsec()
            );
        } else if kind.is_char_device() || kind.is_block_device() {
            let _ = write!(shown, " device {}", meta.rdev());
        }
        found.insert(path.clone(), shown);
        if kind.is_dir() {
            list(&path, found);
        }
    }
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

impl Ended {
    pub(crate) fn of(command: &mut Command) -> Self {
        let started = Instant::now();
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        Self {
            code: status
                .code()
                .unwrap_or_else(|| 1000 + status.signal().unwrap_or(0)),
            out: String::from_utf8_lossy(&stdout).into_owned(),
            err: String::from_utf8_lossy(&stderr).into_owned(),
            took: started.elapsed(),
        }
    }

    /// Fails unless the run ended with this code and said exactly this.
    #[track_caller]
    pub(crate) fn assert(&self, code: i32, out: &str, err: &str) {
        let (is, should) = ((self.code, &*self.out, &*self.err), (code, out, err));
        assert_eq!(is, should);
    }

    /// Fails unless the run worked and said nothing on standard error.
    #[track_caller]
    pub(crate) fn assert_out(&self, out: &str) {
        self.assert(0, out, "");
    }
}

/// A run's report.
pub(crate) fn report(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The texts of a JSON list.
pub(crate) fn texts(list: &serde_json::Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|item| item.as_str().unwrap())
        .collect()
}

/// Waits for something that happens by itself.
#[track_caller]
pub(crate) fn wait_until(most: Duration, what: &str, mut happened: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < most, "waited {most:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes that are no UTF-8, as an argument.
pub(crate) fn not_utf8() -> &'static OsStr {
    OsStr::from_bytes(b"x\xff")
}
