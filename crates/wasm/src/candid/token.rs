//! Words of a text of Candid (Candid specification, "Lexical grammar").

use super::LONGEST_NUMBER;
use super::fault::{Wrong, quoted};

/// A word, and at which byte it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) at: usize,
    pub(super) kind: Kind<'a>,
}

/// What a word is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind<'a> {
    /// A name or a keyword.
    Word(&'a str),
    /// As it is written, without a sign.
    Number(&'a str),
    /// What stands between quotation marks; it need not be UTF-8.
    Text(Vec<u8>),
    /// One of `(){};,.:=+-`, or `>` for an arrow.
    Mark(char),
    /// There is nothing more.
    End,
}

impl Kind<'_> {
    /// What it is called in a message.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Word(word) => quoted(word),
            Self::Number(digits) => quoted(digits),
            Self::Text(bytes) => format!("the text {}", quoted(&String::from_utf8_lossy(bytes))),
            Self::Mark('>') => "\"->\"".to_owned(),
            Self::Mark(mark) => format!("\"{mark}\""),
            Self::End => "the end".to_owned(),
        }
    }
}

/// Reads words, one ahead.
pub(super) struct Words<'a> {
    text: &'a str,
    at: usize,
    next: Token<'a>,
}

impl<'a> Words<'a> {
    pub(super) fn of(text: &'a str) -> Result<Self, Wrong> {
        let nothing = Token {
            at: 0,
            kind: Kind::End,
        };
        let mut words = Self {
            text,
            at: 0,
            next: nothing,
        };
        words.next = words.read()?;
        Ok(words)
    }

