//! Tokens (GraphQL §2.1).

use super::InvalidGraphql;
use super::document::MAX_TOKENS;

/// A token; what strings and numbers say is of no interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'t> {
    Name(&'t str),
    /// One of `! $ & ( ) : = @ [ ] { | }`.
    Punctuator(u8),
    Spread,
    Number,
    Text,
    End,
}

/// Cuts a document into tokens, one at a time.
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
    tokens: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            tokens: 0,
        }
    }

    pub(super) fn next(&mut self) -> Result<Token<'t>, InvalidGraphql> {
        self.skip_ignored();
        self.tokens += 1;
        if self.tokens > MAX_TOKENS {
            return Err(InvalidGraphql::new("the document has too many tokens"));
        }
        let rest = &self.text.as_bytes()[self.at..];
        match rest {
            [] => Ok(Token::End),
            [b'.', b'.', b'.', ..] => {
                self.at += 3;
                Ok(Token::Spread)
            }
            [b'"', b'"', b'"', ..] => self.block_string(),
            [b'"', ..] => self.string(),
            [b'-' | b'0'..=b'9', ..] => self.number(),
            [b'_' | b'a'..=b'z' | b'A'..=b'Z', ..] => Ok(Token::Name(self.word())),
            [byte, ..] if b"!$&():=@[]{|}".contains(byte) => {
                self.at += 1;
                Ok(Token::Punctuator(*byte))
            }
            _ => Err(InvalidGraphql::new("the document has a stray character")),
        }
    }

    /// White space, commas, comments and byte order marks mean nothing.
    fn skip_ignored(&mut self) {
        let bytes = self.text.as_bytes();
        loop {
            match &bytes[self.at..] {
                [b' ' | b'\t' | b'\r' | b'\n' | b',', ..] => self.at += 1,
                [0xef, 0xbb, 0xbf, ..] => self.at += 3,
                [b'#', rest @ ..] => {
                    let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
                    self.at += 1 + end.unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    fn word(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let in_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let end = rest.bytes().position(|byte| !in_word(byte));
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    /// `-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?`, with nothing of a name or a number after it.
    fn number(&mut self) -> Result<Token<'t>, InvalidGraphql> {
        let bad = || InvalidGraphql::new("the document has a malformed number");
        let bytes = self.text.as_bytes();
        let peek = |at: usize| bytes.get(at).copied().unwrap_or(0);
        let digits = |mut at: usize| {
            let start = at;
            while peek(at).is_ascii_digit() {
                at += 1;
            }
            (at, at - start)
        };
        let start = self.at + usize::from(peek(self.at) == b'-');
        let (mut at, count) = digits(start);
        if count == 0 || (count > 1 && peek(start) == b'0') {
            return Err(bad());
        }
        if peek(at) == b'.' {
            let (end, count) = digits(at + 1);
            if count == 0 {
                return Err(bad());
            }
            at = end;
        }
        if matches!(peek(at), b'e' | b'E') {
            at += 1;
            at += usize::from(matches!(peek(at), b'+' | b'-'));
            let (end, count) = digits(at);
            if count == 0 {
                return Err(bad());
            }
            at = end;
        }
        let next = peek(at);
        if next == b'.' || next == b'_' || next.is_ascii_alphanumeric() {
            return Err(bad());
        }
        self.at = at;
        Ok(Token::Number)
    }

    fn string(&mut self) -> Result<Token<'t>, InvalidGraphql> {
        let bytes = self.text.as_bytes();
        let mut at = self.at + 1;
        loop {
            match bytes.get(at..).unwrap_or(&[]) {
                [b'"', ..] => {
                    self.at = at + 1;
                    return Ok(Token::Text);
                }
                [b'\\', b'u', ..] => at += 2,
                [b'\\', escape, ..] if b"\"\\/bfnrt".contains(escape) => at += 2,
                [] | [b'\\' | b'\r' | b'\n', ..] => {
                    return Err(InvalidGraphql::new("the document has a malformed string"));
                }
                _ => at += 1,
            }
        }
    }

    fn block_string(&mut self) -> Result<Token<'t>, InvalidGraphql> {
        let bytes = self.text.as_bytes();
        let mut at = self.at + 3;
        loop {
            match bytes.get(at..).unwrap_or(&[]) {
                [b'\\', b'"', b'"', b'"', ..] => at += 4,
                [b'"', b'"', b'"', ..] => {
                    self.at = at + 3;
                    return Ok(Token::Text);
                }
                [] => return Err(InvalidGraphql::new("the document has an endless string")),
                _ => at += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token<'_>>, InvalidGraphql> {
        let mut lexer = Lexer::new(text);
        let mut tokens = Vec::new();
        loop {
            match lexer.next()? {
                Token::End => return Ok(tokens),
                token => tokens.push(token),
            }
        }
    }

    #[test]
    fn strings_and_comments_hide_nothing() {
        use Token::{Name, Number, Punctuator, Spread, Text};
        assert_eq!(
            tokens("\u{feff}{ a, # } b\n \"}\\\"#\" \"\"\" } \\\"\"\" \" \"\"\" ...-1.5e+3 }"),
            Ok(vec![
                Punctuator(b'{'),
                Name("a"),
                Text,
                Text,
                Spread,
                Number,
                Punctuator(b'}'),
            ])
        );
        assert_eq!(tokens("#a\r{"), Ok(vec![Punctuator(b'{')]));
    }

    #[test]
    fn malformed_tokens_are_refused() {
        for text in [
            "\"", "\"a\nb\"", "\"\\x\"", "\"\\", "\"\"\"a", "01", "-", "1.", "1e", "1a", "1.2.3",
            "..", "?", "\u{e4}", "\0", ";", "%",
        ] {
            assert!(tokens(text).is_err(), "{text:?}");
        }
    }
}
