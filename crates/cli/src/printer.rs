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
    let text = printable(text);
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "casemate: {text}");
}

/// File names and archives may hold escape sequences, which must not reach a terminal.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => shown.push(letter),
            letter if letter.is_control() => shown.extend(letter.escape_default()),
            letter => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    #[test]
    fn escape_sequences_are_shown_not_sent() {
        assert_eq!(
            super::printable("a\u{1b}]0;x\u{7}\nb"),
            "a\\u{1b}]0;x\\u{7}\nb"
        );
    }
}
