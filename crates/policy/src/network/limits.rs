//! `limits` of an entry: how much.

use super::model::EntryLimits;
use crate::fields::Fields;
use crate::node::Value;
use crate::report::Report;

const MAX_COUNT: u64 = u32::MAX as u64;

pub(super) fn read(entry: &Fields<'_>, report: &mut Report) -> EntryLimits {
    let Some(fields) = entry.section("limits", report) else {
        return EntryLimits::default();
    };
    let mut count = |field: &str| {
        let number = fields.number(field, 1..=MAX_COUNT, report)?;
        u32::try_from(number.value).ok()
    };
    EntryLimits {
        connections: count("connections"),
        rate: count("rate"),
        bytes: bytes(&fields, report),
    }
}

fn bytes(fields: &Fields<'_>, report: &mut Report) -> Option<u64> {
    let node = fields.get("bytes")?;
    let size = match &node.value {
        Value::Scalar { text, .. } => size(text),
        Value::List(_) | Value::Map(_) => None,
    };
    if size.is_none() {
        let message = format!(
            "`{}` must be a size such as 512M, found {}",
            fields.path_of("bytes"),
            node.found()
        );
        let hint = "a number with K, M, G or T, which are powers of 1024";
        report.add_with_hint(node.position, message, hint);
    }
    size
}

/// The notation of the command line's sizes: `1048576`, `512K`, `64MiB`, `2G`, `1T`.
fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let bytes = number.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    (1..=i64::MAX as u64).contains(&bytes).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("512", Some(512)),
            ("64M", Some(64 << 20)),
            ("1gib", Some(1 << 30)),
            ("0", None),
            ("M", None),
            ("1.5G", None),
            ("16777216T", None),
            ("5X", None),
            ("1 G", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }
}
