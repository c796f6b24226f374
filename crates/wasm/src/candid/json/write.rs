//! From values to JSON, within bounds: the values are a canister's.

use super::SAFE;
use crate::candid::LONGEST_PRINT;
use crate::candid::names::Names;
use crate::candid::print::{TooMuch, is_tuple};
use candid::types::Label;
use candid::types::value::{IDLField, IDLValue};
use casemate_core::hex;

/// The values of a reply, on one line.
pub(in crate::candid) fn write(values: &[IDLValue], names: &Names) -> Result<String, TooMuch> {
    let mut page = Page {
        text: String::new(),
        names,
    };
    match values {
        [value] => page.value(value)?,
        values => page.list(values.iter())?,
    }
    Ok(page.text)
}

struct Page<'n> {
    text: String,
    names: &'n Names,
}

impl Page<'_> {
    fn put(&mut self, text: &str) -> Result<(), TooMuch> {
        if self.text.len() + text.len() > LONGEST_PRINT {
            return Err(TooMuch::Long);
        }
        self.text.push_str(text);
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), TooMuch> {
        // Strings have nothing that could fail.
        self.put(&serde_json::to_string(text).unwrap_or_default())
    }

    fn value(&mut self, value: &IDLValue) -> Result<(), TooMuch> {
        match value {
            IDLValue::Null | IDLValue::None | IDLValue::Reserved => self.put("null"),
            IDLValue::Bool(is) => self.put(if *is { "true" } else { "false" }),
            IDLValue::Text(text) => self.string(text),
            IDLValue::Number(digits) => self.whole(digits),
            IDLValue::Nat(number) => self.whole(&number.0.to_string()),
            IDLValue::Int(number) => self.whole(&number.0.to_string()),
            IDLValue::Nat8(number) => self.whole(&number.to_string()),
            IDLValue::Nat16(number) => self.whole(&number.to_string()),
            IDLValue::Nat32(number) => self.whole(&number.to_string()),
            IDLValue::Nat64(number) => self.whole(&number.to_string()),
            IDLValue::Int8(number) => self.whole(&number.to_string()),
            IDLValue::Int16(number) => self.whole(&number.to_string()),
            IDLValue::Int32(number) => self.whole(&number.to_string()),
            IDLValue::Int64(number) => self.whole(&number.to_string()),
            IDLValue::Float32(number) => self.float(f64::from(*number), &number.to_string()),
            IDLValue::Float64(number) => self.float(*number, &number.to_string()),
            IDLValue::Opt(value) => match can_be_null(value) {
                true => self.list(std::iter::once(value.as_ref())),
                false => self.value(value),
            },
            IDLValue::Vec(values) => self.list(values.iter()),
            IDLValue::Blob(bytes) => self.put(&format!("\"{}\"", hex::encode(bytes))),
            IDLValue::Record(fields) if is_tuple(fields) => {
                self.list(fields.iter().map(|field| &field.val))
            }
            IDLValue::Record(fields) => self.object(fields),
            IDLValue::Variant(tag) => self.object(std::slice::from_ref(&*tag.0)),
            IDLValue::Principal(id) | IDLValue::Service(id) => self.string(&id.to_text()),
            IDLValue::Func(id, method) => self.string(&format!("{id}.{method}")),
        }
    }

    fn whole(&mut self, digits: &str) -> Result<(), TooMuch> {
        let magnitude = digits.strip_prefix('-').unwrap_or(digits).parse::<u64>();
        match magnitude.is_ok_and(|magnitude| magnitude <= SAFE) {
            true => self.put(digits),
            false => self.string(digits),
        }
    }

    fn float(&mut self, number: f64, digits: &str) -> Result<(), TooMuch> {
        match number {
            n if n.is_nan() => self.put("\"NaN\""),
            f64::INFINITY => self.put("\"Infinity\""),
            f64::NEG_INFINITY => self.put("\"-Infinity\""),
            _ => self.put(digits),
        }
    }

    fn list<'v>(&mut self, values: impl Iterator<Item = &'v IDLValue>) -> Result<(), TooMuch> {
        self.put("[")?;
        for (at, value) in values.enumerate() {
            if at > 0 {
                self.put(",")?;
            }
            self.value(value)?;
        }
        self.put("]")
    }

    fn object(&mut self, fields: &[IDLField]) -> Result<(), TooMuch> {
        self.put("{")?;
        for (at, field) in fields.iter().enumerate() {
            if at > 0 {
                self.put(",")?;
            }
            self.key(&field.id)?;
            self.put(":")?;
            self.value(&field.val)?;
        }
        self.put("}")
    }

    fn key(&mut self, label: &Label) -> Result<(), TooMuch> {
        let number = label.get_id();
        match self.names.of(number) {
            Some(name) => self.string(name),
            None => self.put(&format!("\"{number}\"")),
        }
    }
}

/// What could be taken for an `opt` without a value.
fn can_be_null(value: &IDLValue) -> bool {
    matches!(
        value,
        IDLValue::Null | IDLValue::None | IDLValue::Reserved | IDLValue::Opt(_)
    )
}
