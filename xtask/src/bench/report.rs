//! One table for people and one file for programs.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::ground::Ground;
use super::machine::Machine;
use super::memory::WallMemory;
use super::rounds::{CaseSamples, ColumnSamples};
use super::stats::Summary;
use crate::table::Table;

/// A whole run.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: Machine,
    /// Where the work was done; always a tmpfs.
    ground: String,
    /// A quick run shows that everything works; its times mean little.
    quick: bool,
    pub(crate) users: Vec<UserReport>,
    notes: Vec<String>,
}

/// What was measured as one user.
#[derive(Serialize)]
pub(crate) struct UserReport {
    uid: u32,
    cases: Vec<CaseReport>,
    memory: Vec<WallMemory>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct CaseReport {
    name: String,
    unit: String,
    columns: Vec<ColumnReport>,
}

#[derive(Serialize)]
struct ColumnReport {
    name: String,
    #[serde(flatten)]
    summary: Option<Summary>,
    /// Median over the first column's median.
    ratio: Option<f64>,
    failure: Option<String>,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(machine: Machine, ground: &Ground, quick: bool, notes: Vec<String>) -> Self {
        let ground = format!("{} (tmpfs)", ground.root().display());
        Report {
            machine,
            ground,
            quick,
            users: Vec::new(),
            notes,
        }
    }

    /// Notes the state of the machine at the end.
    pub(crate) fn finish(&mut self) {
        self.machine.finish();
    }

    /// Writes the JSON.
    pub(crate) fn save(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(file, text + "\n")
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// How many measurements did not run.
    pub(crate) fn failures(&self) -> usize {
        self.users
            .iter()
            .flat_map(|user| user.failures(false))
            .count()
    }

    fn headings(&self) -> Vec<&str> {
        let cases = self.users.iter().flat_map(|user| &user.cases);
        let widest = cases.max_by_key(|case| case.columns.len());
        let columns = widest.into_iter().flat_map(|case| &case.columns);
        columns.map(|column| column.name.as_str()).collect()
    }
}

impl UserReport {
    /// Summarises the samples.
    pub(crate) fn new(
        uid: u32,
        cases: &[CaseSamples],
        memory: Vec<WallMemory>,
        notes: Vec<String>,
    ) -> Self {
        UserReport {
            uid,
            cases: cases.iter().map(CaseReport::new).collect(),
            memory,
            notes,
        }
    }

    /// In words; `denied` adds what the caller was not allowed to measure.
    fn failures(&self, denied: bool) -> impl Iterator<Item = String> {
        let cases = self.cases.iter().flat_map(|case| {
            let failed = case
                .columns
                .iter()
                .filter_map(|c| Some((&c.name, c.failure.as_ref()?)));
            failed.map(|(wall, why)| format!("uid {}, {}, {wall}: {why}", self.uid, case.name))
        });
        let memory = self
            .memory
            .iter()
            .filter(move |wall| denied || !wall.denied);
        let memory = memory.filter_map(|wall| {
            let why = wall.failure.as_ref()?;
            Some(format!("uid {}, memory, {}: {why}", self.uid, wall.wall))
        });
        cases.chain(memory)
    }

    fn fill(&self, table: &mut Table, headings: &[&str]) {
        let user = format!("uid {}", self.uid);
        for case in &self.cases {
            let mut row = vec![user.clone(), case.name.clone(), case.unit.clone()];
            row.extend(headings.iter().map(|name| case.cell(name)));
            row.push(case.against_newest_peer());
            table.row(row);
        }
        let mut row = vec![user, "supervisor PSS [private dirty]".into(), "KiB".into()];
        row.extend(headings.iter().map(|name| self.memory_cell(name)));
        table.row(row);
    }

