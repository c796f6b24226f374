//! `filesystem_policy`: the paths that a sandbox sees, and which of them it may change.

use std::path::{Path, PathBuf};

use crate::fields::Fields;
use crate::paths::{self, Base};
use crate::position::Located;
use crate::report::Report;

/// The section `filesystem_policy`.
///
/// The paths are absolute, free of `.` and `..`, have no slash at the end and are distinct over both
/// lists. They may lie inside each other. Nothing says that they exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesystemPolicy {
    /// Whether the working directory is writable; false if not given.
    pub include_workdir: bool,
    /// What may be read.
    pub read_only: Vec<Located<PathBuf>>,
    /// What may be read and changed; never `/`.
    pub read_write: Vec<Located<PathBuf>>,
}

pub(crate) fn read(document: &Fields<'_>, report: &mut Report) -> FilesystemPolicy {
    let Some(fields) = document.section("filesystem_policy", report) else {
        return FilesystemPolicy::default();
    };
    let read_only = paths::list(&fields, "read_only", Base::Root, report);
    let mut read_write = paths::list(&fields, "read_write", Base::Root, report);
    paths::check_count(&fields, ["read_only", "read_write"], report);
    refuse_root(&mut read_write, report);
    paths::check_distinct(
        [("read_only", &read_only), ("read_write", &read_write)],
        report,
    );
    FilesystemPolicy {
        include_workdir: fields.flag("include_workdir", false, report),
        read_only,
        read_write,
    }
}

fn refuse_root(read_write: &mut Vec<Located<PathBuf>>, report: &mut Report) {
    read_write.retain(|path| {
        let root = path.value == Path::new("/");
        if root {
            report.add_with_hint(
                path.position,
                "`/` in `filesystem_policy.read_write` would make everything writable",
                "name the directories that the program has to change",
            );
        }
        !root
    });
}
