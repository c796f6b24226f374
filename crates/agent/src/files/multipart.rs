//! Forms with files in them (multipart/form-data: RFC 7578 in RFC 2046 §5.1), read as they come.
//!
//! A form is pushed in pieces of any size and comes out as [`Event`]s. Nothing is kept but the
//! headers of the part at hand and the few bytes that may be the beginning of a boundary.

use crate::fault::Fault;

/// The longest boundary (RFC 2046 §5.1.1).
const LONGEST_BOUNDARY: usize = 70;
/// The headers of one part; a path has at most 4096 bytes.
const LONGEST_HEADERS: usize = 16 * 1024;
/// Parts of one form.
pub(crate) const MOST_PARTS: usize = 10_000;

/// Something that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A part begins.
    Part(Headers),
    /// Bytes of the part.
    Data(&'a [u8]),
    /// The part is complete.
    End,
}

/// What a part says about itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    /// The name of the form's field.
    pub(crate) field: Option<String>,
    /// The name of the file, with folders if it has some.
    pub(crate) file: Option<String>,
}

/// The reader of one form.
pub(crate) struct Form {
    /// `\r\n--` and the boundary. The first boundary has no line before it: the reader begins as
    /// if there had been one.
    delimiter: Vec<u8>,
    state: State,
    kept: Vec<u8>,
    parts: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first boundary; what is there says nothing.
    Preamble,
    /// After a boundary: a line end, or `--` for the last one.
    Boundary,
    Headers,
    Body,
    /// After the last boundary; what is there says nothing.
    Done,
}

impl Form {
    /// A form with the boundary of this `Content-Type`.
    pub(crate) fn new(content_type: &str) -> Result<Self, Fault> {
        let boundary = parameter(content_type, "boundary").unwrap_or_default();
        if boundary.is_empty() || boundary.len() > LONGEST_BOUNDARY {
            return Err(Fault::invalid(
                "the multipart form has no boundary of 1 to 70 characters in its content type",
            ));
        }
        Ok(Self {
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            state: State::Preamble,
            kept: b"\r\n".to_vec(),
            parts: 0,
        })
    }

    /// Takes the next piece and tells what was in it.
    pub(crate) fn push(
        &mut self,
        piece: &[u8],
        event: &mut impl FnMut(Event<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        // The end of the last piece is looked at again together with the start of this one; the
        // rest of this one is looked at where it lies.
        let mut kept = std::mem::take(&mut self.kept);
        let mut piece = piece;
        while !kept.is_empty() {
            let more = piece.len().min(LONGEST_HEADERS);
            let had = kept.len();
            kept.extend_from_slice(&piece[..more]);
            let used = self.consume(&kept, event)?;
            if used >= had {
                piece = &piece[used - had..];
                kept.clear();
            } else {
                kept.drain(..used);
                piece = &piece[more..];
                if piece.is_empty() {
                    self.kept = kept;
                    return Ok(());
                }
            }
        }
        let used = self.consume(piece, event)?;
        self.kept = piece[used..].to_vec();
        Ok(())
    }

    /// A form ends with its last boundary.
    pub(crate) fn finish(self) -> Result<(), Fault> {
        match self.state {
            State::Done => Ok(()),
            _ => Err(Fault::invalid("the multipart form ends in the middle")),
        }
    }

    /// Reads as far as the bytes say for sure, and returns how far that is.
    fn consume(
        &mut self,
        bytes: &[u8],
        event: &mut impl FnMut(Event<'_>) -> Result<(), Fault>,
    ) -> Result<usize, Fault> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let step = match self.state {
                State::Preamble => self.content(rest, &mut |_| Ok(()))?,
                State::Body => self.content(rest, &mut |data| event(Event::Data(data)))?,
                State::Boundary => self.after_boundary(rest)?,
                State::Headers => match self.headers(rest)? {
                    None => Step::Wait(0),
                    Some((headers, length)) => {
                        event(Event::Part(headers))?;
                        Step::Next(length, State::Body)
                    }
                },
                State::Done => return Ok(bytes.len()),
            };
            match step {
                Step::Wait(used) => return Ok(at + used),
                Step::Next(used, next) => {
                    if self.state == State::Body {
                        event(Event::End)?;
                    }
                    at += used;
                    self.state = next;
                }
            }
        }
    }

