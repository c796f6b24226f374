//! What the caller chose.

use super::Result;
use super::pairs::Clock;
use std::path::PathBuf;

pub(crate) struct Wishes {
    /// Small sizes and few rounds, to see that everything runs.
    pub(crate) quick: bool,
    /// These cases, or parts of their rows' names; all if there are none.
    only: Vec<String>,
    pub(crate) json: Option<PathBuf>,
    pairs: Option<usize>,
    idle: Option<usize>,
    pub(crate) motoko: Option<PathBuf>,
    /// For work that waits for nothing.
    pub(crate) clock: Clock,
}

impl Wishes {
    pub(crate) fn from_arguments() -> Result<Self> {
        let mut wishes = Self {
            quick: false,
            only: Vec::new(),
            json: None,
            pairs: None,
            idle: None,
            motoko: None,
            clock: Clock::Wall,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{flag} takes a value"));
            match flag.as_str() {
                "--quick" => wishes.quick = true,
                "--processor-time" => wishes.clock = Clock::Processors,
                "--only" => wishes.only.push(value()?),
                "--json" => wishes.json = Some(value()?.into()),
                "--pairs" => wishes.pairs = Some(value()?.parse()?),
                "--idle" => wishes.idle = Some(value()?.parse()?),
                "--motoko" => wishes.motoko = Some(value()?.into()),
                other => return Err(format!("{other}: there is no such flag").into()),
            }
        }
        Ok(wishes)
    }

    /// A wish for `heap/wasm64` wants the case `heap`.
    pub(crate) fn wants(&self, case: &str) -> bool {
        let named = |wish: &String| wish.split('/').next() == Some(case);
        self.only.is_empty() || self.only.iter().any(named)
    }

    /// Whether a row of a case is wanted, by words that its name has.
    pub(crate) fn wants_row(&self, case: &str, row: &str) -> bool {
        let matches = |wish: &String| {
            let mut parts = wish.split('/');
            parts.next() == Some(case) && parts.all(|part| row.contains(part))
        };
        self.only.is_empty() || self.only.iter().any(matches)
    }

    /// Names what there is instead of what there isn't.
    pub(crate) fn check(&self, cases: &[&str]) -> Result<()> {
        let known = |wish: &&String| {
            !cases
                .iter()
                .any(|case| wish.split('/').next() == Some(case))
        };
        match self.only.iter().find(known) {
            Some(wish) => Err(format!("no case {wish}; there are {}", cases.join(", ")).into()),
            None => Ok(()),
        }
    }

    /// How many pairs of a case.
    pub(crate) fn pairs(&self) -> usize {
        self.pairs.unwrap_or(if self.quick { 3 } else { 15 })
    }

    /// How many idle workers.
    pub(crate) fn idle(&self) -> usize {
        self.idle.unwrap_or(if self.quick { 8 } else { 200 })
    }
}
