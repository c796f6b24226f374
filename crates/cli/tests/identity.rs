//! `casemate identity`: what it lists, and how a changed program is settled.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/program.rs"]
mod program;

use casemate_identity::{Digest, Digests, Identifier, Refusal, Scope, Store, Subject, Trust};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A user's folder of state.
struct State {
    folder: tempfile::TempDir,
}

impl State {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("casemate/identity.sqlite")
    }

    fn store(&self) -> Store {
        Store::open(&self.file()).unwrap()
    }

    fn casemate(&self) -> Command {
        let mut command = Command::new(program::casemate());
        command
            .env_clear()
            .env("XDG_STATE_HOME", self.folder.path());
        command
    }

    /// `casemate identity ARGS`: exit code, standard output and standard error.
    fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> (i32, String, String) {
        ended(self.casemate().arg("identity").args(args))
    }

    /// What a run of `args` prints, which must work.
    #[track_caller]
    fn says<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let (code, out, err) = self.run(args);
        assert_eq!((code, &*err), (0, ""));
        out
    }

    #[track_caller]
    fn refuses<S: AsRef<OsStr>>(&self, args: &[S], message: &str) {
        let message = format!("casemate: error: {message}\n");
        assert_eq!(self.run(args), (125, String::new(), message));
    }

    /// Runs a program with these contents at a path, and identifies it.
    fn identify(&self, name: &str, tail: &[u8]) -> Result<Digest, Refusal> {
        let path = self.program(name);
        let contents = [&fs::read("/bin/cat").unwrap()[..], tail].concat();
        let _ = fs::remove_file(&path);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = Command::new(&path).stdin(Stdio::piped()).spawn().unwrap();
        let trust = Arc::new(Trust::stored(self.store()));
        let init = std::process::id() as i32;
        let identifier = Identifier::new(init, trust, Arc::new(Digests::new()), |_, _| Scope::Host);
        // It may not have become the program altogether yet.
        let identify = || {
            identifier
                .as_ref()
                .unwrap()
                .identify(Subject::Task(child.id() as i32))
        };
        let results = std::iter::repeat_with(identify);
        let mut results = results.filter(|result| !matches!(result, Err(Refusal::Raced(_))));
        let result = results.next().unwrap();
        drop(results);
        child.kill().unwrap();
        child.wait().unwrap();
        result.map(|identity| identity.executable.digest)
    }

    fn program(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.folder.path()).unwrap().join(name)
    }
}

