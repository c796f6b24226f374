//! The programs inside: each does one thing often enough and prints what one of them took.
//!
//! Setting up and starting the wall is outside of the measured part.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustix::process::{getpid, getppid};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::{stats, tree};

/// Names the workload; it runs in the current directory.
#[derive(clap::Args)]
pub(crate) struct WorkloadOptions {
    load: Workload,
    /// A tenth of the work
    #[arg(long)]
    quick: bool,
}

/// What is done inside.
#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
pub(crate) enum Workload {
    Getpid,
    Stat,
    Read,
    Create,
    Threads,
    Pipe,
    Spawn,
    Untar,
    GitStatus,
}

impl Workload {
    /// In the order of the table.
    pub(crate) const ALL: [Workload; 9] = [
        Workload::Getpid,
        Workload::Stat,
        Workload::Read,
        Workload::Create,
        Workload::Threads,
        Workload::Pipe,
        Workload::Spawn,
        Workload::Untar,
        Workload::GitStatus,
    ];

    /// Its word on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Getpid => "getpid",
            Workload::Stat => "stat",
            Workload::Read => "read",
            Workload::Create => "create",
            Workload::Threads => "threads",
            Workload::Pipe => "pipe",
            Workload::Spawn => "spawn",
            Workload::Untar => "untar",
            Workload::GitStatus => "git-status",
        }
    }

    /// Its row in the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Workload::Getpid => "getpid, getppid",
            Workload::Stat => "stat of 10k files",
            Workload::Read => "open, read, close of 10k files",
            Workload::Create => "create, unlink",
            Workload::Threads => "thread create, join",
            Workload::Pipe => "pipe round trip",
            Workload::Spawn => "spawn true, wait",
            Workload::Untar => "tar -x of 3k files",
            Workload::GitStatus => "git status of 10k files",
        }
    }

    /// Of the number that it prints.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Workload::Getpid | Workload::Stat | Workload::Read | Workload::Create => "ns",
            Workload::Threads | Workload::Pipe | Workload::Spawn => "µs",
            Workload::Untar | Workload::GitStatus => "ms",
        }
    }
}

/// Does the work and prints one number.
pub(crate) fn workload(options: &WorkloadOptions) -> Result<()> {
    let scaled = |count: u32| {
        if options.quick {
            count.div_ceil(10)
        } else {
            count
        }
    };
    let value = match options.load {
        Workload::Getpid => getpids(scaled(1_000_000)),
        Workload::Stat => each_file(scaled(10), |file| fs::metadata(file).map(drop))?,
        Workload::Read => each_file(scaled(5), read)?,
        Workload::Create => create(scaled(20_000))?,
        Workload::Threads => threads(scaled(4_000))?,
        Workload::Pipe => pipe(scaled(40_000))?,
        Workload::Spawn => spawn(scaled(200))?,
        Workload::Untar => repeated(scaled(5), untar)?,
        Workload::GitStatus => repeated(scaled(5), git_status)?,
    };
    println!("{value}");
    Ok(())
}

fn nanoseconds(spent: Duration, calls: u32) -> f64 {
    spent.as_secs_f64() * 1e9 / f64::from(calls)
}

fn getpids(pairs: u32) -> f64 {
    let begin = Instant::now();
    for _ in 0..pairs {
        black_box((getpid(), getppid()));
    }
    nanoseconds(begin.elapsed(), pairs * 2)
}

/// The first pass fills the caches and is not counted.
fn each_file(passes: u32, action: impl Fn(&Path) -> std::io::Result<()>) -> Result<f64> {
    let files: Vec<PathBuf> = tree::files()
        .map(|file| Path::new(tree::TREE).join(file))
        .collect();
    let mut begin = Instant::now();
    for pass in 0..=passes {
        if pass == 1 {
            begin = Instant::now();
        }
        for file in &files {
            action(file).with_context(|| format!("{}", file.display()))?;
        }
    }
    Ok(nanoseconds(
        begin.elapsed(),
        passes * tree::FOLDERS * tree::FILES_PER_FOLDER,
    ))
}

