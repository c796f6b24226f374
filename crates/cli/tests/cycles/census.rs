//! What there is of sandboxes: on the machine, in the server and in its folder.

use crate::serving::Serving;
use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two looks at the processes: far less than a sandbox lives.
const PAUSE: Duration = Duration::from_millis(5);

const CGROUPS: &str = "/sys/fs/cgroup";
/// Of the names of groups; the rest is the id of the process that made one.
const PREFIX: &str = "casemate-";

/// What there was at some time.
#[derive(Default)]
pub(crate) struct Seen {
    processes: BTreeSet<i32>,
    /// Groups that were there before: process ids come again.
    older: BTreeSet<PathBuf>,
}

impl Seen {
    /// Looks again and again until it is over.
    pub(crate) fn until(over: &AtomicBool) -> Self {
        let mut older = BTreeSet::new();
        cgroups(Path::new(CGROUPS), &mut older);
        let mut processes = BTreeSet::new();
        while !over.load(Ordering::Relaxed) {
            processes.extend(below());
            std::thread::sleep(PAUSE);
        }
        Self { processes, older }
    }

    /// Whether this group is of a process that was seen, and that has ended.
    fn left(&self, cgroup: &Path) -> bool {
        let owner = cgroup.file_name().and_then(|name| name.to_str());
        let owner = owner.and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        owner.is_some_and(|pid| {
            self.processes.contains(&pid)
                && !self.older.contains(cgroup)
                && !Path::new(&format!("/proc/{pid}")).exists()
        })
    }

    pub(crate) fn processes(&self) -> usize {
        self.processes.len()
    }
}

/// See the module. Two that are equal differ in nothing that a sandbox consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Census {
    processes: usize,
    namespaces: usize,
    /// Mounts that the server sees of this test.
    mounts: usize,
    /// Groups of processes that have been here and are gone.
    cgroups: BTreeSet<PathBuf>,
    /// Of the server, by what they are: files, sockets, anything.
    descriptors: BTreeMap<String, usize>,
    /// Unix sockets that are bound to a name in this test's folder.
    sockets: usize,
    /// Rows by table; of sandboxes, those that haven't ended.
    rows: String,
    /// Files and folders of this test.
    files: BTreeSet<PathBuf>,
}

impl Census {
    pub(crate) fn take(serving: &Serving<'_>, seen: &Seen) -> Self {
        reap(serving.pid());
        let here = serving.stage.path("");
        let here = here.to_str().unwrap();
        let server = format!("/proc/{}", serving.pid());
        let mentions = |file: &str| {
            let text = fs::read_to_string(file).unwrap();
            text.lines().filter(|line| line.contains(here)).count()
        };
        let processes = below();
        let mut files = BTreeSet::new();
        list(Path::new(here), &mut files);
        let mut found = BTreeSet::new();
        cgroups(Path::new(CGROUPS), &mut found);
        found.retain(|cgroup| seen.left(cgroup));
        Self {
            namespaces: namespaces(&processes).len(),
            processes: processes.len(),
            mounts: mentions(&format!("{server}/mountinfo")),
            cgroups: found,
            descriptors: descriptors(&format!("{server}/fd")),
            sockets: mentions("/proc/net/unix"),
            rows: rows(serving),
            files,
        }
    }
}

impl Census {
    /// This one, with what descriptors the server had before and has let go of since: of what it
    /// keeps for a while, the first census may have found more.
    pub(crate) fn and_what_went(mut self, before: &Self) -> Self {
        for (kind, count) in &before.descriptors {
            let now = self.descriptors.entry(kind.clone()).or_default();
            *now = (*now).max(*count);
        }
        self
    }
}

fn descriptors(folder: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        // One may be closed meanwhile.
        let Ok(link) = fs::read_link(entry.path()) else {
            continue;
        };
        let kind = link.to_string_lossy();
        let kind = match kind.split_once(":[") {
            Some((kind @ ("socket" | "pipe"), _)) => kind,
            _ => &kind,
        };
        *found.entry(kind.to_owned()).or_default() += 1;
    }
    found
}

/// Takes note of the ends of those that this process adopted.
fn reap(server: i32) {
    for pid in children()
        .remove(&getpid().as_raw_nonzero().get())
        .unwrap_or_default()
    {
        if pid != server {
            let _ = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
        }
    }
}

/// Every process by its parent.
fn children() -> BTreeMap<i32, Vec<i32>> {
    let mut children = BTreeMap::<i32, Vec<i32>>::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // The name may contain anything; after it come the state and the parent.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map(|(_, rest)| rest);
        let parent = rest.and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

/// The processes below this one.
fn below() -> Vec<i32> {
    let mut children = children();
    let mut found = vec![getpid().as_raw_nonzero().get()];
    let mut at = 0;
    while at < found.len() {
        found.extend(children.remove(&found[at]).unwrap_or_default());
        at += 1;
    }
    found.split_off(1)
}

/// Those that processes are in, and those that they hold open.
fn namespaces(processes: &[i32]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for pid in processes {
        for folder in ["ns", "fd"] {
            let entries = fs::read_dir(format!("/proc/{pid}/{folder}"));
            let links = entries.into_iter().flatten().flatten();
            let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
            found.extend(targets.filter(|to| {
                let name = to.to_str().unwrap_or_default();
                name.ends_with(']')
                    && !name.starts_with("socket:")
                    && !name.starts_with("pipe:")
                    && !name.starts_with("anon_inode:")
            }));
        }
    }
    found
}

/// Groups of Casemate's, whoever's.
fn cgroups(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            cgroups(&entry.path(), found);
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(PREFIX.as_bytes())
            {
                found.insert(entry.path());
            }
        }
    }
}

fn rows(serving: &Serving<'_>) -> String {
    let ask = "SELECT 'keys', count(*) FROM keys; SELECT 'answers', count(*) FROM answers; \
               SELECT 'sandboxes', count(*) FROM sandboxes WHERE ended IS NULL";
    let store = serving.data().join("platform.sqlite");
    let mut command = Command::new("/usr/bin/sqlite3");
    let output = command
        .arg("-readonly")
        .arg(store)
        .arg(ask)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn list(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path(), found);
        }
        found.insert(entry.path());
    }
}
