//! The path: decoded as far as it means the same, its dots resolved, its doubled slashes gone.

use super::{InvalidTarget, MAX_PATH_BYTES, PathRules};
use crate::percent;

/// The path in its only spelling.
pub(super) fn canonical_path(path: &str, rules: PathRules) -> Result<String, InvalidTarget> {
    if path.len() > MAX_PATH_BYTES {
        return Err(InvalidTarget("the path is longer than 4096 bytes"));
    }
    let Some(path) = path.strip_prefix('/') else {
        return Err(InvalidTarget("it doesn't begin with a slash"));
    };
    let mut segments: Vec<Vec<u8>> = Vec::new();
    // Whether the path names what is in a directory, or the directory itself (`/a/`, `/a/.`).
    let mut directory = true;
    for raw in path.split('/') {
        // Parameters go first: `..;x` climbs on servers that know them.
        let raw = raw.split_once(';').map_or(raw, |(segment, _)| segment);
        let segment = canonical_segment(raw.as_bytes(), rules)?;
        directory = matches!(segment.as_slice(), b"" | b"." | b"..");
        match segment.as_slice() {
            b"" | b"." => {}
            b".." => {
                if segments.pop().is_none() {
                    return Err(InvalidTarget("it climbs above the root"));
                }
            }
            _ => segments.push(segment),
        }
    }
    let mut out = Vec::with_capacity(path.len() + 1);
    for segment in &segments {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if directory || out.is_empty() {
        out.push(b'/');
    }
    if out.len() > MAX_PATH_BYTES {
        return Err(InvalidTarget("the path is longer than 4096 bytes"));
    }
    // All of it is ASCII, so this can't fail; if it could, refusing would be right.
    String::from_utf8(out).map_err(|_| InvalidTarget("not text"))
}

/// One segment: unreserved characters plain, all else that isn't allowed in a path encoded.
fn canonical_segment(raw: &[u8], rules: PathRules) -> Result<Vec<u8>, InvalidTarget> {
    let mut out = Vec::with_capacity(raw.len());
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [byte, tail @ ..] = rest {
        if *byte == b'%' {
            let value = percent::decode_one(rest)
                .ok_or(InvalidTarget("a % isn't followed by two digits"))?;
            rest = &rest[3..];
            check_encoded(value, rest, rules)?;
            decoded.push(value);
            if percent::is_unreserved(value) {
                out.push(value);
            } else {
                percent::push_encoded(value, &mut out);
            }
        } else {
            rest = tail;
            decoded.push(*byte);
            if percent::is_segment_byte(*byte) {
                out.push(*byte);
            } else {
                percent::push_encoded(*byte, &mut out);
            }
        }
    }
    // Overlong forms of a slash or a dot aren't UTF-8, but old decoders took them.
    if std::str::from_utf8(&decoded).is_err() {
        return Err(InvalidTarget("it doesn't decode to UTF-8"));
    }
    if decoded.starts_with(b".;") || decoded.starts_with(b"..;") {
        return Err(InvalidTarget("dots stand before an encoded semicolon"));
    }
    // Only an allowed encoded slash can bring one into a segment.
    if decoded.contains(&b'/') && decoded.split(|byte| *byte == b'/').any(is_dots) {
        return Err(InvalidTarget("dots stand beside an encoded slash"));
    }
    Ok(out)
}

fn is_dots(part: &[u8]) -> bool {
    matches!(part, b"." | b"..")
}

/// Refuses an encoded character that some servers give a meaning to. `rest` is what follows it.
fn check_encoded(value: u8, rest: &[u8], rules: PathRules) -> Result<(), InvalidTarget> {
    match value {
        b'/' if !rules.allow_encoded_slash => Err(InvalidTarget("it has an encoded slash")),
        b'\\' => Err(InvalidTarget("it has an encoded backslash")),
        0..0x20 | 0x7f => Err(InvalidTarget("it has an encoded control character")),
        // Whoever decodes twice would find a path that nobody judged.
        b'%' if hides(rest) => Err(InvalidTarget("it's encoded twice")),
        _ => Ok(()),
    }
}

/// Whether the two characters after an encoded `%` make it an escape again.
fn hides(rest: &[u8]) -> bool {
    matches!(rest, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<String, &'static str> {
        canonical_path(text, PathRules::default()).map_err(|error| error.0)
    }

    #[test]
    fn a_path_has_one_spelling() {
        for (text, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("/a/b", "/a/b"),
            ("/a//b///c", "/a/b/c"),
            ("/a/./b/../c", "/a/c"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/a/..", "/"),
            ("/%61%2e%7e", "/a.~"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/%2E./b", "/b"),
            ("/a/.%2e;x=1/b", "/b"),
            ("/a;v=1/b;w", "/a/b"),
            ("/;/a", "/a"),
            ("/a%3bb", "/a%3Bb"),
            ("/a%40b@c", "/a%40b@c"),
            ("/a%c3%a4", "/a%C3%A4"),
            ("/a|b[c]\"<>", "/a%7Cb%5Bc%5D%22%3C%3E"),
            ("/100%25", "/100%25"),
            ("/...", "/..."),
        ] {
            assert_eq!(path(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn climbing_and_hiding_are_refused() {
        for text in [
            "",
            "a",
            "*",
            "/..",
            "/a/../..",
            "/%2e%2e",
            "/..;/a",
            "/a/..%3b/b",
            "/.%3Bx",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%00",
            "/a%0d%0a",
            "/a%7f",
            "/a%",
            "/a%2",
            "/a%zz",
            "/%c0%af",
            "/%c0%ae%c0%ae/",
            "/%ff",
            "/%252e%252e/",
            "/%252f",
            "/a%255cb",
            "/%25252e",
            "/%250a",
            "/adm%2569n",
        ] {
            assert!(path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_encoded_slash_is_no_slash() {
        let rules = PathRules {
            allow_encoded_slash: true,
        };
        let path = |text| canonical_path(text, rules).map_err(|error| error.0);
        assert_eq!(path("/@scope%2fname").as_deref(), Ok("/@scope%2Fname"));
        // It stays inside its segment, but dots beside it would climb once somebody decodes it.
        for text in ["/a/x%2F../b", "/a/..%2fb", "/%2e%2e%2f", "/a%2f.%2fb"] {
            assert!(path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_long_path_is_refused() {
        assert!(path(&format!("/{}", "a".repeat(4095))).is_ok());
        assert!(path(&format!("/{}", "a".repeat(4096))).is_err());
        // Short enough as sent, too long once it's encoded.
        assert!(path(&format!("/{}", "|".repeat(2000))).is_err());
    }
}
