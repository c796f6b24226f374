//! `landlock`: what to do where a rule can't be enforced.

use crate::fields::Fields;
use crate::lint::Lint;
use crate::position::Located;
use crate::report::Report;
use crate::values::Word;

/// The section `landlock`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Landlock {
    /// What the policy says; none if it says nothing.
    pub compatibility: Option<Located<Compatibility>>,
}

impl Landlock {
    /// What the policy says, or the default.
    pub fn compatibility(&self) -> Compatibility {
        self.compatibility
            .as_ref()
            .map_or_else(Compatibility::default, |stated| stated.value)
    }
}

/// How much of the file rules must be enforceable for a sandbox to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compatibility {
    /// As much as this kernel and these paths allow.
    #[default]
    BestEffort,
    /// All: a listed path that can't be opened, or a kernel without Landlock, prevents the start.
    HardRequirement,
}

const WORDS: [Word<Compatibility>; 2] = [
    ("best_effort", Compatibility::BestEffort),
    ("hard_requirement", Compatibility::HardRequirement),
];

pub(crate) fn read(document: &Fields<'_>, report: &mut Report) -> Landlock {
    let fields = document.section("landlock", report);
    let lenient = (Lint::UnknownCompatibility, "takes it for `best_effort`");
    Landlock {
        compatibility: fields
            .and_then(|fields| fields.choice_or("compatibility", &WORDS, lenient, report)),
    }
}