fn ended(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

const LIST: &str = "\nhint: `casemate identity list` shows the paths that are, as programs in the sandbox name them";

#[test]
fn nothing_is_remembered_and_nothing_is_made() {
    let state = State::new();
    assert_eq!(state.says(&["list"]), "");
    assert_eq!(state.says(&["list", "--json"]), "[]\n");
    for action in ["show", "approve", "forget"] {
        state.refuses(
            &[action, "/p"],
            &format!("{action} /p: nothing is remembered of it{LIST}"),
        );
    }
    assert_eq!(fs::read_dir(state.folder.path()).unwrap().count(), 0);
}

#[test]
fn a_change_is_refused_until_it_is_approved() {
    let state = State::new();
    let path = state.program("program");
    let first = state.identify("program", b"first").unwrap();
    let listed = state.says(&["list"]);
    assert!(
        listed.starts_with(&format!("trusted {first} 20")),
        "{listed}"
    );
    assert!(
        listed.ends_with(&format!("Z {}\n", path.display())),
        "{listed}"
    );
    state.refuses(
        &[OsStr::new("approve"), path.as_os_str()],
        &format!("approve {}: nothing was refused there\nhint: to trust a digest before it is seen, give --sha256", path.display()),
    );

    let refusal = state.identify("program", b"second").unwrap_err();
    let Refusal::Changed(change) = &refusal else {
        panic!("{refusal}");
    };
    let shown = state.says(&[OsStr::new("show"), path.as_os_str()]);
    assert!(
        shown.contains(&format!("refused {} ", change.found)),
        "{shown}"
    );
    // As the refusal says.
    let line = format!("casemate identity approve {}", path.display());
    assert!(
        refusal.to_string().ends_with(&format!("`{line}`")),
        "{refusal}"
    );
    let approved = state.says(&[OsStr::new("approve"), path.as_os_str()]);
    assert_eq!(
        approved,
        format!("approved {} sha256 {}\n", path.display(), change.found)
    );
    assert_eq!(state.identify("program", b"second"), Ok(change.found));

    assert_eq!(
        state.says(&[OsStr::new("forget"), path.as_os_str()]),
        format!("forgot {}\n", path.display())
    );
    assert_eq!(state.says(&["list"]), "");
    assert!(state.identify("program", b"third").is_ok());
}

#[test]
fn of_several_changes_one_is_named() {
    let state = State::new();
    let path = state.program("program");
    state.identify("program", b"first").unwrap();
    state.identify("program", b"second").unwrap_err();
    state.identify("program", b"third").unwrap_err();
    state.refuses(
        &[OsStr::new("approve"), path.as_os_str()],
        &format!("approve {}: 2 different digests were refused there\nhint: `casemate identity show` lists them; name the one that is yours with --sha256", path.display()),
    );
    let records = state.store().show(path.as_os_str().as_bytes()).unwrap();
    let third = records
        .iter()
        .rfind(|record| !record.approved)
        .unwrap()
        .digest
        .to_string();
    state.says(&[
        OsStr::new("approve"),
        path.as_os_str(),
        "--sha256".as_ref(),
        third.as_ref(),
    ]);
    let refused = state
        .says(&["list"])
        .lines()
        .filter(|line| line.starts_with("refused"))
        .count();
    assert_eq!(refused, 1);
}

#[test]
fn a_digest_is_approved_before_it_is_seen() {
    let state = State::new();
    let digest = "ab".repeat(32);
    let said = state.says(&["approve", "/usr/bin/curl", "--sha256", &digest]);
    assert_eq!(said, format!("approved /usr/bin/curl sha256 {digest}\n"));
    let mode = |path: PathBuf| path.metadata().unwrap().mode() & 0o777;
    assert_eq!(mode(state.file()), 0o600);
    assert_eq!(mode(state.folder.path().join("casemate")), 0o700);
    for wrong in ["", "12", "x"] {
        state.refuses(
            &["approve", "/p", "--sha256", wrong],
            "read --sha256: a SHA-256 digest is 64 hexadecimal digits\nhint: sha256sum prints it",
        );
    }
}

#[test]
fn json() {
    let state = State::new();
    state.store().approve(b"/a\x1b", Digest([1; 32])).unwrap();
    state.store().approve(b"/b\xff", Digest([2; 32])).unwrap();
    let list: serde_json::Value = serde_json::from_str(&state.says(&["list", "--json"])).unwrap();
    let of = |index: usize, key: &str| list[index][key].clone();
    assert_eq!(
        (of(0, "path"), of(0, "sha256")),
        ("/a\u{1b}".into(), "01".repeat(32).into())
    );
    assert_eq!(
        (of(0, "state"), of(0, "path_bytes")),
        ("trusted".into(), serde_json::Value::Null)
    );
    assert_eq!(
        (of(1, "path"), of(1, "path_bytes")),
        ("/b\\xff".into(), vec![47, 98, 255].into())
    );
    assert!(of(0, "first_seen").as_str().unwrap().ends_with('Z'));

    let odd = OsStr::from_bytes(b"/b\xff");
    let one: serde_json::Value =
        serde_json::from_str(&state.says(&["show".as_ref(), odd, "--json".as_ref()])).unwrap();
    assert_eq!(one, serde_json::json!([list[1]]));
    // A terminal gets no control characters.
    assert!(state.says(&["list"]).contains(" /a\\u{1b}\n"));
}

#[test]
fn where_the_store_is() {
    let state = State::new();
    let digest = "ab".repeat(32);
    let mut command = state.casemate();
    command.args(["identity", "approve", "/p", "--sha256", &digest]);
    // A relative folder is not followed (XDG Base Directory Specification).
    command
        .env("XDG_STATE_HOME", "relative")
        .env("HOME", state.folder.path());
    assert_eq!(ended(&mut command).0, 0);
    assert!(
        state
            .folder
            .path()
            .join(".local/state/casemate/identity.sqlite")
            .exists()
    );
    let (code, _, err) = ended(command.env_remove("HOME"));
    assert_eq!(
        (code, &*err),
        (
            125,
            "casemate: error: find the identity store: neither XDG_STATE_HOME nor HOME is an absolute path\nhint: set HOME\n"
        )
    );
}

#[test]
fn a_damaged_store_is_no_empty_store() {
    let state = State::new();
    drop(state.store());
    fs::write(state.file(), "anything else that is long enough").unwrap();
    let (code, out, err) = state.run(&["list"]);
    assert_eq!((code, &*out), (125, ""));
    assert!(
        err.starts_with("casemate: error: open the identity store ")
            && err.contains("\nhint: it is damaged: "),
        "{err}"
    );
}
