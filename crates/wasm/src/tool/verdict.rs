//! What the process of a guest says about a run.
//!
//! All texts may be the guest's. They are cut here so that the whole always fits on the sheet; the
//! sheet's size is what the controller relies on.

use serde::{Deserialize, Serialize};

/// Callers of a trap that are listed.
const FRAMES: usize = 20;
/// Letters of a name, and of any other text.
const NAME: usize = 256;
const TEXT: usize = 2048;
/// Results of a call that are listed.
const VALUES: usize = 256;

/// How a run ended, and what it used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How it ended.
    pub end: End,
    /// Where in the program that was, the innermost call first.
    #[serde(default)]
    pub frames: Vec<Frame>,
    /// Instructions that were executed, if they were counted: wasmtime's fuel.
    pub instructions: Option<u64>,
    /// The most that its memories and tables had together, bytes.
    pub peak_memory: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The program exited.
    Exited {
        /// With this code.
        code: u32,
    },
    /// The export returned.
    Returned {
        /// These values.
        values: Vec<String>,
    },
    /// The program trapped.
    Trapped {
        /// By this trap, as a word.
        kind: String,
        /// The same as a sentence.
        message: String,
    },
    /// It used its instructions up.
    OutOfFuel,
    /// It wanted more memory than it may have.
    MemoryLimit {
        /// So many bytes in all.
        wanted: u64,
    },
    /// Its time was over.
    TimeLimit,
    /// The module can't be run.
    Unfit(Complaint),
    /// What was asked for doesn't fit the module.
    Misused(Complaint),
}

/// What is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// What was tried, as a verb phrase.
    pub step: String,
    /// Why it failed.
    pub why: String,
    /// What to do, if that is known.
    pub hint: Option<String>,
}

/// A function of the guest that was being executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Its name, if the module says one.
    pub function: Option<String>,
    /// Its number.
    pub index: u32,
    /// The instruction, bytes from the module's start.
    pub offset: Option<u64>,
}

impl Complaint {
    pub(super) fn new(step: &str, why: impl Into<String>) -> Self {
        Self {
            step: step.into(),
            why: why.into(),
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn cut(&mut self) {
        cut(&mut self.step, NAME);
        cut(&mut self.why, TEXT);
        if let Some(hint) = &mut self.hint {
            cut(hint, TEXT);
        }
    }
}

impl Verdict {
    /// Shortens what is too long.
    pub(super) fn cut(&mut self) {
        self.frames.truncate(FRAMES);
        let names = self.frames.iter_mut();
        names
            .filter_map(|frame| frame.function.as_mut())
            .for_each(|name| cut(name, NAME));
        match &mut self.end {
            End::Returned { values } => {
                values.truncate(VALUES);
                values.iter_mut().for_each(|value| cut(value, NAME));
            }
            End::Trapped { kind, message } => {
                cut(kind, NAME);
                cut(message, TEXT);
            }
            End::Unfit(complaint) | End::Misused(complaint) => complaint.cut(),
            End::Exited { .. } | End::OutOfFuel | End::MemoryLimit { .. } | End::TimeLimit => {}
        }
    }
}

/// Shortens a text to so many letters.
fn cut(text: &mut String, most: usize) {
    if let Some((at, _)) = text.char_indices().nth(most) {
        text.truncate(at);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::sheet::ANSWER;

    #[test]
    fn the_longest_verdict_fits_on_a_sheet() {
        // A control character takes six bytes as JSON.
        let long = "\u{1}".repeat(100_000);
        let frame = Frame {
            function: Some(long.clone()),
            index: u32::MAX,
            offset: Some(u64::MAX),
        };
        let complaint = Complaint::new(&long, long.clone()).hint(long.clone());
        let ends = [
            End::Unfit(complaint),
            End::Trapped {
                kind: long.clone(),
                message: long.clone(),
            },
            End::Returned {
                values: vec!["-9223372036854775808".into(); 1000],
            },
        ];
        for end in ends {
            let mut verdict = Verdict {
                end,
                frames: vec![frame.clone(); 1000],
                instructions: Some(u64::MAX),
                peak_memory: u64::MAX,
            };
            verdict.cut();
            let size = serde_json::to_vec(&verdict).unwrap().len();
            assert!(size < ANSWER, "{size}");
        }
    }
}
