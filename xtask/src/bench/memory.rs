//! What a wall keeps in memory while its payload sleeps: every process of its tree but the
//! payload, each weighed by its share of the pages (PSS).

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::ground::Home;
use super::wall::Wall;

/// The payload, and the name by which it is left out of the sum.
const PAYLOAD: &str = "sleep";
const PATIENCE: Duration = Duration::from_secs(10);

/// Of one wall.
#[derive(Serialize)]
pub(crate) struct WallMemory {
    pub(crate) wall: String,
    #[serde(flatten)]
    pub(crate) used: Option<Memory>,
    /// Why there is no number.
    pub(crate) failure: Option<String>,
    /// It is not the wall's fault: the caller may not look at it.
    #[serde(skip)]
    pub(crate) denied: bool,
}

/// Sums over the processes of a wall, without the payload.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) pss_kib: u64,
    pub(crate) private_dirty_kib: u64,
    pub(crate) processes: usize,
}

/// A process as /proc/PID/stat tells it.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    name: String,
}

/// The median of some samples for each wall; no wall means no memory.
pub(crate) fn of_all(walls: &[Wall], home: &Home, samples: u32) -> Vec<WallMemory> {
    let walls = walls.iter().filter(|wall| wall.name != "bare");
    walls.map(|wall| of(wall, home, samples)).collect()
}

fn of(wall: &Wall, home: &Home, samples: u32) -> WallMemory {
    let name = wall.name.clone();
    match (0..samples)
        .map(|_| sample(wall, home))
        .collect::<Result<Vec<_>>>()
    {
        Ok(mut sorted) => {
            sorted.sort();
            let used = sorted.get(sorted.len() / 2).copied();
            WallMemory {
                wall: name,
                used,
                failure: None,
                denied: false,
            }
        }
        Err(why) => {
            let cause = why
                .downcast_ref::<std::io::Error>()
                .map(std::io::Error::kind);
            let denied = cause == Some(std::io::ErrorKind::PermissionDenied);
            WallMemory {
                wall: name,
                used: None,
                failure: Some(format!("{why:#}")),
                denied,
            }
        }
    }
}

fn sample(wall: &Wall, home: &Home) -> Result<Memory> {
    let words = wall.command(home, &home.empty, &["/usr/bin/sleep", "60"]);
    let child = home
        .program(&words[0])
        .args(&words[1..])
        .current_dir(&home.empty)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", words[0]))?;
    let mut wall = Running { child };
    let tree = wall.settled()?;
    let keepers = tree.iter().filter(|process| process.name != PAYLOAD);
    keepers.map(|process| weigh(process.pid)).sum()
}

/// A wall with its payload; ends with its supervisor, which takes the payload along.
struct Running {
    child: Child,
}

impl Running {
    /// Waits until the payload sleeps and the tree has stopped changing.
    fn settled(&mut self) -> Result<Vec<Process>> {
        let begin = Instant::now();
        let mut before = Vec::new();
        while begin.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                bail!("the wall ended early, with {status}");
            }
            let tree = tree(self.child.id())?;
            if tree == before && tree.iter().any(|process| process.name == PAYLOAD) {
                return Ok(tree);
            }
            before = tree;
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the payload did not start within {} s", PATIENCE.as_secs())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The share of the pages of a process and all that descend from it.
pub(crate) fn of_tree(root: u32) -> Result<Memory> {
    tree(root)?.iter().map(|process| weigh(process.pid)).sum()
}

/// The same without processes whose name begins so.
pub(crate) fn of_tree_but(root: u32, name: &str) -> Result<Memory> {
    let tree = tree(root)?;
    let others = tree
        .iter()
        .filter(|process| !process.name.starts_with(name));
    others.map(|process| weigh(process.pid)).sum()
}

/// A process and all that descend from it.
fn tree(root: u32) -> Result<Vec<Process>> {
    let all: Vec<Process> = fs::read_dir("/proc")?
        .filter_map(Result::ok)
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|stat| parse_stat(&stat))
        .collect();
    let mut pids = vec![root];
    let mut next = 0;
    while let Some(&parent) = pids.get(next) {
        pids.extend(
            all.iter()
                .filter(|one| one.parent == parent)
                .map(|one| one.pid),
        );
        next += 1;
    }
    Ok(all
        .into_iter()
        .filter(|process| pids.contains(&process.pid))
        .collect())
}

/// `pid (name) state parent …`; the name may itself hold spaces and brackets.
fn parse_stat(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let parent = rest.split(' ').nth(1)?;
    Some(Process {
        pid: pid.parse().ok()?,
        parent: parent.parse().ok()?,
        name: name.to_owned(),
    })
}

fn weigh(pid: u32) -> Result<Memory> {
    let file = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&file)
        .with_context(|| format!("cannot read {file}\nhint: only root may read a supervisor's"))?;
    parse_rollup(&text).with_context(|| format!("{file} has no Pss and Private_Dirty"))
}

fn parse_rollup(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some(Memory {
        pss_kib: field("Pss:")?,
        private_dirty_kib: field("Private_Dirty:")?,
        processes: 1,
    })
}

impl std::iter::Sum for Memory {
    fn sum<I: Iterator<Item = Memory>>(parts: I) -> Memory {
        parts.fold(Memory::default(), |sum, part| Memory {
            pss_kib: sum.pss_kib + part.pss_kib,
            private_dirty_kib: sum.private_dirty_kib + part.private_dirty_kib,
            processes: sum.processes + part.processes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_is_one_name() {
        let process = parse_stat("12 (a) (b c) S 7 12 12 0").expect("a process");
        assert_eq!(
            process,
            Process {
                pid: 12,
                parent: 7,
                name: "a) (b c".to_owned()
            }
        );
    }

    #[test]
    fn a_rollup_is_read_by_its_exact_names() {
        let text = "Rss:  900 kB\nPss:    123 kB\nPss_Dirty: 5 kB\nPrivate_Dirty:   44 kB\n";
        let memory = parse_rollup(text).expect("a rollup");
        assert_eq!(
            memory,
            Memory {
                pss_kib: 123,
                private_dirty_kib: 44,
                processes: 1
            }
        );
    }
}
