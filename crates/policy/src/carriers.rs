//! `carriers`: files in the workspace that the host later executes or trusts.
//!
//! A program that can't leave the sandbox may still leave something behind for the host to run: a
//! git hook, an editor's task, a CI file. Such a file is a carrier. Which ones are protected without
//! being named is up to whoever applies the policy; this section adds to that list and takes from it.

use std::path::PathBuf;

use crate::fields::Fields;
use crate::paths::{self, Base};
use crate::position::Located;
use crate::report::Report;

/// The section `carriers`; Casemate's own, not part of the format that the other sections follow.
///
/// The names are paths relative to the workspace, free of `.` and `..`, and distinct over both lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carriers {
    /// What the sandbox may change although it's a carrier.
    pub allow: Vec<Located<PathBuf>>,
    /// What the sandbox may not change, in addition to the known carriers.
    pub protect: Vec<Located<PathBuf>>,
}

pub(crate) fn read(document: &Fields<'_>, report: &mut Report) -> Carriers {
    let Some(fields) = document.section("carriers", report) else {
        return Carriers::default();
    };
    paths::check_count(&fields, ["allow", "protect"], report);
    let carriers = Carriers {
        allow: paths::list(&fields, "allow", Base::Workspace, report),
        protect: paths::list(&fields, "protect", Base::Workspace, report),
    };
    let lists = [("allow", &*carriers.allow), ("protect", &*carriers.protect)];
    paths::check_distinct(lists, report);
    carriers
}
