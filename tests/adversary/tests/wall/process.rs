//! How a program of the stage is started: as whom, with what it inherits.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::stage::{TOKEN, User};

/// Description of the key that the caller's session holds.
pub(crate) const KEY: &str = "casemate-adversary";
/// Numbers that neither the standard library nor a test runner uses.
const FIRST: i32 = 200;

/// How a program ended and what it said.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) output: String,
}

impl Run {
    pub(crate) fn of(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = spawn(command).wait_with_output().unwrap();
        // As a shell would tell it.
        let code = output
            .status
            .code()
            .unwrap_or_else(|| 128 + output.status.signal().unwrap());
        let text = [output.stdout, output.stderr].concat();
        Self {
            code,
            output: String::from_utf8_lossy(&text).into_owned(),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "exit {}: {}", self.code, self.output.trim())
    }
}

/// A program that is being copied must not be open for writing in a child that another test's
/// thread starts meanwhile: until that child's exec, nobody could run the copy (ETXTBSY).
static COPY_OR_FORK: Mutex<()> = Mutex::new(());

pub(crate) fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let _turn = COPY_OR_FORK.lock().unwrap_or_else(PoisonError::into_inner);
    std::fs::copy(from, to).unwrap();
}

pub(crate) fn spawn(command: &mut Command) -> Child {
    let _turn = COPY_OR_FORK.lock().unwrap_or_else(PoisonError::into_inner);
    command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The program under test.
pub(crate) fn casemate() -> PathBuf {
    if let Some(path) = std::env::var_os("CASEMATE_BIN") {
        return path.into();
    }
    // This test is in target/PROFILE/deps.
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().with_file_name("casemate");
    assert!(
        path.exists(),
        "{} is missing: build it or set CASEMATE_BIN",
        path.display()
    );
    path
}

/// What the caller has open when it starts the sandbox.
pub(crate) struct Descriptors {
    open: [OwnedFd; 4],
    _host: UnixStream,
}

impl Descriptors {
    pub(crate) fn open(root: &Path) -> Self {
        let outside = root.join("outside");
        let path = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(&outside)
            .unwrap();
        let (mut host, inherited) = UnixStream::pair().unwrap();
        host.write_all(TOKEN.as_bytes()).unwrap();
        let file = File::open(root.join("home/.ssh/id_ed25519")).unwrap();
        let directory = File::open(&outside).unwrap();
        let open = [directory.into(), path.into(), file.into(), inherited.into()];
        Self { open, _host: host }
    }

    pub(crate) fn variables() -> Vec<(&'static str, String)> {
        let variables = [
            "ATTEMPT_FD_DIRECTORY",
            "ATTEMPT_FD_PATH",
            "ATTEMPT_FD_FILE",
            "ATTEMPT_FD_SOCKET",
        ];
        variables
            .into_iter()
            .zip(FIRST..)
            .map(|(name, fd)| (name, fd.to_string()))
            .collect()
    }

    /// `program` in the workspace, as `user`, with these descriptors, a key and a variable that
    /// are the caller's own affair.
    pub(crate) fn command(&self, program: &Path, root: &Path, user: User) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command
            .env("HOME", root.join("home"))
            .env("CALLER_TOKEN", "of the caller only");
        command.current_dir(root.join("workspace"));
        command.stdin(File::open(root.join("input")).unwrap());
        let numbers = self.open.each_ref().map(AsRawFd::as_raw_fd);
        unsafe {
            command.pre_exec(move || {
                become_user(user)?;
                plant_key();
                inherit(numbers)
            });
        }
        command
    }
}

fn check(result: libc::c_int) -> std::io::Result<()> {
    match result {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Between fork and exec: system calls only.
fn become_user(user: User) -> std::io::Result<()> {
    if user == User::Same {
        return Ok(());
    }
    unsafe {
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(User::NOBODY, User::NOBODY, User::NOBODY))?;
        check(libc::setresuid(User::NOBODY, User::NOBODY, User::NOBODY))
    }
}

/// A session keyring of its own, with one key. Kernels without keys have nothing to protect.
fn plant_key() {
    const JOIN: i32 = 1;
    const SESSION: i32 = -3;
    unsafe {
        libc::syscall(libc::SYS_keyctl, JOIN, 0);
        let (kind, name) = (c"user".as_ptr(), c"casemate-adversary".as_ptr());
        libc::syscall(
            libc::SYS_add_key,
            kind,
            name,
            TOKEN.as_ptr(),
            TOKEN.len(),
            SESSION,
        );
    }
}

/// The copies stay open across exec.
fn inherit(numbers: [i32; 4]) -> std::io::Result<()> {
    for (fd, number) in numbers.into_iter().zip(FIRST..) {
        check(unsafe { libc::dup2(fd, number) })?;
    }
    Ok(())
}
