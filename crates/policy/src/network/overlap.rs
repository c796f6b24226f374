//! Whether two patterns have a text in common.

/// Whether some host matches both: names compare label by label, from the right, because only the
/// first label can be `**`, which takes one label or more.
pub(super) fn hosts(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.rsplit('.'), other.rsplit('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some("**"), _) | (_, Some("**")) => return true,
            (Some(one), Some(other)) if one == other || texts(one, other) => {}
            _ => return false,
        }
    }
}

/// Whether some text matches both, where a `*` is any text. What else a pattern may have in it is
/// taken for a `*` too, from there on until a bracket closes: rather one conflict too many.
pub(super) fn texts(one: &str, other: &str) -> bool {
    match (Parts::of(one), Parts::of(other)) {
        (None, None) => one == other,
        (Some(parts), None) => parts.matches(other),
        (None, Some(parts)) => parts.matches(one),
        // Whatever stands between the first and the last `*` of both can follow upon each other.
        (Some(one), Some(other)) => {
            let begin = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
            let end = |a: &str, b: &str| a.ends_with(b) || b.ends_with(a);
            begin(one.first, other.first) && end(one.last, other.last)
        }
    }
}

/// A pattern with at least one wildcard.
struct Parts<'t> {
    /// Up to the first wildcard.
    first: &'t str,
    /// Between the wildcards; empty if there is a wildcard that isn't a plain `*`.
    middle: Vec<&'t str>,
    /// After the last wildcard.
    last: &'t str,
}

impl<'t> Parts<'t> {
    fn of(pattern: &'t str) -> Option<Self> {
        let special = ['*', '?', '[', ']', '{', '}', ',', '\\'];
        let (start, end) = (pattern.find(special)?, pattern.rfind(special)?);
        let last = match pattern.as_bytes()[end] {
            // What follows a backslash stands for itself, but isn't looked into here.
            b'\\' => "",
            _ => &pattern[end + 1..],
        };
        let between = &pattern[start..=end];
        let plain = !between.contains(&special[1..]);
        Some(Self {
            first: &pattern[..start],
            middle: match plain {
                true => between.split('*').filter(|part| !part.is_empty()).collect(),
                false => Vec::new(),
            },
            last,
        })
    }

    fn matches(&self, text: &str) -> bool {
        let inner = text
            .strip_prefix(self.first)
            .and_then(|rest| rest.strip_suffix(self.last));
        let Some(mut rest) = inner else { return false };
        for part in &self.middle {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{hosts, texts};

    #[test]
    fn hosts_that_overlap() {
        for (one, other, overlap) in [
            ("a.example.com", "a.example.com", true),
            ("a.example.com", "b.example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("**.example.com", "a.b.example.com", true),
            ("**.example.com", "example.com", false),
            ("**.example.com", "**.b.example.com", true),
            ("**.example.com", "*.s3.*.com", true),
            ("**.a.com", "**.b.com", false),
            ("*.s3.*.example.com", "x.*.eu.example.com", true),
            ("*-ai.x.com", "prod-*.x.com", true),
            ("*-ai.x.com", "prod-ai.x.com", true),
            ("*-ai.x.com", "prod-db.x.com", false),
            ("a*.x.com", "b*.x.com", false),
            ("10.0.0.1", "10.0.0.2", false),
        ] {
            assert_eq!(hosts(one, other), overlap, "{one} {other}");
            assert_eq!(hosts(other, one), overlap, "{other} {one}");
        }
    }

    #[test]
    fn texts_that_overlap() {
        for (one, other, overlap) in [
            ("/a", "/a", true),
            ("/a", "/b", false),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/b/**", false),
            ("/*/x", "/a/*", true),
            ("/*/x", "/a/y", false),
            ("*a*b*", "xaxbx", true),
            ("*a*b*", "xbxax", false),
            ("ab*", "abc*d", true),
            ("aa*aa", "aaa", false),
            ("/[ab]", "/a", true),
            ("/{a,b}/c", "/a/c", true),
            ("/{a,b}/c", "/a/d", false),
            ("**", "/x", true),
        ] {
            assert_eq!(texts(one, other), overlap, "{one} {other}");
            assert_eq!(texts(other, one), overlap, "{other} {one}");
        }
    }
}