    /// The next one, which stays.
    pub(super) fn peek(&self) -> &Token<'a> {
        &self.next
    }

    /// Where the next one begins.
    pub(super) fn at(&self) -> usize {
        self.next.at
    }

    /// The one after the next, as far as it is a mark.
    pub(super) fn is_followed_by(&self, mark: char) -> bool {
        let mut ahead = Words {
            next: self.next.clone(),
            ..*self
        };
        ahead
            .read()
            .is_ok_and(|token| token.kind == Kind::Mark(mark))
    }

    pub(super) fn take(&mut self) -> Result<Token<'a>, Wrong> {
        let next = self.read()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// Takes the next one if it is this mark.
    pub(super) fn takes(&mut self, mark: char) -> Result<bool, Wrong> {
        let is = self.next.kind == Kind::Mark(mark);
        if is {
            self.take()?;
        }
        Ok(is)
    }

    /// Takes the next one if it is this word.
    pub(super) fn takes_word(&mut self, word: &str) -> Result<bool, Wrong> {
        let is = self.next.kind == Kind::Word(word);
        if is {
            self.take()?;
        }
        Ok(is)
    }

    /// Takes this mark, which has to come.
    pub(super) fn expect(&mut self, mark: char) -> Result<(), Wrong> {
        match self.takes(mark)? {
            true => Ok(()),
            false => Err(self.unexpected(&Kind::Mark(mark).shown())),
        }
    }

    /// What is next isn't what should be.
    pub(super) fn unexpected(&self, expected: &str) -> Wrong {
        let found = self.next.kind.shown();
        Wrong::at(self.next.at, format!("expected {expected}, found {found}"))
    }

    fn read(&mut self) -> Result<Token<'a>, Wrong> {
        self.skip()?;
        let (text, at) = (self.text, self.at);
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else {
            return Ok(Token {
                at,
                kind: Kind::End,
            });
        };
        let kind = match first {
            'a'..='z' | 'A'..='Z' | '_' => Kind::Word(self.span(is_word)),
            '0'..='9' => Kind::Number(self.number()?),
            '.' if rest[1..].starts_with(|next: char| next.is_ascii_digit()) => {
                Kind::Number(self.number()?)
            }
            '"' => Kind::Text(self.quoted()?),
            '-' if rest.starts_with("->") => {
                self.at += 2;
                Kind::Mark('>')
            }
            '(' | ')' | '{' | '}' | ';' | ',' | '.' | ':' | '=' | '+' | '-' => {
                self.at += 1;
                Kind::Mark(first)
            }
            other => {
                let found = quoted(other.encode_utf8(&mut [0; 4]));
                return Err(Wrong::at(at, format!("there is no {found} in Candid")));
            }
        };
        Ok(Token { at, kind })
    }

    /// Passes over space and comments, which can be nested.
    fn skip(&mut self) -> Result<(), Wrong> {
        loop {
            let rest = &self.text[self.at..];
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.comment()?;
            } else if rest.starts_with([' ', '\t', '\r', '\n']) {
                self.at += 1;
            } else {
                return Ok(());
            }
        }
    }

    fn comment(&mut self) -> Result<(), Wrong> {
        let (start, bytes) = (self.at, self.text.as_bytes());
        let mut open = 0_usize;
        while let Some(pair) = bytes.get(self.at..self.at + 2) {
            let step = match pair {
                b"/*" => {
                    open += 1;
                    2
                }
                b"*/" => {
                    open -= 1;
                    2
                }
                _ => 1,
            };
            self.at += step;
            if open == 0 {
                return Ok(());
            }
        }
        Err(Wrong::at(start, "this comment doesn't end"))
    }

    fn span(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let length = rest.find(|next| !belongs(next)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn number(&mut self) -> Result<&'a str, Wrong> {
        let (start, text) = (self.at, self.text);
        let is_digit = |next: char| next.is_ascii_digit() || next == '_';
        if text[start..].starts_with("0x") || text[start..].starts_with("0X") {
            self.at += 2;
            self.span(|next| next.is_ascii_hexdigit() || next == '_');
        } else {
            self.span(is_digit);
            if text[self.at..].starts_with('.') {
                self.at += 1;
                self.span(is_digit);
            }
            if text[self.at..].starts_with(['e', 'E']) {
                self.at += 1;
                if text[self.at..].starts_with(['+', '-']) {
                    self.at += 1;
                }
                self.span(is_digit);
            }
        }
        let number = &text[start..self.at];
        if self.text[self.at..].starts_with(is_word) {
            return Err(Wrong::at(self.at, "a number goes on with a letter"));
        }
        match number.len() <= LONGEST_NUMBER {
            true => Ok(number),
            false => Err(Wrong::at(
                start,
                format!("a number has at most {LONGEST_NUMBER} digits here"),
            )),
        }
    }

    /// Between quotation marks: UTF-8, with escapes for characters and for single bytes.
    fn quoted(&mut self) -> Result<Vec<u8>, Wrong> {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            bytes.extend(self.span(|next| next != '"' && next != '\\').bytes());
            let rest = &self.text[self.at..];
            if rest.starts_with('"') {
                self.at += 1;
                return Ok(bytes);
            }
            if rest.is_empty() {
                return Err(Wrong::at(start, "this text doesn't end"));
            }
            self.escape(&mut bytes)?;
        }
    }

    fn escape(&mut self, into: &mut Vec<u8>) -> Result<(), Wrong> {
        let (start, rest) = (self.at, &self.text.as_bytes()[self.at + 1..]);
        let wrong = || {
            Wrong::at(start, "there is no such escape")
                .hint(r#"\n \r \t \\ \" \' \u{e9}, or a byte as two hexadecimal digits: \e9"#)
        };
        let simple = match rest.first() {
            Some(b'n') => Some(b'\n'),
            Some(b'r') => Some(b'\r'),
            Some(b't') => Some(b'\t'),
            Some(letter @ (b'\\' | b'"' | b'\'')) => Some(*letter),
            _ => None,
        };
        if let Some(byte) = simple {
            self.at += 2;
            into.push(byte);
            return Ok(());
        }
        if rest.starts_with(b"u{") {
            let digits = &self.text[start + 3..];
            let end = digits
                .find('}')
                .filter(|end| *end <= 16)
                .ok_or_else(wrong)?;
            let number = u32::from_str_radix(&digits[..end].replace('_', ""), 16).ok();
            let character = number.and_then(char::from_u32).ok_or_else(wrong)?;
            self.at += 3 + end + 1;
            into.extend(character.encode_utf8(&mut [0; 4]).bytes());
            return Ok(());
        }
        let digits = self.text.get(start + 1..start + 3).ok_or_else(wrong)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        into.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        self.at += 3;
        Ok(())
    }
}

fn is_word(next: char) -> bool {
    next.is_ascii_alphanumeric() || next == '_'
}
