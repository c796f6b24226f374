//! Secrets that a program has itself, taken out of what it sends: tokens that begin with `sk-`.
//!
//! The text is looked at as it's written. What hides a token by an escape or in pieces isn't found:
//! this is a net for accidents.

use crate::percent;

/// What a token is replaced by: it can stand in a string of JSON, in a query and in a form.
pub const REDACTED: &str = "REDACTED";

/// What a token begins with.
const MARK: &[u8] = b"sk-";

/// The least that follows it: shorter words are words.
const LEAST: usize = 16;

/// The text without tokens, and how many there were; None if there were none.
pub fn redact(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut out, mut count, mut kept) = (Vec::new(), 0, 0);
    let mut at = 0;
    while at + MARK.len() <= text.len() {
        let begins = text[at..].starts_with(MARK) && (at == 0 || !is_token_byte(text[at - 1]));
        if !begins {
            at += 1;
            continue;
        }
        let start = at;
        at += MARK.len();
        while at < text.len() && is_token_byte(text[at]) {
            at += 1;
        }
        if at - start >= MARK.len() + LEAST {
            out.extend_from_slice(&text[kept..start]);
            out.extend_from_slice(REDACTED.as_bytes());
            (kept, count) = (at, count + 1);
        }
    }
    out.extend_from_slice(&text[kept..]);
    (count > 0).then_some((out, count))
}

/// The same for a query or a form, in whose keys and values tokens are looked for.
pub fn redact_form(form: &str) -> Option<(String, usize)> {
    let (mut out, mut total) = (String::with_capacity(form.len()), 0);
    for (index, part) in form.split('&').enumerate() {
        out.push_str(if index > 0 { "&" } else { "" });
        for (index, component) in part.splitn(2, '=').enumerate() {
            out.push_str(if index > 0 { "=" } else { "" });
            let decoded = percent::decode_form(component.as_bytes()).unwrap_or_default();
            match redact(&decoded) {
                None => out.push_str(component),
                Some((clean, count)) => {
                    let mut encoded = Vec::new();
                    percent::encode(&clean, &mut encoded);
                    out.push_str(&String::from_utf8_lossy(&encoded));
                    total += count;
                }
            }
        }
    }
    (total > 0).then_some((out, total))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redacted(text: &str) -> Option<String> {
        let (out, _) = redact(text.as_bytes())?;
        Some(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn tokens_are_taken_out_and_words_are_not() {
        let token = "sk-abcdefghij_KLMNOP-012345";
        for (text, expected) in [
            (
                format!("{{\"k\":\"{token}\"}}"),
                Some("{\"k\":\"REDACTED\"}"),
            ),
            (format!("a {token}, {token}"), Some("a REDACTED, REDACTED")),
            (token.to_owned(), Some("REDACTED")),
            ("sk-proj-abcdefghijkl".to_owned(), Some("REDACTED")),
            ("sk-short".to_owned(), None),
            (format!("task-{token}"), None),
            (format!("disk-{}", "a".repeat(30)), None),
            (String::new(), None),
            ("sk-".to_owned(), None),
        ] {
            assert_eq!(redacted(&text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn forms_are_looked_at_as_they_are_read() {
        let text = "a=%20%73k-abcdefghijklmnop&b=c&sk-abcdefghijklmnop";
        let (out, count) = redact_form(text).expect("tokens");
        assert_eq!((&*out, count), ("a=%20REDACTED&b=c&REDACTED", 2));
        assert_eq!(redact_form("a=b&&c=%zz"), None);
    }

    proptest! {
        #[test]
        fn what_is_redacted_once_is_redacted(text in "(sk-[a-z]{10,20}|[ -~]{0,8}){0,10}") {
            let (out, _) = redact(text.as_bytes()).unwrap_or((text.into_bytes(), 0));
            prop_assert!(redact(&out).is_none());
        }
    }
}
