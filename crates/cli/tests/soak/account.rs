//! What programs got, what they should have got, and what the audit log says of it.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Mistakes that are shown.
const SHOWN: usize = 20;

/// By program, way and port: what came of it.
#[derive(Default)]
pub(crate) struct Account {
    rows: BTreeMap<(String, String, u64, String), u64>,
    wrong: Vec<String>,
}

impl Account {
    /// `[program, way, port, found, expected]`
    pub(crate) fn enter(&mut self, line: &str) {
        let (who, how, port, found, expected): (String, String, u64, String, String) =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if found != expected {
            self.wrong.push(line.to_owned());
        }
        *self.rows.entry((who, how, port, found)).or_default() += 1;
    }

    /// Connections to this port that came through.
    pub(crate) fn reached(&self, port: u16) -> u64 {
        let rows = self.rows.iter();
        let here =
            rows.filter(|((_, _, to, found), _)| *to == u64::from(port) && found == "reached");
        here.map(|(_, count)| count).sum()
    }

    /// Fails unless every one was decided as it should be, and there were many.
    pub(crate) fn check(&self, wished: u64) {
        let all: u64 = self.rows.values().sum();
        let shown = &self.wrong[..self.wrong.len().min(SHOWN)];
        assert!(
            self.wrong.is_empty(),
            "{} of {all} were decided wrongly: {shown:#?}",
            self.wrong.len()
        );
        println!("{all} connections of {wished} that were wished for");
        assert!(all > wished / 10, "only {all} connections of {wished}");
    }

    /// What the log should say of each program and port: that of an inspected request that was
    /// refused, the connection was allowed.
    fn by_program(&self) -> BTreeMap<Row, u64> {
        let mut sums = BTreeMap::new();
        for ((who, how, port, found), count) in &self.rows {
            let open = found == "reached" || who == "member" && how == "posted";
            *sums.entry((who.clone(), *port, open)).or_default() += count;
        }
        sums
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((who, how, port, found), count) in &self.rows {
            writeln!(f, "{who:9} {how:12} {port:6} {found:8} {count}")?;
        }
        Ok(())
    }
}

/// The audit log as it is written, over its rotations.
pub(crate) struct Audit {
    over: Arc<AtomicBool>,
    reader: JoinHandle<Seen>,
}

/// A program, a port, and whether connections there were allowed.
type Row = (String, u64, bool);

/// Decisions on connections.
#[derive(Default)]
pub(crate) struct Seen {
    rows: BTreeMap<Row, u64>,
    /// Events that nobody expects, lost ones among them.
    strange: Vec<String>,
}

impl Audit {
    pub(crate) fn follow(path: PathBuf) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let reader = std::thread::spawn(move || read(&path, &ends));
        Self { over, reader }
    }

    /// Everything, now that nobody writes any more.
    pub(crate) fn finish(self) -> Seen {
        self.over.store(true, Ordering::SeqCst);
        self.reader.join().unwrap()
    }
}

fn read(path: &PathBuf, over: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut current: Option<File> = None;
    let mut rest = Vec::new();
    loop {
        // Asked before: what was written until then is read below.
        let last = over.load(Ordering::SeqCst);
        let new = File::open(path).ok();
        if let Some(file) = &mut current {
            file.read_to_end(&mut rest).unwrap();
        }
        let inode = |file: &File| file.metadata().unwrap().ino();
        let rotated = new.as_ref().map(inode) != current.as_ref().map(inode);
        if rotated && let Some(mut new) = new {
            new.read_to_end(&mut rest).unwrap();
            current = Some(new);
        }
        let whole = rest
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let lines = rest.drain(..whole).collect::<Vec<_>>();
        lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .for_each(|line| seen.enter(line));
        if last {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Seen {
    fn enter(&mut self, line: &[u8]) {
        let event: Value = serde_json::from_slice(line).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (class, activity) = (&event["class_uid"], text(&event["activity_name"]));
        match (class.as_u64(), activity.as_str()) {
            // Nobody was there any more whom the other side could have answered.
            (Some(4001), "Open" | "Refuse" | "Fail") => {}
            // Requests, and what follows on the above.
            (Some(4002), _) | (Some(4001), "Close") => return,
            _ => {
                return self
                    .strange
                    .push(String::from_utf8_lossy(line).into_owned());
            }
        }
        let path = text(&event["actor"]["process"]["file"]["path"]);
        let port = event["dst_endpoint"]["port"].as_u64().unwrap_or_default();
        let row = (path, port, activity == "Open");
        *self.rows.entry(row).or_default() += 1;
    }

    /// Fails unless the log says of the programs in this folder what they say themselves. It may
    /// say one thing more of each that was killed.
    pub(crate) fn check(self, account: &Account, killed: u64, folder: &str) {
        let shown = &self.strange[..self.strange.len().min(SHOWN)];
        assert!(
            shown.is_empty(),
            "{} other events: {shown:#?}",
            self.strange.len()
        );
        let mut said = account.by_program();
        let mut more = 0;
        for ((path, port, open), logged) in self.rows {
            let who = path.strip_prefix(&format!("{folder}/")).unwrap_or(&path);
            let own = said.remove(&(who.to_owned(), port, open)).unwrap_or(0);
            assert!(
                own <= logged,
                "{who} says {own} for port {port}, {open}, the log {logged}"
            );
            more += logged - own;
        }
        assert!(said.is_empty(), "not in the log: {said:?}");
        println!("{killed} programs were killed, of which the log knows {more} connections more");
        assert!(more <= killed, "connections that nobody made");
    }
}
