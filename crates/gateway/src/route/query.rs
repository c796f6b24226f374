//! Values of a query (application/x-www-form-urlencoded).

/// The first value of this name, decoded. What isn't UTF-8 is replaced, and then has no signature.
pub(super) fn value(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key, true) == name.as_bytes())
            .then(|| String::from_utf8_lossy(&decoded(value, true)).into_owned())
    })
}

/// Without the percent signs that two hex digits follow (RFC 3986 §2.1).
pub(super) fn decoded(text: &str, plus_is_space: bool) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digit = |byte: Option<u8>| char::from(byte.unwrap_or_default()).to_digit(16);
        match byte {
            b'+' if plus_is_space => decoded.push(b' '),
            b'%' => match (digit(ahead.next()), digit(ahead.next())) {
                (Some(high), Some(low)) => {
                    decoded.push((high * 16 + low) as u8);
                    bytes = ahead;
                }
                _ => decoded.push(byte),
            },
            _ => decoded.push(byte),
        }
    }
    decoded
}
