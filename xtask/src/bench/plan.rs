//! What is measured, as data: it is written by the chore and carried out by another process
//! of this program, which may belong to another user.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ground::Home;
use super::tools::Tools;
use super::wall::Wall;
use super::workload::Workload;

/// How long to measure.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    startup: u32,
    inside: u32,
    /// Samples of the supervisor's memory.
    pub(crate) memory: u32,
    quick: bool,
}

/// Cases in the order in which they run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Where the tree and its tarball have to be.
    pub(crate) work: PathBuf,
    pub(crate) cases: Vec<Case>,
}

/// One row of the table.
#[derive(Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) measure: Measure,
    pub(crate) rounds: u32,
    /// Rounds before these, which are thrown away.
    pub(crate) warm_ups: u32,
    pub(crate) directory: PathBuf,
    pub(crate) columns: Vec<Column>,
}

/// Where a number comes from.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// From before the start to after the end of the command.
    Outside,
    /// The command prints it.
    Printed,
}

/// One wall in a case.
#[derive(Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
}

impl Effort {
    /// `runs` counts the rounds of a start-up case.
    pub(crate) fn new(quick: bool, runs: u32) -> Self {
        if quick {
            return Effort {
                startup: 5,
                inside: 2,
                memory: 1,
                quick,
            };
        }
        Effort {
            startup: runs,
            inside: (runs / 9).max(7),
            memory: 5,
            quick,
        }
    }
}

impl Plan {
    /// Start-up first, then the workloads inside.
    pub(crate) fn new(tools: &Tools, walls: &[Wall], home: &Home, effort: Effort) -> Self {
        let python = tools.python.display().to_string();
        let startup = |name: &str, directory: &Path, payload: &[&str]| Case {
            name: name.to_owned(),
            unit: "ms".to_owned(),
            measure: Measure::Outside,
            rounds: effort.startup,
            warm_ups: 2,
            directory: directory.to_owned(),
            columns: columns(walls, home, directory, payload),
        };
        let mut cases = vec![
            startup("true", &home.empty, &["/usr/bin/true"]),
            startup("true, 10k-file workspace", &home.work, &["/usr/bin/true"]),
            startup("python3 -c pass", &home.empty, &[&python, "-c", "pass"]),
        ];
        let inside = inside_walls(walls);
        cases.extend(
            Workload::ALL
                .iter()
                .map(|load| inside_case(*load, &inside, home, effort)),
        );
        Plan {
            work: home.work.clone(),
            cases,
        }
    }
}

fn inside_case(load: Workload, walls: &[Wall], home: &Home, effort: Effort) -> Case {
    let program = home.work.join("xtask").display().to_string();
    let mut payload = vec![program.as_str(), "workload", load.name()];
    payload.extend(effort.quick.then_some("--quick"));
    Case {
        name: load.title().to_owned(),
        unit: load.unit().to_owned(),
        measure: Measure::Printed,
        rounds: effort.inside,
        warm_ups: 1,
        directory: home.work.clone(),
        columns: columns(walls, home, &home.work, &payload),
    }
}

/// Inside, one bubblewrap is enough: the newest, which is the last.
fn inside_walls(walls: &[Wall]) -> Vec<Wall> {
    let ours = walls.len().min(2);
    let (ours, peers) = walls.split_at(ours);
    ours.iter().chain(peers.last()).cloned().collect()
}

fn columns(walls: &[Wall], home: &Home, directory: &Path, payload: &[&str]) -> Vec<Column> {
    let column = |wall: &Wall| Column {
        name: wall.name.clone(),
        command: wall.command(home, directory, payload),
    };
    walls.iter().map(column).collect()
}
