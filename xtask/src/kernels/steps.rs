//! What is run in the guest, and what is expected of it.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::guest::{HOME, WORKSPACE};
use super::image::{HOST_ONLY, USER};
use super::protocol::{Status, Step};
use super::{Orders, attempts, doctor};

/// No step takes longer; an emulated machine is some thirty times slower than a real one.
const LIMIT: Duration = Duration::from_secs(60);
/// Switches user namespaces off.
const LIMIT_FILE: &str = "/proc/sys/user/max_user_namespaces";

/// What a command of the guest did.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Makes every step, telling each as it ends.
pub(crate) fn make(orders: &Orders, tell: &mut dyn FnMut(Step) -> Result<()>) -> Result<()> {
    let mut step = |name: &str, outcome: Result<String>| tell(judged(name, outcome));
    step("kernel", kernel())?;
    if orders.userns_off {
        fs::write(LIMIT_FILE, "0").with_context(|| format!("cannot write {LIMIT_FILE}"))?;
        step("run-says-why", refused())?;
        return step("doctor-says-why", doctor_says_why());
    }
    for (user, uid) in [("root", 0), ("user", USER)] {
        step(
            &format!("busybox-{user}"),
            run(uid, &["/bin/busybox", "true"]).and_then(succeeded),
        )?;
        step(&format!("doctor-{user}"), doctor(uid))?;
        for (name, check) in CHECKS {
            step(&format!("{name}-{user}"), check(uid))?;
        }
    }
    attempts::make(&orders.attempts, tell)
}

type Check = fn(u32) -> Result<String>;

/// What has to work inside the wall, for root and for anyone else.
const CHECKS: [(&str, Check); 6] = [
    ("run-true", |uid| {
        inside(uid, &["/bin/busybox", "true"]).and_then(succeeded)
    }),
    ("run-id", |uid| {
        inside(uid, &["/bin/busybox", "id"])
            .and_then(succeeded)
            .and_then(has("uid="))
    }),
    ("run-root-folder", root_folder),
    ("run-write", written),
    ("run-secret", secret),
    ("run-status", status),
];

fn kernel() -> Result<String> {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let modules = fs::read_to_string("/sys/kernel/security/lsm").context("no security modules")?;
    if !modules.split(',').any(|name| name == "landlock") {
        bail!("Linux {release} runs without Landlock: {modules}");
    }
    Ok(format!("Linux {release}, {modules}"))
}

fn doctor(uid: u32) -> Result<String> {
    let ended = run(uid, &["/bin/casemate", "doctor", "--json"])?;
    doctor::check(&ended.stdout).with_context(|| format!("{}\n{}", ended.stdout, ended.stderr))
}

fn root_folder(uid: u32) -> Result<String> {
    let names = inside(uid, &["/bin/busybox", "ls", "/"]).and_then(succeeded)?;
    if names.lines().any(|name| name == HOST_ONLY) {
        bail!("/{HOST_ONLY} is seen inside: {names}");
    }
    has("usr")(names).map(|names| names.replace('\n', " "))
}

/// What is written in the workspace is there afterwards.
fn written(uid: u32) -> Result<String> {
    let file = format!("{WORKSPACE}/written-by-{uid}");
    let script = format!("echo kept > {file} && cat {file}");
    inside(uid, &["/bin/busybox", "sh", "-c", &script]).and_then(succeeded)?;
    has("kept")(fs::read_to_string(&file).with_context(|| format!("{file} is gone"))?)
}

/// A file of the caller beside the workspace is not read.
fn secret(uid: u32) -> Result<String> {
    let file = format!("{HOME}/secret-of-{uid}");
    fs::write(&file, "open sesame\n")?;
    chown(&file, Some(uid), Some(uid))?;
    run(uid, &["/bin/busybox", "cat", &file])
        .and_then(succeeded)
        .and_then(has("sesame"))?;
    let ended = inside(uid, &["/bin/busybox", "cat", &file])?;
    if ended.status.success() || ended.stdout.contains("sesame") {
        bail!("{file} was read inside: {}", ended.shown());
    }
    has("No such file")(ended.stderr)
}

fn status(uid: u32) -> Result<String> {
    let ended = inside(uid, &["/bin/busybox", "sh", "-c", "exit 7"])?;
    match ended.status.code() {
        Some(7) => Ok("7".to_owned()),
        _ => bail!("expected 7: {}", ended.shown()),
    }
}

/// Where no user namespace can be made the error names the setting.
fn refused() -> Result<String> {
    let ended = inside(USER, &["/bin/busybox", "true"])?;
    if ended.status.code() != Some(125) {
        bail!("expected 125: {}", ended.shown());
    }
    has("max_user_namespaces")(ended.stderr)
}

fn doctor_says_why() -> Result<String> {
    let ended = run(USER, &["/bin/casemate", "doctor"])?;
    has("max_user_namespaces")(ended.stdout + &ended.stderr)
}

/// Runs a command inside the wall, in the workspace.
fn inside(uid: u32, words: &[&str]) -> Result<Ended> {
    run(uid, &[&["/bin/casemate", "run", "--"], words].concat())
}

fn run(uid: u32, words: &[&str]) -> Result<Ended> {
    run_with(uid, words, &[])
}

/// Runs a command as a user in the workspace, for at most [`LIMIT`].
///
/// Its output goes through files: a process that it leaves behind can hold a pipe open.
pub(crate) fn run_with(uid: u32, words: &[&str], environment: &[(&str, String)]) -> Result<Ended> {
    chown(WORKSPACE, Some(uid), Some(uid))?;
    let (stdout, stderr) = ("/run/stdout", "/run/stderr");
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .env_clear()
        .env("PATH", "/usr/bin")
        .env("HOME", HOME)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(WORKSPACE)
        .uid(uid)
        .gid(uid)
        .stdin(Stdio::null())
        .stdout(File::create(stdout)?)
        .stderr(File::create(stderr)?)
        .spawn()
        .with_context(|| format!("cannot start {}", words[0]))?;
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("`{}` took more than {} s", words.join(" "), LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let read = |file| fs::read(file).map(|text| String::from_utf8_lossy(&text).into_owned());
    Ok(Ended {
        status,
        stdout: read(stdout)?,
        stderr: read(stderr)?,
    })
}

fn judged(name: &str, outcome: Result<String>) -> Step {
    let (status, detail) = match outcome {
        Ok(detail) => (Status::Ok, detail),
        Err(why) => (Status::Fail, format!("{why:#}")),
    };
    Step {
        name: name.to_owned(),
        status,
        detail: detail.trim().to_owned(),
    }
}

fn succeeded(ended: Ended) -> Result<String> {
    if ended.status.success() {
        Ok(ended.stdout)
    } else {
        bail!("{}", ended.shown())
    }
}

fn has(wanted: &'static str) -> impl Fn(String) -> Result<String> {
    move |text| {
        if text.contains(wanted) {
            Ok(text)
        } else {
            bail!("no {wanted:?} in: {text}")
        }
    }
}

impl Ended {
    /// In one text, for a detail.
    pub(crate) fn shown(&self) -> String {
        format!("{}\n{}{}", self.status, self.stdout, self.stderr)
    }
}
