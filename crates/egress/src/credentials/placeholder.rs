//! Placeholders, found in bytes.

use std::ops::Range;

use super::store::Refusal;

/// The longest name, revision included.
pub const MAX_NAME_BYTES: usize = 200;

/// How much of an alias stands before its marker at most (`xoxb-`).
pub const MAX_ALIAS_PREFIX_BYTES: usize = 32;

/// What stands before a name. The last one may have a prefix.
const MARKERS: [&[u8]; 3] = [b"openshell:resolve:env:", b"casemate:credential:", ALIAS];

const ALIAS: &[u8] = b"OPENSHELL-RESOLVE-ENV-";

/// The length of the longest marker.
pub(super) const MAX_MARKER_BYTES: usize = 22;

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There is none.
    Nothing,
    /// One begins here and goes on to the end of the bytes: there may be more of its name to come.
    Open(usize),
    /// One is here.
    At {
        /// All that is replaced.
        whole: Range<usize>,
        /// The name in it.
        name: Range<usize>,
    },
}

/// Whether there is any marker of a placeholder in the bytes.
pub fn mentions(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| marker_at(bytes, at).is_some())
}

/// The first placeholder in `bytes` from `from` on. A marker without a name is plain text.
pub(super) fn find(bytes: &[u8], from: usize) -> Result<Found, Refusal> {
    let mut at = from;
    while at < bytes.len() {
        let Some(marker) = marker_at(bytes, at) else {
            at += 1;
            continue;
        };
        let name_start = at + marker.len();
        let name_end = name_start + run(&bytes[name_start..], is_name_byte);
        if name_end - name_start > MAX_NAME_BYTES {
            return Err(Refusal::Malformed("its name is too long"));
        }
        let start = if marker == ALIAS {
            at - alias_prefix(&bytes[from..at])
        } else {
            at
        };
        if name_end == bytes.len() {
            return Ok(Found::Open(start));
        }
        if name_end > name_start {
            return Ok(Found::At {
                whole: start..name_end,
                name: name_start..name_end,
            });
        }
        at = name_start;
    }
    Ok(Found::Nothing)
}

fn marker_at(bytes: &[u8], at: usize) -> Option<&'static [u8]> {
    // Looked up at every byte of a body, so the first byte is looked at first.
    if !matches!(bytes[at], b'o' | b'c' | b'O') {
        return None;
    }
    MARKERS
        .into_iter()
        .find(|marker| bytes[at..].starts_with(marker))
}

/// How many bytes before a marker belong to the alias.
fn alias_prefix(before: &[u8]) -> usize {
    let reversed = before.iter().rev().take(MAX_ALIAS_PREFIX_BYTES);
    reversed
        .take_while(|byte| is_name_byte(**byte) || **byte == b'-')
        .count()
}

fn run(bytes: &[u8], belongs: fn(u8) -> bool) -> usize {
    // One more than is allowed is enough to know that it's too long.
    let looked_at = bytes.iter().take(MAX_NAME_BYTES + 1);
    looked_at.take_while(|byte| belongs(**byte)).count()
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<(&str, &str)> {
        match find(text.as_bytes(), 0) {
            Ok(Found::At { whole, name }) => Some((&text[whole], &text[name])),
            _ => None,
        }
    }

    #[test]
    fn every_form_is_found() {
        for (text, expected) in [
            (
                "x casemate:credential:A_1;",
                ("casemate:credential:A_1", "A_1"),
            ),
            (
                "=openshell:resolve:env:K-",
                ("openshell:resolve:env:K", "K"),
            ),
            (
                "openshell:resolve:env:v2_K ",
                ("openshell:resolve:env:v2_K", "v2_K"),
            ),
            (
                "\"xoxb-OPENSHELL-RESOLVE-ENV-S_T\"",
                ("xoxb-OPENSHELL-RESOLVE-ENV-S_T", "S_T"),
            ),
            (
                "a=OPENSHELL-RESOLVE-ENV-K&",
                ("OPENSHELL-RESOLVE-ENV-K", "K"),
            ),
            (
                "casemate:credential: openshell:resolve:env:K ",
                ("openshell:resolve:env:K", "K"),
            ),
        ] {
            assert_eq!(found(text), Some(expected), "{text}");
        }
        let long = format!("{}-OPENSHELL-RESOLVE-ENV-K;", "a".repeat(40));
        assert_eq!(
            found(&long).map(|(whole, _)| whole.len()),
            Some(32 + 22 + 1)
        );
    }

    #[test]
    fn what_may_go_on_is_left_open() {
        let open = |text: &str| find(text.as_bytes(), 0);
        assert_eq!(open("ab casemate:credential:A"), Ok(Found::Open(3)));
        assert_eq!(open("ab casemate:credential:"), Ok(Found::Open(3)));
        assert_eq!(open("ab x-OPENSHELL-RESOLVE-ENV-"), Ok(Found::Open(3)));
        assert_eq!(open("ab casemate:credential"), Ok(Found::Nothing));
        let long = format!("casemate:credential:{}", "A".repeat(201));
        assert!(open(&long).is_err());
    }

    #[test]
    fn other_text_is_left_alone() {
        for text in [
            "",
            "openshell:resolve:ENV:K ",
            "Casemate:credential:K ",
            "casemate:credential:;",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        assert!(mentions(b"xopenshell:resolve:env:") && !mentions(b"openshell:resolve:env"));
    }
}
