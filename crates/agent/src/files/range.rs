//! Which part of a file a `Range` header asks for (RFC 9110 §14).

use std::ops::Range;

/// Ranges in one header that are looked at; a client that names more gets the whole file.
const MOST: usize = 64;

/// What to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// 200.
    Whole,
    /// 206, of these bytes.
    Part(Range<u64>),
    /// 416: the header is malformed, or no byte that it names exists.
    Nothing,
}

/// Reads a `Range` header for a file of `length` bytes.
///
/// Several ranges that touch are one. Several that don't would need a multipart answer, which
/// nobody who reads a file from a sandbox expects: they get the whole file, as RFC 9110 §14.2
/// allows. So does a unit that isn't bytes, and every range of an empty file, which has no byte
/// to be outside of.
pub(crate) fn wanted(header: &str, length: u64) -> Wanted {
    let Some((unit, ranges)) = header.split_once('=') else {
        return Wanted::Nothing;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") || length == 0 {
        return Wanted::Whole;
    }
    let mut parts = Vec::new();
    let mut named = 0;
    for range in ranges.split(',').map(str::trim).filter(|r| !r.is_empty()) {
        named += 1;
        match part(range, length) {
            None => return Wanted::Nothing,
            Some(_) if named > MOST => return Wanted::Whole,
            Some(part) if part.is_empty() => {}
            Some(part) => parts.push(part),
        }
    }
    parts.sort_unstable_by_key(|part| part.start);
    let Some(first) = parts.first().cloned() else {
        return Wanted::Nothing;
    };
    let mut joined = first;
    for part in parts {
        if part.start > joined.end {
            return Wanted::Whole;
        }
        joined.end = joined.end.max(part.end);
    }
    Wanted::Part(joined)
}

/// One range, cut to the file; empty if it lies behind the end, `None` if it is malformed.
fn part(range: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = range.split_once('-')?;
    if first.is_empty() {
        let suffix = number(last)?;
        return Some(length.saturating_sub(suffix)..length);
    }
    let first = number(first)?;
    let end = match last {
        "" => length,
        last => number(last)?.saturating_add(1),
    };
    (first < end || last.is_empty()).then_some(first.min(length)..end.min(length))
}

/// Digits only; more than can be counted is the largest number.
fn number(digits: &str) -> Option<u64> {
    let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Wanted, wanted};
    use proptest::prelude::*;

    #[test]
    fn one_range() {
        let cases = [
            ("bytes=0-0", 0..1),
            ("bytes=2-4", 2..5),
            ("Bytes = 2-4", 2..5),
            ("bytes=7-", 7..10),
            ("bytes=7-999999999999999999999999", 7..10),
            ("bytes=0-18446744073709551615", 0..10),
            ("bytes=-3", 7..10),
            ("bytes=-99", 0..10),
        ];
        for (header, part) in cases {
            assert_eq!(wanted(header, 10), Wanted::Part(part), "{header}");
        }
    }

    #[test]
    fn ranges_that_touch_are_one_and_others_the_whole() {
        assert_eq!(wanted("bytes=0-1,2-4", 10), Wanted::Part(0..5));
        assert_eq!(wanted("bytes=3-5, 0-4", 10), Wanted::Part(0..6));
        assert_eq!(wanted("bytes=0-1,,50-60", 10), Wanted::Part(0..2));
        assert_eq!(wanted("bytes=0-1,5-6", 10), Wanted::Whole);
        let many = format!("bytes={}", vec!["0-0"; 65].join(","));
        assert_eq!(wanted(&many, 10), Wanted::Whole);
    }

    #[test]
    fn what_cannot_be_sent() {
        for header in [
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=a-b",
            "bytes=1",
            "bytes=-",
            "bytes=--1",
            "bytes=4-2",
            "bytes=0-1,x",
            "bytes=+1-2",
            "bytes=10-",
            "bytes=10-20",
            "bytes=-0",
        ] {
            assert_eq!(wanted(header, 10), Wanted::Nothing, "{header}");
        }
    }

    #[test]
    fn what_is_ignored() {
        assert_eq!(wanted("lines=1-2", 10), Wanted::Whole);
        assert_eq!(wanted("bytes=0-5", 0), Wanted::Whole);
    }

    proptest! {
        #[test]
        fn a_part_lies_in_the_file(header in "bytes=[0-9,\\- ]{0,40}", length in 1_u64..200) {
            if let Wanted::Part(part) = wanted(&header, length) {
                prop_assert!(part.start < part.end && part.end <= length);
            }
        }
    }
}
