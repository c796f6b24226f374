//! git's configuration files, as far as names of files are looked for in them (git-config(1)).

/// Keys in lower case, without their sections, and values. What git would refuse is left out.
pub(super) fn settings(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = after_section(line.trim_start());
        let Some((key, first)) = line.split_once('=') else {
            continue;
        };
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            continue;
        }
        let mut value = Value::default();
        let mut more = value.take(first);
        while more && let Some(next) = lines.next() {
            more = value.take(next);
        }
        value.text.truncate(value.kept);
        found.push((key.to_ascii_lowercase(), value.text));
    }
    found
}

/// A key may stand on the line of its section, whose name may hold a bracket in quotes.
fn after_section(line: &str) -> &str {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (at, char) in line.char_indices() {
        match char {
            '[' if at == 0 => {}
            _ if at == 0 => return line,
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ']' if !is_quoted => return line[at + 1..].trim_start(),
            _ => {}
        }
    }
    ""
}

#[derive(Default)]
struct Value {
    text: String,
    /// Without the space at the end.
    kept: usize,
    is_quoted: bool,
}

impl Value {
    /// Takes a line; true if the value goes on in the next one.
    fn take(&mut self, line: &str) -> bool {
        let mut chars = line.chars();
        while let Some(char) = chars.next() {
            let char = match char {
                '"' => {
                    self.is_quoted = !self.is_quoted;
                    continue;
                }
                '#' | ';' if !self.is_quoted => return false,
                '\\' => match chars.next() {
                    None => return true,
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some(other) => other,
                },
                char => char,
            };
            if self.text.is_empty() && !self.is_quoted && char.is_whitespace() {
                continue;
            }
            self.text.push(char);
            if self.is_quoted || !char.is_whitespace() {
                self.kept = self.text.len();
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::settings;

    fn only(text: &str) -> (String, String) {
        let mut found = settings(text);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn values() {
        for (text, value) in [
            ("path = a/b", "a/b"),
            ("\tPath=a b  ; a comment", "a b"),
            ("path = \"a # b \" # a comment", "a # b "),
            ("path = a\\\n  b", "a  b"),
            ("path = \\\n  a", "a"),
            (r"path = a\\b\tc", "a\\b\tc"),
            ("[include] path = a", "a"),
            ("[includeIf \"gitdir:/x]=y/\"]path = a]b", "a]b"),
            ("# ends in a backslash \\\npath = a", "a"),
            ("path = a\\", "a"),
        ] {
            assert_eq!(only(text), ("path".into(), value.into()), "{text}");
        }
    }

    #[test]
    fn what_is_no_setting() {
        for text in [
            "",
            "[core]",
            "[core",
            "; path = a",
            "path",
            "[a \"",
            "=",
            "a b = c",
        ] {
            assert!(settings(text).is_empty(), "{text}");
        }
    }
}
