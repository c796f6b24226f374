//! What a path in a policy may look like, and that no two of them are the same.
//!
//! A path is checked by its text alone; whether it exists is known only where it's applied. `..` is
//! refused rather than resolved, because with symlinks only the kernel can say where it leads.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use crate::fields::Fields;
use crate::position::{Located, Position};
use crate::quote::quoted;
use crate::report::Report;

/// The longest path that a policy may have, in bytes.
pub const MAX_PATH_BYTES: usize = 4096;

/// The most paths that the two lists of a section may have together.
pub const MAX_PATHS: usize = 256;

/// Where a path starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// At `/`.
    Root,
    /// In the working directory.
    Workspace,
}

/// The paths in a list of a section, without the wrong ones, which are reported.
pub(crate) fn list(
    fields: &Fields<'_>,
    field: &str,
    base: Base,
    report: &mut Report,
) -> Vec<Located<PathBuf>> {
    let name = fields.path_of(field);
    // More than that is an error anyway, see `check_count`.
    let texts = fields.strings(field, MAX_PATHS, report);
    let paths = texts.iter();
    paths
        .filter_map(|text| checked(text, base, &name, report))
        .collect()
}

/// The path without repeated slashes, `.` components and a slash at the end; or nothing, reported.
fn checked(
    text: &Located<&str>,
    base: Base,
    field: &str,
    report: &mut Report,
) -> Option<Located<PathBuf>> {
    let path = Path::new(text.value);
    match objection(text.value, path, base, field) {
        Some((message, Some(hint))) => report.add_with_hint(text.position, message, hint),
        Some((message, None)) => report.add(text.position, message),
        None => {
            let parts = path.components().filter(|part| *part != Component::CurDir);
            return Some(Located::new(parts.collect(), text.position));
        }
    }
    None
}

/// What is wrong with the path by itself, and the hint that goes with it.
fn objection(
    text: &str,
    path: &Path,
    base: Base,
    field: &str,
) -> Option<(String, Option<&'static str>)> {
    let shown = quoted(text);
    if text.is_empty() {
        return Some((format!("empty path in `{field}`"), None));
    }
    if text.len() > MAX_PATH_BYTES {
        let size = text.len();
        return Some((
            format!("path of {size} bytes in `{field}`; at most {MAX_PATH_BYTES} are allowed"),
            None,
        ));
    }
    if text.contains('\0') {
        return Some((
            format!("path {shown} in `{field}` has a NUL character"),
            None,
        ));
    }
    if path.is_absolute() != (base == Base::Root) {
        return Some(wrong_base(text, base, field));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        let hint = "write out where the path leads";
        return Some((
            format!("path {shown} in `{field}` has a `..` component"),
            Some(hint),
        ));
    }
    let empty = base == Base::Workspace && path.components().all(|part| part == Component::CurDir);
    empty.then(|| {
        let message = format!("path {shown} in `{field}` means the workspace itself");
        (message, Some("name files or directories in it"))
    })
}

fn wrong_base(text: &str, base: Base, field: &str) -> (String, Option<&'static str>) {
    let shown = quoted(text);
    match base {
        Base::Workspace => (
            format!("path {shown} in `{field}` is absolute"),
            Some("give it relative to the workspace, for example `.vscode`"),
        ),
        Base::Root => {
            let hint = match text {
                _ if text == "." || text.starts_with("./") => {
                    "`include_workdir: true` includes the working directory"
                }
                _ if text.starts_with('~') => "`~` is not expanded; write out the home directory",
                _ if text.starts_with('$') => "variables are not expanded; write out the path",
                _ => "a path starts with `/`",
            };
            (
                format!("path {shown} in `{field}` is not absolute"),
                Some(hint),
            )
        }
    }
}

/// Reports two lists that together have too many entries, wrong ones included.
pub(crate) fn check_count(fields: &Fields<'_>, lists: [&str; 2], report: &mut Report) {
    let all: Vec<_> = lists.iter().flat_map(|list| fields.items(list)).collect();
    if let Some(first_over) = all.get(MAX_PATHS) {
        let (count, [first, second]) = (all.len(), lists.map(|list| fields.path_of(list)));
        report.add_with_hint(
            first_over.position,
            format!("{count} paths in `{first}` and `{second}`; at most {MAX_PATHS} are allowed"),
            "name directories instead of the files in them",
        );
    }
}

/// A list of paths together with the name of its field.
pub(crate) type Named<'p> = (&'p str, &'p [Located<PathBuf>]);

/// Reports every path that stands twice in one list, or in both.
pub(crate) fn check_distinct(lists: [Named<'_>; 2], report: &mut Report) {
    let mut seen: HashMap<&Path, (&str, Position)> = HashMap::new();
    for (field, paths) in lists {
        for path in paths {
            let Some((earlier, position)) = seen.get(path.value.as_path()) else {
                seen.insert(&path.value, (field, path.position));
                continue;
            };
            let shown = quoted(&path.value.to_string_lossy());
            if *earlier == field {
                report.add_with_hint(
                    path.position,
                    format!("path {shown} is in `{field}` twice"),
                    format!(
                        "it's first given at {}",
                        report.place(*position, path.position)
                    ),
                );
            } else {
                report.add_with_hint(
                    path.position,
                    format!("path {shown} is both in `{earlier}` and in `{field}`"),
                    format!(
                        "the other one is at {}; keep the one that is meant",
                        report.place(*position, path.position)
                    ),
                );
            }
        }
    }
}
