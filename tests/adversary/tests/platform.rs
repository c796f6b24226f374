//! The catalogue's attempts by commands of a sandbox of the platform: as its user and as its root,
//! against its init and against its agent. That each one works where there is no wall is what the
//! test `wall` shows.
//!
//! `CASEMATE_BIN` names the program to test; by default it is the one that was built beside this
//! test.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::{env, fs};

use tempfile::TempDir;

/// An identifier that no account has.
const NOBODY: u32 = 64321;
/// Groups of what a sandbox must not do to the machine, to its wall or to its agent. The others are
/// about a caller's workspace, terminal and policy, which are not there.
const GROUPS: [&str; 10] = [
    "proc",
    "devices",
    "ptrace",
    "namespaces",
    "mounts",
    "capabilities",
    "seccomp",
    "io_uring",
    "keyring",
    "signals",
];
/// What root has on purpose, and what the agent's root leaves in the bounding set of every command,
/// which no_new_privs lets nobody gain from.
const OF_ROOT: [&str; 6] = [
    "become-another",
    "become-group",
    "hold-bounding",
    "hold-effective",
    "hold-permitted",
    "drop-groups",
];
const OF_ALL: [&str; 1] = ["hold-bounding"];
/// What attempts say that lack something of the caller's to aim at.
const AIMLESS: &str = "is not set";

/// A server, and the folder that it has everything in.
struct Platform {
    folder: TempDir,
    uid: u32,
    server: Option<Child>,
    /// It says more, and must not find this closed.
    out: Option<BufReader<ChildStdout>>,
}

impl Platform {
    fn new(uid: u32) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("platform-")
            .tempdir()
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = folder.path().join("home");
        fs::create_dir(&home).unwrap();
        chown(&home, Some(uid), Some(uid)).unwrap();
        let mut platform = Self {
            folder,
            uid,
            server: None,
            out: None,
        };
        let (built, here) = (casemate(), platform.path("casemate"));
        if fs::hard_link(&built, &here).is_err() {
            fs::copy(&built, &here).unwrap();
        }
        // None are kept ready: those outlive a server that is killed, as this one is.
        let serve = ["serve", "--listen", "127.0.0.1:0", "--warm", "0"];
        let mut serve = platform.casemate(&serve);
        let mut server = serve.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(server.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert!(line.contains("serving on"), "{line}");
        platform.out = Some(out);
        platform.server = Some(server);
        platform
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn casemate(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.path("casemate"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.path("home"));
        command.env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        if unsafe { libc::geteuid() } == 0 && self.uid != 0 {
            command.uid(self.uid).gid(self.uid);
        }
        command
    }

    /// What a command prints that must succeed.
    #[track_caller]
    fn says(&self, args: &[&str]) -> String {
        let output = self.casemate(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {error}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    /// A sandbox with the attempts in it.
    fn sandbox(&self) -> String {
        let id = self.says(&["create", "--timeout", "never"]);
        let there = format!("{id}:/tmp/attempt");
        // A path of its own: the build's folder need not be open to everybody.
        let here = self.path("attempt");
        fs::copy(env!("CARGO_BIN_EXE_attempt"), &here).unwrap();
        self.says(&["cp", here.to_str().unwrap(), &there]);
        id
    }

    fn shell(&self, id: &str, user: &str, script: &str) -> String {
        self.says(&["exec", "--user", user, id, "--", "sh", "-c", script])
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.casemate(&["kill", "--all"]).output();
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn casemate() -> PathBuf {
    if let Some(path) = env::var_os("CASEMATE_BIN") {
        return path.into();
    }
    // This test is in target/PROFILE/deps.
    let test = env::current_exe().unwrap();
    let path: &Path = test.parent().unwrap();
    path.with_file_name("casemate")
}

/// The names of the attempts that need nothing but a folder.
fn names() -> Vec<String> {
    let list = Command::new(env!("CARGO_BIN_EXE_attempt"))
        .arg("list")
        .output();
    let list = String::from_utf8(list.unwrap().stdout).unwrap();
    let fields = list
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>());
    let wanted = fields.filter(|fields| GROUPS.contains(&fields[1]) && fields[4] == "plain");
    wanted.map(|fields| fields[0].to_owned()).collect()
}

/// Makes all attempts as this user, with this process in the place of init; what crossed, and what
/// could not be tried.
fn attack(platform: &Platform, user: &str, aim: &str) {
    let id = platform.sandbox();
    let given = if user == "root" {
        &OF_ROOT[..]
    } else {
        &OF_ALL
    };
    let names: Vec<String> = names()
        .into_iter()
        .filter(|name| !given.contains(&name.as_str()))
        .collect();
    let script = format!(
        "mkdir -p /tmp/work; export ATTEMPT_WORKSPACE=/tmp/work ATTEMPT_TOKEN=nothing ATTEMPT_INIT={aim}
         for name in {}; do
           said=$(/tmp/attempt $name 2>&1 </dev/null); code=$?
           echo $code $name $said
         done",
        names.join(" ")
    );
    let said = platform.shell(&id, user, &script);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), names.len(), "{said}");
    let bad: Vec<&&str> = lines
        .iter()
        .filter(|line| {
            let blocked = line.starts_with("77 ");
            let aimless = line.starts_with("99 ") && line.contains(AIMLESS);
            !blocked && !aimless
        })
        .collect();
    assert!(bad.is_empty(), "as {user} against {aim}: {bad:#?}");
    // It is there, and does what it is told.
    assert_eq!(platform.shell(&id, "user", "echo alive"), "alive");
}

fn attack_all(uid: u32) {
    let platform = Platform::new(uid);
    for user in ["user", "root"] {
        for aim in ["1", "$PPID"] {
            attack(&platform, user, aim);
        }
    }
}

#[test]
fn as_root() {
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: needs root");
        return;
    }
    attack_all(0);
}

#[test]
fn as_an_ordinary_user() {
    let own = unsafe { libc::geteuid() };
    attack_all(if own == 0 { NOBODY } else { own });
}
