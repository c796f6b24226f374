//! What is noticed about patterns. Their dialect is globset's, with a separator.

use crate::lint::Lint;
use crate::position::Located;
use crate::quote::quoted;
use crate::report::Report;

/// Whether the text has anything in it that a pattern treats specially.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// A bracket that is never closed makes the pattern invalid, and an invalid one matches nothing.
pub(super) fn check_brackets(pattern: &Located<&str>, name: &str, report: &mut Report) {
    let Some(open) = unmatched(pattern.value) else {
        return;
    };
    report.warn(
        Lint::UnmatchedBracket,
        pattern.position,
        format!(
            "a `{open}` in {} is never closed, so `{name}` matches nothing",
            quoted(pattern.value)
        ),
        format!("write `[{open}]` if the character itself is meant"),
    );
}

fn unmatched(pattern: &str) -> Option<char> {
    let mut braces = 0_usize;
    let mut rest = pattern.chars();
    while let Some(next) = rest.next() {
        match next {
            '\\' => {
                rest.next();
            }
            '[' => {
                // The first character of a class may be a `]`, also after a `!` or `^`.
                let mut class = rest.clone();
                if let Some('!' | '^') = class.next() {
                    class.next();
                }
                match class.find(|character| *character == ']') {
                    Some(_) => rest = class,
                    None => return Some('['),
                }
            }
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            _ => {}
        }
    }
    (braces > 0).then_some('{')
}

/// Patterns for texts without a separator of their own are matched as if the dot were one, so that
/// `*` stops at dots; only `**` by itself doesn't.
pub(super) fn check_dots(pattern: &Located<&str>, name: &str, report: &mut Report) {
    if pattern.value.contains('*') && pattern.value != "**" {
        report.warn(
            Lint::DotCrossingGlob,
            pattern.position,
            format!(
                "the `*` of {} in `{name}` doesn't match a dot",
                quoted(pattern.value)
            ),
            "`**` by itself matches everything",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::unmatched;

    #[test]
    fn brackets() {
        for (pattern, open) in [
            ("/a/[bc]/{d,e}", None),
            ("/a/[]]", None),
            ("/a/[!]]", None),
            ("/a/[!]", Some('[')),
            ("/a/[", Some('[')),
            ("/a/[]", Some('[')),
            ("/a/[{]", None),
            ("/{a", Some('{')),
            ("/a}", None),
            ("\\[", None),
        ] {
            assert_eq!(unmatched(pattern), open, "{pattern}");
        }
    }
}