    /// Everything up to the next delimiter, or to where one might begin.
    fn content(
        &self,
        bytes: &[u8],
        data: &mut impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<Step, Fault> {
        let (found, sure) = search(bytes, &self.delimiter);
        if sure > 0 {
            data(&bytes[..sure])?;
        }
        Ok(match found {
            true => Step::Next(sure + self.delimiter.len(), State::Boundary),
            false => Step::Wait(sure),
        })
    }

    fn after_boundary(&self, bytes: &[u8]) -> Result<Step, Fault> {
        // Blanks may stand between the boundary and the end of its line (RFC 2046 §5.1.1).
        let blanks = bytes.iter().take_while(|b| b" \t".contains(b)).count();
        match &bytes[blanks..] {
            [b'\r', b'\n', ..] => {
                // The first header's line end is also the one after the boundary, so that a part
                // without headers ends like one with some.
                Ok(Step::Next(blanks, State::Headers))
            }
            [b'-', b'-', ..] if blanks == 0 => Ok(Step::Next(2, State::Done)),
            [] | [b'\r'] if blanks < LONGEST_BOUNDARY => Ok(Step::Wait(0)),
            [b'-'] if blanks == 0 => Ok(Step::Wait(0)),
            _ => Err(Fault::invalid("the multipart form has a broken boundary")),
        }
    }

    fn headers(&mut self, bytes: &[u8]) -> Result<Option<(Headers, usize)>, Fault> {
        let within = &bytes[..bytes.len().min(LONGEST_HEADERS)];
        let Some(end) = within.windows(4).position(|four| four == b"\r\n\r\n") else {
            return match bytes.len() < LONGEST_HEADERS {
                true => Ok(None),
                false => Err(Fault::invalid(
                    "a part of the multipart form has too long headers",
                )),
            };
        };
        self.parts += 1;
        if self.parts > MOST_PARTS {
            return Err(Fault::invalid(format!(
                "the multipart form has more than {MOST_PARTS} parts; send the rest in another"
            )));
        }
        let text = std::str::from_utf8(&bytes[..end])
            .map_err(|_| Fault::invalid("a part of the multipart form has headers not in UTF-8"))?;
        let disposition = text.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim()
                .eq_ignore_ascii_case("content-disposition")
                .then_some(value)
        });
        let headers = disposition.map_or_else(Headers::default, |value| Headers {
            field: parameter(value, "name"),
            file: parameter(value, "filename"),
        });
        Ok(Some((headers, end + 4)))
    }
}

enum Step {
    /// So much was used; the rest is undecided.
    Wait(usize),
    /// So much was used, and something else follows.
    Next(usize, State),
}

/// Finds `needle`: whether it is there, and how many bytes before it, or before what may be its
/// beginning, certainly aren't part of it.
fn search(bytes: &[u8], needle: &[u8]) -> (bool, usize) {
    let mut from = 0;
    while let Some(next) = memchr::memchr(needle[0], &bytes[from..]) {
        let at = from + next;
        let length = needle.len().min(bytes.len() - at);
        if bytes[at..at + length] == needle[..length] {
            return (length == needle.len(), at);
        }
        from = at + 1;
    }
    (false, bytes.len())
}

/// A parameter of a header value: a token or a quoted string (RFC 9110 §5.6.6). A backslash
/// escapes only a quote or another backslash: browsers send paths of Windows as they are.
pub(crate) fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let (name, after) = rest.split_once('=')?;
        let (text, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim_end().to_owned(), &after[end..])
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(text);
        }
        rest = after;
    }
}

fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, &quoted[at + 1..])),
            '\\' => match chars.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                Some((_, escaped)) => text.push(escaped),
                None => text.push('\\'),
            },
            c => text.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests;
