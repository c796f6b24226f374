//! Percent-encoding (RFC 3986 §2.1).

/// The value of a hexadecimal digit.
pub(crate) fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Letters, digits, `-`, `.`, `_` and `~`: what means the same encoded and not (RFC 3986 §2.3).
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Appends `%XX`.
pub(crate) fn push_encoded(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push(b'%');
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}

/// Appends the bytes with all that isn't unreserved encoded.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        if is_unreserved(*byte) {
            out.push(*byte);
        } else {
            push_encoded(*byte, out);
        }
    }
}

/// The same for a segment of a path, where more is allowed (RFC 3986 §3.3).
pub(crate) fn encode_segment(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        if is_segment_byte(*byte) {
            out.push(*byte);
        } else {
            push_encoded(*byte, out);
        }
    }
}

/// What needs no encoding in a segment of a path. The semicolon, though allowed, begins parameters
/// for some servers.
pub(crate) fn is_segment_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,=:@".contains(&byte)
}

/// The byte that `%XX` at the start of `bytes` stands for; nothing if it isn't that.
pub(crate) fn decode_one(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [b'%', high, low, ..] => Some((hex_value(*high)? << 4) | hex_value(*low)?),
        _ => None,
    }
}

/// The decoded bytes; nothing if a `%` isn't followed by two digits. `+` stays as it is.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        if *byte == b'%' {
            out.push(decode_one(rest)?);
            rest = &rest[3..];
        } else {
            out.push(*byte);
            rest = tail;
        }
    }
    Some(out)
}

/// The same for a form: `+` is a space too.
pub(crate) fn decode_form(bytes: &[u8]) -> Option<Vec<u8>> {
    let spaced: Vec<u8> = bytes
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    decode(&spaced)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_an_escape_is_refused() {
        assert_eq!(decode(b"a%2fb"), Some(b"a/b".to_vec()));
        assert_eq!(decode_form(b"a+b%2B"), Some(b"a b+".to_vec()));
        for bytes in [&b"%"[..], b"%2", b"%zz", b"%%41", b"%+1"] {
            assert_eq!(decode(bytes), None);
            assert_eq!(decode_form(bytes), None);
        }
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(bytes: Vec<u8>) {
            let mut encoded = Vec::new();
            encode(&bytes, &mut encoded);
            prop_assert_eq!(decode(&encoded), Some(bytes));
        }
    }
}
