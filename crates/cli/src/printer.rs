//! What is said on standard error.

use std::io::Write;

/// An error; its hint, if any, is a line of its own already.
pub(crate) fn error(text: &str) {
    line(&format!("error: {text}"));
}

/// Something that the caller should know, of a run that goes on.
pub(crate) fn note(text: &str) {
    line(&format!("note: {text}"));
}

/// A line of Casemate's own, told from the program's by its name.
pub(crate) fn line(text: &str) {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "casemate: {text}");
}
