//! One table for people and one file for programs.

use super::Result;
use super::pairs::Pairs;
use super::stats::Summary;
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A whole run.
#[derive(Serialize)]
pub(crate) struct Report {
    kernel: String,
    processors: usize,
    /// Seconds since 1970.
    began: u64,
    load_before: String,
    load_after: String,
    /// A quick run shows that everything works; its figures mean little.
    quick: bool,
    rows: Vec<Row>,
}

/// One figure, beside what is asked of it.
#[derive(Serialize)]
pub(crate) struct Row {
    what: String,
    unit: &'static str,
    in_process: Option<Summary>,
    sandboxed: Option<Summary>,
    raw: Option<Summary>,
    /// What is asked about.
    figure: f64,
    /// How the figure spreads.
    spread: Option<[f64; 2]>,
    figure_is: &'static str,
    at_most: Option<f64>,
}

impl Row {
    /// Sandboxed over in-process.
    pub(crate) fn ratio(what: String, unit: &'static str, pairs: &Pairs) -> Self {
        let ratios = pairs.ratios();
        Self::of(what, unit, pairs, ratios, "×")
    }

    /// Sandboxed less in-process.
    pub(crate) fn difference(what: String, unit: &'static str, pairs: &Pairs) -> Self {
        let differences = pairs.differences();
        Self::of(what, unit, pairs, differences, "more")
    }

    fn of(
        what: String,
        unit: &'static str,
        pairs: &Pairs,
        figure: Summary,
        figure_is: &'static str,
    ) -> Self {
        Self {
            what,
            unit,
            in_process: Some(Summary::of(&pairs.in_process)),
            sandboxed: Some(Summary::of(&pairs.sandboxed)),
            raw: None,
            figure: figure.median,
            spread: Some([figure.p10, figure.p90]),
            figure_is,
            at_most: None,
        }
    }

    /// A figure of one side alone.
    pub(crate) fn alone(what: impl Into<String>, unit: &'static str, figure: f64) -> Self {
        Self {
            what: what.into(),
            unit,
            in_process: None,
            sandboxed: None,
            raw: None,
            figure,
            spread: None,
            figure_is: "",
            at_most: None,
        }
    }

    /// With the samples that the figure is of.
    pub(crate) fn sandboxed(mut self, samples: &[f64]) -> Self {
        self.sandboxed = Some(Summary::of(samples));
        self
    }

    /// With what raw wasmtime takes.
    pub(crate) fn raw(mut self, samples: &[f64]) -> Self {
        self.raw = (!samples.is_empty()).then(|| Summary::of(samples));
        self
    }

    /// It should be no more than this.
    pub(crate) fn at_most(mut self, most: f64) -> Self {
        self.at_most = Some(most);
        self
    }

    fn verdict(&self) -> String {
        match self.at_most {
            Some(most) if self.figure <= most => format!("≤ {}", short(most)),
            Some(most) => format!("≤ {} MISSED", short(most)),
            None => String::new(),
        }
    }

    fn cells(&self) -> [String; 6] {
        let of = |summary: Option<Summary>| match summary {
            Some(Summary {
                median,
                p10,
                p90,
                p99,
                ..
            }) => format!(
                "{} [{} {} {}]",
                short(median),
                short(p10),
                short(p90),
                short(p99)
            ),
            None => String::new(),
        };
        let spread = self
            .spread
            .map(|[low, high]| format!(" [{} {}]", short(low), short(high)));
        [
            format!("{} ({})", self.what, self.unit),
            of(self.raw),
            of(self.in_process),
            of(self.sandboxed),
            format!(
                "{}{} {}",
                short(self.figure),
                spread.unwrap_or_default(),
                self.figure_is
            ),
            self.verdict(),
        ]
    }
}

impl Report {
    pub(crate) fn begin(quick: bool) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            kernel: kernel.trim().to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            began: now.map_or(0, |since| since.as_secs()),
            load_before: load(),
            load_after: String::new(),
            quick,
            rows: Vec::new(),
        }
    }

    /// Adds a row, and says it at once: a run takes its time.
    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("{}", row.cells().join("  "));
        self.rows.push(row);
    }

    /// Notes how busy the machine was at the end.
    pub(crate) fn finish(&mut self) {
        self.load_after = load();
    }

    pub(crate) fn save(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        Ok(std::fs::write(file, text + "\n")?)
    }
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Three digits that mean something.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "Linux {}, {} processors, load {} → {}{}",
            self.kernel,
            self.processors,
            self.load_before,
            self.load_after,
            if self.quick {
                ", quick: these figures mean little"
            } else {
                ""
            }
        )?;
        writeln!(out, "median [p10 p90 p99]; of pairs: median [p10 p90]\n")?;
        let heading = [
            "",
            "raw wasmtime",
            "in-process",
            "sandboxed",
            "figure",
            "asked",
        ];
        let mut lines = vec![heading.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let widths: Vec<usize> = (0..heading.len())
            .map(|at| width(at).unwrap_or(0))
            .collect();
        for line in &lines {
            let cells = line.iter().zip(&widths);
            let cells: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}
