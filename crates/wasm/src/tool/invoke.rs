//! Calling an export with words of a command line.

use super::job::Invocation;
use super::verdict::Complaint;
use crate::near;
use std::str::FromStr;
use wasmtime::{ExternType, Module, Val, ValType};

/// Looks whether there is the function, and reads its arguments.
pub(super) fn arguments(module: &Module, invocation: &Invocation) -> Result<Vec<Val>, Complaint> {
    let name = &invocation.function;
    let Some(ExternType::Func(function)) = module.get_export(name) else {
        let functions: Vec<&str> = functions(module).collect();
        return Err(Complaint::new(
            &format!("call {name}"),
            "the module exports no such function",
        )
        .hint(match functions.as_slice() {
            [] => "it exports no function".to_owned(),
            functions => near::hint(name, "it exports", functions),
        }));
    };
    let types: Vec<ValType> = function.params().collect();
    let given = &invocation.args;
    if types.len() != given.len() {
        let shown: Vec<String> = types.iter().map(ToString::to_string).collect();
        let why = match types.len() {
            0 => format!("it takes no arguments, not {}", given.len()),
            1 => format!("it takes one argument, {}, not {}", shown[0], given.len()),
            count => format!(
                "it takes {count} arguments, {}, not {}",
                shown.join(", "),
                given.len()
            ),
        };
        return Err(Complaint::new(&format!("call {name}"), why)
            .hint("arguments stand right after the name: --invoke NAME ARG…"));
    }
    let values = types.iter().zip(given).enumerate();
    let values = values.map(|(index, (kind, word))| {
        value(kind, word)
            .map_err(|why| Complaint::new(&format!("read argument {} of {name}", index + 1), why))
    });
    values.collect()
}

/// The functions that a module exports.
pub(super) fn functions(module: &Module) -> impl Iterator<Item = &str> {
    let exports = module.exports();
    exports
        .filter(|export| export.ty().func().is_some())
        .map(|export| export.name())
}

/// A result as text.
pub(super) fn shown(value: &Val) -> String {
    match value {
        Val::I32(number) => number.to_string(),
        Val::I64(number) => number.to_string(),
        Val::F32(bits) => f32::from_bits(*bits).to_string(),
        Val::F64(bits) => f64::from_bits(*bits).to_string(),
        Val::V128(number) => format!("{:#034x}", number.as_u128()),
        _ => "<reference>".into(),
    }
}

fn value(kind: &ValType, word: &str) -> Result<Val, String> {
    let value = match kind {
        ValType::I32 => {
            number(word, i32::MIN.into(), u32::MAX.into()).map(|wide| Val::I32(wide as i32))
        }
        ValType::I64 => {
            number(word, i64::MIN.into(), u64::MAX.into()).map(|wide| Val::I64(wide as i64))
        }
        ValType::F32 => f32::from_str(word)
            .ok()
            .map(|number| Val::F32(number.to_bits())),
        ValType::F64 => f64::from_str(word)
            .ok()
            .map(|number| Val::F64(number.to_bits())),
        other => return Err(format!("{other} can't be given on a command line")),
    };
    value.ok_or_else(|| format!("`{word}` is no {kind}"))
}

/// A whole number, signed or unsigned, as decimal or 0x hexadecimal digits.
fn number(word: &str, least: i128, most: i128) -> Option<i128> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = match digits.strip_prefix("0x") {
        Some(hex) if hex.starts_with(['+', '-']) => None,
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }?;
    let number = if negative { -number } else { number };
    (least..=most).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_signed_and_unsigned() {
        let i32_of = |word| match value(&ValType::I32, word) {
            Ok(Val::I32(number)) => Some(number),
            _ => None,
        };
        assert_eq!(i32_of("-2147483648"), Some(i32::MIN));
        assert_eq!(i32_of("4294967295"), Some(-1));
        assert_eq!(i32_of("0xff"), Some(255));
        for bad in [
            "",
            "-",
            "4294967296",
            "-2147483649",
            "1.5",
            "x",
            "--1",
            "+1",
            "0x",
            "0x-1",
        ] {
            assert_eq!(i32_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn floats_are_what_they_were() {
        let shown_f64 = |word| value(&ValType::F64, word).map(|value| shown(&value));
        assert_eq!(shown_f64("0.1"), Ok("0.1".into()));
        assert_eq!(shown_f64("-inf"), Ok("-inf".into()));
        assert_eq!(shown_f64("one"), Err("`one` is no f64".into()));
    }
}
