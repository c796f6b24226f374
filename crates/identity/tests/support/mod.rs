//! Real processes below this one, which plays the sandbox's init.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use casemate_identity::{
    Digest, Digests, Identifier, Identity, Refusal, Scope, Store, Subject, Trust,
};
use rustix::fd::AsFd as _;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A folder with executables and a store.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("casemate-identity-")
            .tempdir()
            .unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.folder.path()).unwrap().join(name)
    }

    /// A copy of a program, with something after its end that makes it another file.
    pub(crate) fn copy(&self, program: &str, name: &str, tail: &[u8]) -> PathBuf {
        let path = self.path(name);
        let contents = [&fs::read(program).unwrap(), tail].concat();
        let _ = fs::remove_file(&path);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        settle(&path);
        path
    }

    pub(crate) fn sleeper(&self, name: &str, tail: &[u8]) -> PathBuf {
        self.copy("/bin/sleep", name, tail)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.path("state/identity.sqlite")).unwrap()
    }

    /// An identifier that knows nothing but what the store remembers.
    pub(crate) fn identifier(&self) -> Arc<Identifier> {
        self.identifier_of(Arc::default(), |_, _| Scope::Host)
    }

    pub(crate) fn identifier_of(
        &self,
        digests: Arc<Digests>,
        scope: impl Fn(&[u8], u64) -> Scope + Send + Sync + 'static,
    ) -> Arc<Identifier> {
        let trust = Arc::new(Trust::stored(self.store()));
        Arc::new(Identifier::new(own_id(), trust, digests, scope).unwrap())
    }
}

pub(crate) fn own_id() -> i32 {
    std::process::id() as i32
}

/// Waits until the file's times are old enough to stand for its contents.
pub(crate) fn settle(path: &Path) {
    wait_until("the file to be 20 ms old", || {
        age(path) > Duration::from_millis(25)
    });
}

/// How long ago the file or its attributes changed.
pub(crate) fn age(path: &Path) -> Duration {
    let meta = fs::metadata(path).unwrap();
    let changed = Duration::new(meta.ctime() as u64, meta.ctime_nsec() as u32);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.saturating_sub(changed)
}

/// A program that is running, until it is dropped.
pub(crate) struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().unwrap());
        let input = child.stdin.take();
        Self {
            child,
            input,
            output,
        }
    }

    /// A copy of sleep(1) that sleeps.
    pub(crate) fn sleeping(program: &Path) -> Self {
        let running = Self::start(Command::new(program).arg("1000"));
        // Its parent goes on before the kernel has laid the program out.
        let stat = format!("/proc/{}/stat", running.id());
        wait_until("the program to sleep", || {
            fs::read_to_string(&stat).unwrap().contains(") S ")
        });
        running
    }

    pub(crate) fn python(script: &str) -> Self {
        Self::start(Command::new("python3").arg("-c").arg(script))
    }

    pub(crate) fn id(&self) -> i32 {
        self.child.id() as i32
    }

    /// Says something to the program.
    pub(crate) fn say(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.input
            .as_mut()
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
    }

    /// The next line that the program says.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(
            self.output.read_line(&mut line).unwrap(),
            0,
            "the program ended"
        );
        line.trim_end().to_owned()
    }

    pub(crate) fn end(mut self) {
        self.kill();
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    pub(crate) fn identify(&self, identifier: &Identifier) -> Result<Arc<Identity>, Refusal> {
        identifier.identify(Subject::Task(self.id()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The digest of a file, the plain way.
pub(crate) fn digest(path: &Path) -> Digest {
    let file = fs::File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    Digest::of(file.as_fd(), size, &|| false).unwrap()
}

pub(crate) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

pub(crate) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Fails unless this is a refusal because another digest is trusted.
#[track_caller]
pub(crate) fn assert_changed(result: Result<Arc<Identity>, Refusal>, known: Digest, found: Digest) {
    match result {
        Err(Refusal::Changed(change)) => {
            assert_eq!((&change.known[..], change.found), (&[known][..], found));
        }
        other => panic!("not refused as changed: {other:?}"),
    }
}

/// Waits for something that happens by itself.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "waited 30 s for {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}