    fn memory_cell(&self, heading: &str) -> String {
        let wall = self.memory.iter().find(|wall| wall.wall == heading);
        match wall.map(|wall| wall.used) {
            None => "-".to_owned(),
            Some(None) => "none".to_owned(),
            Some(Some(used)) => {
                let (pss, dirty) = (used.pss_kib, used.private_dirty_kib);
                format!("{pss} [{dirty}] in {}", used.processes)
            }
        }
    }
}

impl CaseReport {
    fn new(case: &CaseSamples) -> Self {
        let base = case
            .columns
            .first()
            .and_then(|column| Summary::of(&column.samples));
        let column = |column: &ColumnSamples| {
            let summary = Summary::of(&column.samples);
            ColumnReport {
                name: column.name.clone(),
                ratio: summary
                    .zip(base)
                    .map(|(own, base)| own.median / base.median),
                summary,
                failure: column.failure.clone(),
            }
        };
        CaseReport {
            name: case.name.clone(),
            unit: case.unit.clone(),
            columns: case.columns.iter().map(column).collect(),
        }
    }

    /// `median [min p90] ×ratio`
    fn cell(&self, heading: &str) -> String {
        let Some(column) = self.columns.iter().find(|column| column.name == heading) else {
            return "-".to_owned();
        };
        let (Some(summary), Some(ratio)) = (column.summary, column.ratio) else {
            return "failed".to_owned();
        };
        let [median, min, p90] = [summary.median, summary.min, summary.p90].map(short);
        format!("{median} [{min} {p90}] ×{ratio:.2}")
    }

    /// Casemate's median over that of the last column, if that is a peer.
    fn against_newest_peer(&self) -> String {
        let ours = self.columns.iter().find(|column| column.name == "casemate");
        let peer = self
            .columns
            .last()
            .filter(|column| column.name.starts_with("bwrap"));
        let median = |column: &ColumnReport| column.summary.map(|summary| summary.median);
        match (ours.and_then(median), peer.and_then(median)) {
            (Some(ours), Some(peer)) => format!("×{:.2}", ours / peer),
            _ => "-".to_owned(),
        }
    }
}

/// Three digits that mean something.
fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        let Machine {
            date,
            kernel,
            distribution,
            cpus,
            processor,
            memory_mib,
            ..
        } = machine;
        writeln!(
            out,
            "{date}, Linux {kernel}, {distribution}, {cpus} × {processor}, {memory_mib} MiB"
        )?;
        writeln!(
            out,
            "load {} → {}; work in {}",
            machine.load_before, machine.load_after, self.ground
        )?;
        writeln!(out, "median [min p90] ×ratio to bare\n")?;
        let headings = self.headings();
        let last = headings.last().copied().unwrap_or_default();
        let mut table = Table::default();
        let mut row = vec!["user".to_owned(), "what".to_owned(), "unit".to_owned()];
        row.extend(headings.iter().map(|name| (*name).to_owned()));
        row.push(format!("casemate / {last}"));
        table.row(row);
        self.users
            .iter()
            .for_each(|user| user.fill(&mut table, &headings));
        write!(out, "{table}")?;
        let failures = self.users.iter().flat_map(|user| user.failures(true));
        let kept = self.users.iter().flat_map(|user| user.notes.clone());
        for note in self.notes.iter().cloned().chain(kept).chain(failures) {
            writeln!(out, "note: {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, samples: &[f64]) -> ColumnSamples {
        ColumnSamples {
            name: name.to_owned(),
            samples: samples.to_vec(),
            failure: None,
        }
    }

    #[test]
    fn a_cell_has_the_ratio_to_bare() {
        let columns = vec![
            column("bare", &[2.0]),
            column("casemate", &[3.0]),
            column("bwrap 0.11", &[4.0]),
        ];
        let case = CaseSamples {
            name: "true".into(),
            unit: "ms".into(),
            columns,
        };
        let report = CaseReport::new(&case);
        assert_eq!(report.cell("casemate"), "3.00 [3.00 3.00] ×1.50");
        assert_eq!(report.cell("absent"), "-");
        assert_eq!(report.against_newest_peer(), "×0.75");
    }
}
