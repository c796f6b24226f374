//! Text of a policy inside messages: fit for a terminal, one line, not endless.

/// A quotation from the file is cut after this many characters.
const MAX_QUOTED_CHARS: usize = 80;

/// Text of the file in backticks.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", shortened(text))
}

/// Text of the file as a part of a longer name.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", escaped(&text[..end])),
        None => escaped(text),
    }
}

/// Several names in backticks, separated by commas.
pub(crate) fn quoted_list(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// Several names in backticks, of which one is to be chosen.
pub(crate) fn alternatives(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => format!("`{only}`"),
        [first @ .., last] => format!("{} or `{last}`", quoted_list(first)),
    }
}

/// The text with everything that isn't printable written as an escape.
pub(crate) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\'' | '"' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{alternatives, quoted};

    #[test]
    fn quotations_cannot_drive_a_terminal() {
        assert_eq!(quoted("/a b'\"\\\u{e4}"), "`/a b'\"\\\u{e4}`");
        assert_eq!(
            quoted("\u{1b}[2J\n\0\u{202e}"),
            "`\\u{1b}[2J\\n\\0\\u{202e}`"
        );
        assert_eq!(quoted(&"x".repeat(81)), format!("`{}…`", "x".repeat(80)));
    }

    #[test]
    fn a_choice_is_named_in_words() {
        assert_eq!(alternatives(&["a"]), "`a`");
        assert_eq!(alternatives(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
