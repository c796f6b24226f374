//! Lower-case hexadecimal.

/// The bytes as digits, two each (RFC 4648 §8, in lower case).
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15].map(|half| char::from(DIGITS[usize::from(half)])));
    digits.collect()
}

/// The bytes of these digits; none if there is anything else among them.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let half = |digit: &u8| char::from(*digit).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some((half(high)? << 4 | half(low)?) as u8),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}
