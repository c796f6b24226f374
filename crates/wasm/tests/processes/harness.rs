//! Runs each scenario in a process of its own, once as root and once as an ordinary user.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::{env, fs};

/// A user that no machine is likely to have given anything to.
const STRANGER: u32 = 64321;

type Scenario = (&'static str, fn());

/// What measures and tests nothing: for `--ignored` alone.
const MEASUREMENTS: [&str; 1] = ["times"];

/// The one-word options that runners give; the others have a value.
const VALUED: [&str; 5] = ["--format", "--test-threads", "--color", "--logfile", "-Z"];

pub(crate) fn main(scenarios: &[Scenario]) {
    let args: Vec<String> = env::args().skip(1).collect();
    if let [word, name, ..] = &args[..]
        && word == "scenario"
    {
        let (_, run) = scenarios.iter().find(|(known, _)| known == name).unwrap();
        return run();
    }
    let (mut filters, mut skip, mut rest) = (Vec::new(), Vec::new(), args.iter());
    let has = |word: &str| args.iter().any(|arg| arg == word);
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--skip" => skip.extend(rest.next()),
            valued if VALUED.contains(&valued) => drop(rest.next()),
            option if option.starts_with('-') => {}
            _ => filters.push(arg),
        }
    }
    let measures = has("--ignored");
    let matches = |name: &str, filter: &String| match has("--exact") {
        true => name == filter,
        false => name.contains(filter.as_str()),
    };
    let chosen: Vec<(String, &str, bool)> = scenarios
        .iter()
        .filter(|(name, _)| MEASUREMENTS.contains(name) == measures || has("--include-ignored"))
        .flat_map(|(name, _)| [(name, true), (name, false)])
        .map(|(name, root)| {
            let user = if root { "as_root" } else { "as_user" };
            (format!("{name}::{user}"), *name, root)
        })
        .filter(|(full, ..)| filters.is_empty() || filters.iter().any(|f| matches(full, f)))
        .filter(|(full, ..)| !skip.iter().any(|f| matches(full, f)))
        .collect();
    if has("--list") {
        return chosen
            .iter()
            .for_each(|(full, ..)| println!("{full}: test"));
    }
    let stage = Stage::new();
    let failed: Vec<_> = chosen.iter().filter(|test| !stage.run(test)).collect();
    println!(
        "\ntest result: {} passed; {} failed",
        chosen.len() - failed.len(),
        failed.len()
    );
    drop(stage);
    if !failed.is_empty() {
        exit(101);
    }
}

/// A folder that everybody can enter, with this program in it.
struct Stage {
    _folder: tempfile::TempDir,
    program: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("casemate-wasm-")
            .tempdir()
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = folder.path().join("processes");
        let built = env::current_exe().unwrap();
        if fs::hard_link(&built, &program).is_err() {
            fs::copy(built, &program).unwrap();
        }
        Self {
            _folder: folder,
            program,
        }
    }

    fn run(&self, (full, name, as_root): &(String, &str, bool)) -> bool {
        let root = rustix::process::geteuid().is_root();
        if *as_root && !root {
            println!("test {full} ... ok (skipped: needs root)");
            return true;
        }
        let mut command = Command::new(&self.program);
        command
            .args(["scenario", name])
            .current_dir("/")
            .env_clear();
        if root && !as_root {
            // As root, this also gives up all other groups.
            command.uid(STRANGER).gid(STRANGER);
        }
        let ended = command.output().unwrap();
        let passed = ended.status.success();
        println!("test {full} ... {}", if passed { "ok" } else { "FAILED" });
        let (out, err) = (&ended.stdout, &ended.stderr);
        if !passed || !err.is_empty() {
            println!("{}: {}", ended.status, String::from_utf8_lossy(err));
        }
        if !out.is_empty() {
            print!("{}", String::from_utf8_lossy(out));
        }
        passed
    }
}

/// This program, under the path that it was started by.
pub(crate) fn program() -> PathBuf {
    fs::read_link(Path::new("/proc/self/exe")).unwrap()
}