fn read(file: &Path) -> std::io::Result<()> {
    let mut buffer = [0_u8; 4096];
    black_box(File::open(file)?.read(&mut buffer)?);
    Ok(())
}

/// In batches, so that the folder is neither empty nor huge.
fn create(files: u32) -> Result<f64> {
    let folder = tempfile::tempdir_in(".").context("cannot make a folder in the workspace")?;
    let names: Vec<PathBuf> = (0..200)
        .map(|name| folder.path().join(format!("new{name}")))
        .collect();
    let batches = files.div_ceil(200);
    let begin = Instant::now();
    for _ in 0..batches {
        for name in &names {
            File::create(name)?;
        }
        for name in &names {
            fs::remove_file(name)?;
        }
    }
    Ok(nanoseconds(begin.elapsed(), batches * 200))
}

fn threads(count: u32) -> Result<f64> {
    let begin = Instant::now();
    for _ in 0..count {
        let thread = std::thread::Builder::new().spawn(|| black_box(1))?;
        if thread.join().is_err() {
            bail!("a thread panicked");
        }
    }
    Ok(nanoseconds(begin.elapsed(), count) / 1e3)
}

/// Both ends on one processor: which processors the scheduler picks would be the noise.
fn pipe(trips: u32) -> Result<f64> {
    let mut one = CpuSet::new();
    one.set(0);
    let _ = sched_setaffinity(None, &one);
    let (ping_out, ping_in) = rustix::pipe::pipe()?;
    let (pong_out, pong_in) = rustix::pipe::pipe()?;
    let echo = std::thread::Builder::new().spawn(move || -> Result<(), rustix::io::Errno> {
        let mut byte = [0_u8; 1];
        while rustix::io::read(&ping_out, &mut byte)? == 1 {
            rustix::io::write(&pong_in, &byte)?;
        }
        Ok(())
    })?;
    let mut byte = [0_u8; 1];
    let begin = Instant::now();
    for _ in 0..trips {
        rustix::io::write(&ping_in, &byte)?;
        rustix::io::read(&pong_out, &mut byte)?;
    }
    let spent = begin.elapsed();
    drop(ping_in);
    let _ = echo.join();
    Ok(nanoseconds(spent, trips) / 1e3)
}

fn spawn(count: u32) -> Result<f64> {
    let begin = Instant::now();
    for _ in 0..count {
        finish(&mut Command::new("/usr/bin/true"))?;
    }
    Ok(nanoseconds(begin.elapsed(), count) / 1e3)
}

/// The median of a few, in milliseconds.
fn repeated(times: u32, action: impl Fn() -> Result<Duration>) -> Result<f64> {
    let mut spent = (0..times.max(1))
        .map(|_| action())
        .collect::<Result<Vec<_>>>()?;
    spent.sort();
    let milliseconds: Vec<f64> = spent.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    Ok(stats::median(&milliseconds))
}

fn untar() -> Result<Duration> {
    let folder = tempfile::tempdir_in(".").context("cannot make a folder in the workspace")?;
    let begin = Instant::now();
    finish(
        Command::new("tar")
            .arg("-xf")
            .arg(tree::TARBALL)
            .arg("-C")
            .arg(folder.path()),
    )?;
    Ok(begin.elapsed())
}

/// Without the optional lock, so that no run changes the index for the next.
fn git_status() -> Result<Duration> {
    let mut git = Command::new("git");
    git.args(["-C", tree::TREE, "status", "--porcelain"])
        .env("GIT_OPTIONAL_LOCKS", "0");
    let begin = Instant::now();
    finish(&mut git)?;
    Ok(begin.elapsed())
}

fn finish(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_called_by_the_name_that_clap_knows() {
        for load in Workload::ALL {
            assert_eq!(Workload::from_str(load.name(), false), Ok(load));
        }
    }

    #[test]
    fn those_that_need_no_tree_give_a_time() {
        assert!(getpids(100) > 0.0);
        assert!(threads(3).expect("threads") > 0.0);
        assert!(pipe(10).expect("pipes") > 0.0);
        assert!(spawn(2).expect("true") > 0.0);
    }
}
