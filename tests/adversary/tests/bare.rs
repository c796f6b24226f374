//! The catalogue's attempts behind the wall that `casemate wasm run` puts around a guest's process:
//! what a guest could do that had broken out of Wasm. That each one works where there is no wall is
//! what the test `wall` shows.

use std::io::Write;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, thread};

use tempfile::TempDir;

/// An identifier that no account has.
const NOBODY: u32 = 64321;
/// Whoever reads this has reached the host.
const TOKEN: &str = "the-host-was-reached-51c3";
/// Groups of what such a process could do to the machine, to its caller or to its wall. The others
/// are about a terminal, a policy and limits that are the same for all.
const GROUPS: [&str; 12] = [
    "files",
    "proc",
    "devices",
    "sockets",
    "ptrace",
    "namespaces",
    "mounts",
    "capabilities",
    "seccomp",
    "io_uring",
    "keyring",
    "signals",
];

/// What lacks something to aim at: a handle, a UDP server and a session key of the host's, and two
/// sockets that the wall's own test makes while it runs.
const AIMLESS: [&str; 8] = [
    "read-by-handle",
    "udp-loopback",
    "udp-connected",
    "unix-after",
    "unix-relative",
    "search-session-key",
    "request-session-key",
    "list-keys",
];

/// A folder that is granted, things beside it that are not, and services of the host.
struct Stage {
    folder: TempDir,
    uid: u32,
    victim: Child,
    port: u16,
    abstract_name: String,
}

impl Stage {
    fn new(uid: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("bare-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["workspace", "outside", "home"] {
            let made = folder.path().join(name);
            fs::create_dir(&made).unwrap();
            chown(&made, Some(uid), Some(uid)).unwrap();
        }
        for name in [
            "home/secret",
            "outside/token",
            "outside/plain",
            "outside/linked",
        ] {
            let made = folder.path().join(name);
            fs::write(&made, TOKEN).unwrap();
            chown(&made, Some(uid), Some(uid)).unwrap();
        }
        for (name, program) in [
            ("attempt", env!("CARGO_BIN_EXE_attempt")),
            ("bare", env!("CARGO_BIN_EXE_bare")),
        ] {
            // A path of its own: the build's folder need not be open to everybody.
            fs::copy(program, folder.path().join(name)).unwrap();
        }
        let mut victim = Command::new(folder.path().join("attempt"));
        victim.arg("--victim").stdin(Stdio::null());
        let victim = as_user(&mut victim, uid).spawn().unwrap();
        let abstract_name = format!("bare-{}-{uid}", std::process::id());
        Self {
            port: serve(&abstract_name, &folder.path().join("socket")),
            folder,
            uid,
            victim,
            abstract_name,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The code of one attempt, and what it said.
    fn attempt(&self, name: &str) -> (i32, String) {
        let mut command = Command::new(self.path("bare"));
        command
            .arg(self.path("workspace"))
            .arg(self.path("attempt"))
            .arg(name)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .env_clear()
            .env("ATTEMPT_WORKSPACE", self.path("workspace"))
            .env("ATTEMPT_SECRET", self.path("home/secret"))
            .env("ATTEMPT_OUTSIDE", self.path("outside"))
            .env("ATTEMPT_TOKEN", TOKEN)
            .env("ATTEMPT_PID", self.victim.id().to_string())
            .env("ATTEMPT_PORT", self.port.to_string())
            .env("ATTEMPT_SOCKET", self.path("socket"))
            .env("ATTEMPT_ABSTRACT", &self.abstract_name);
        let output = as_user(&mut command, self.uid).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        (output.status.code().unwrap_or(-1), said)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

fn as_user(command: &mut Command, uid: u32) -> &mut Command {
    if unsafe { libc::geteuid() } == 0 && uid != 0 {
        command.uid(uid).gid(uid);
    }
    command
}

/// Servers that say the token: at a port of the host's loopback, and at two Unix sockets.
fn serve(abstract_name: &str, path: &Path) -> u16 {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let name = SocketAddr::from_abstract_name(abstract_name).unwrap();
    let unix = [UnixListener::bind_addr(&name), UnixListener::bind(path)];
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    // They end with the test's process.
    thread::spawn(move || tcp.incoming().for_each(|client| greet(client.unwrap())));
    for listener in unix {
        let listener = listener.unwrap();
        thread::spawn(move || {
            listener
                .incoming()
                .for_each(|client| greet(client.unwrap()))
        });
    }
    port
}

fn greet(mut client: impl Write) {
    let _ = client.write_all(TOKEN.as_bytes());
}

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

fn attack(uid: u32) {
    let stage = Stage::new(uid);
    let (mut bad, mut stopped) = (Vec::new(), 0);
    for name in names() {
        match stage.attempt(&name) {
            (77, _) => stopped += 1,
            (99, _) if AIMLESS.contains(&&*name) => {}
            (code, said) => bad.push(format!("{name}: {code}: {said}")),
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(stopped > 100, "{stopped}");
    assert_eq!(
        fs::read_to_string(stage.path("home/secret")).unwrap(),
        TOKEN
    );
}

#[test]
fn as_root() {
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: needs root");
        return;
    }
    attack(0);
}

#[test]
fn as_an_ordinary_user() {
    let own = unsafe { libc::geteuid() };
    attack(if own == 0 { NOBODY } else { own });
}
