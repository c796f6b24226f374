//! `landlock`: what to do where a rule can't be enforced.

use crate::error::{Report, quoted};
use crate::fields::Fields;
use crate::position::Located;
use crate::suggest;

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

const VALUES: [(&str, Compatibility); 2] = [
    ("best_effort", Compatibility::BestEffort),
    ("hard_requirement", Compatibility::HardRequirement),
];

pub(crate) fn read(document: &Fields<'_>, report: &mut Report) -> Landlock {
    let fields = document.section("landlock", report);
    let compatibility = fields.and_then(|fields| compatibility(&fields, report));
    Landlock { compatibility }
}

fn compatibility(fields: &Fields<'_>, report: &mut Report) -> Option<Located<Compatibility>> {
    let node = fields.get("compatibility")?;
    let Some(text) = node.as_string() else {
        let found = node.found();
        report.add(
            node.position,
            format!(
                "`landlock.compatibility` must be `best_effort` or `hard_requirement`, found {found}"
            ),
        );
        return None;
    };
    match VALUES.iter().find(|(name, _)| *name == text) {
        Some((_, value)) => Some(Located::new(*value, node.position)),
        None => {
            let hint = match suggest::nearest(text, &VALUES.map(|(name, _)| name)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "it's either `best_effort` or `hard_requirement`".to_owned(),
            };
            let message = format!(
                "unknown value {} for `landlock.compatibility`",
                quoted(text)
            );
            report.add_with_hint(node.position, message, hint);
            None
        }
    }
}
