//! Where a head ends, found while it arrives (RFC 9112 §2.1, §2.2).

use super::error::{Kind, Malformed};

/// How much of a head is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, its empty line included.
    pub head_bytes: usize,
    /// Header fields.
    pub headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 16 * 1024,
            headers: 100,
        }
    }
}

/// Looks at each byte of a growing buffer once, however it's cut into pieces.
#[derive(Clone, Debug, Default)]
pub struct HeadScanner {
    seen: usize,
    line_start: usize,
}

impl HeadScanner {
    /// The length of the head in `buffer`, or nothing if more bytes are needed.
    ///
    /// `buffer` is what it was at the last call with more bytes at its end. A line ends in CR LF;
    /// either of them alone is refused, since servers disagree on what it means.
    pub fn scan(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<usize>, Malformed> {
        let end = buffer.len().min(limits.head_bytes);
        while self.seen < end {
            let at = self.seen;
            let after_cr = at > self.line_start && buffer[at - 1] == b'\r';
            match buffer[at] {
                b'\n' if !after_cr => return Err(Malformed::bad("a bare line feed")),
                b'\n' if at - self.line_start == 1 => {
                    if at == 1 {
                        return Err(Malformed::bad("an empty line before the message"));
                    }
                    return Ok(Some(at + 1));
                }
                b'\n' => self.line_start = at + 1,
                _ if after_cr => return Err(Malformed::bad("a bare carriage return")),
                b'\t' | b'\r' | 0x20..=0x7e | 0x80.. => {}
                _ => return Err(Malformed::bad("a control character in the head")),
            }
            self.seen += 1;
        }
        if buffer.len() >= limits.head_bytes {
            return Err(Malformed::new(Kind::HeadTooLarge, "the head is too long"));
        }
        Ok(None)
    }
}

/// The lines of a complete head, without their ends and without the empty one.
///
/// Checks again what the scanner checks, so that a head from elsewhere is refused too.
pub(super) fn lines<'h>(head: &'h [u8], limits: &Limits) -> Result<Vec<&'h [u8]>, Malformed> {
    if HeadScanner::default().scan(head, limits)? != Some(head.len()) {
        return Err(Malformed::bad("the head isn't complete, or isn't alone"));
    }
    let lines: Vec<_> = head[..head.len() - 4]
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .collect();
    if lines.len() > limits.headers + 1 {
        return Err(Malformed::new(Kind::HeadTooLarge, "too many header fields"));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        HeadScanner::default().scan(bytes, &Limits::default())
    }

    #[test]
    fn the_end_is_found_and_not_more() {
        assert_eq!(scan(b"GET / HTTP/1.1\r\n\r\nbody"), Ok(Some(18)));
        assert_eq!(scan(b"GET / HTTP/1.1\r\nA: b\r\n"), Ok(None));
        assert_eq!(scan(b""), Ok(None));
    }

    #[test]
    fn bare_line_ends_and_control_characters_are_refused() {
        for bytes in [
            &b"GET / HTTP/1.1\n\n"[..],
            b"GET / HTTP/1.1\r\nA: b\n\r\n",
            b"GET / HTTP/1.1\rA: b\r\n",
            b"GET / HTTP/1.1\r\r\n",
            b"GET /\0 HTTP/1.1\r\n",
            b"GET / HTTP/1.1\r\nA: \x0b\r\n",
            b"GET / HTTP/1.1\r\nA: \x7f\r\n",
            b"\r\nGET / HTTP/1.1\r\n\r\n",
            b"\nGET",
        ] {
            assert_eq!(scan(bytes).map_err(|e| e.kind()), Err(Kind::BadRequest));
        }
    }

    #[test]
    fn an_endless_head_is_refused_at_the_limit() {
        let limits = Limits {
            head_bytes: 32,
            ..Limits::default()
        };
        let scan = |bytes: &[u8]| HeadScanner::default().scan(bytes, &limits);
        assert_eq!(scan(&[b'a'; 31]), Ok(None));
        assert_eq!(scan(&[b'a'; 32]).map_err(|e| e.status()), Err(431));
        let mut fits = [b'a'; 40];
        fits[28..32].copy_from_slice(b"\r\n\r\n");
        assert_eq!(scan(&fits), Ok(Some(32)));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            bytes in "[ab\r\n]{0,40}|(a\r\n){0,9}\r\n\\PC{0,9}",
            cuts in proptest::collection::vec(0usize..40, 0..6),
        ) {
            let bytes = bytes.as_bytes();
            let whole = scan(bytes);
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut scanner = HeadScanner::default();
            let mut last = Ok(None);
            for cut in cuts {
                last = scanner.scan(&bytes[..cut], &Limits::default());
                if last != Ok(None) { break; }
            }
            prop_assert_eq!(last, whole);
        }
    }
}
