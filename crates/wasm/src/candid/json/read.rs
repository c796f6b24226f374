//! From JSON to values.

use crate::candid::fault::{Wrong, quoted};
use crate::candid::types::traced;
use crate::candid::value::{Typist, is_byte, number, tagged, together};
use crate::candid::{LONGEST_NUMBER, LONGEST_TEXT, syntax};
use candid::types::value::{IDLField, IDLValue};
use candid::types::{Field, Label, Type, TypeInner};
use casemate_core::hex;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

type Read<T> = Result<T, Wrong>;

/// Values of these types, or of those that the text looks like.
pub(in crate::candid) fn read(
    text: &str,
    typist: Typist<'_>,
    types: Option<Vec<Type>>,
) -> Read<(Vec<IDLValue>, Vec<Type>)> {
    if text.len() > LONGEST_TEXT {
        return Err(Wrong::new(format!(
            "it is longer than {LONGEST_TEXT} bytes"
        )));
    }
    let json: Value =
        serde_json::from_str(text).map_err(|why| Wrong::new(format!("it is no JSON: {why}")))?;
    let given = match json {
        Value::Array(values) => values,
        value => vec![value],
    };
    let types = match types {
        Some(types) => types,
        None => given.iter().map(guess).collect::<Read<_>>()?,
    };
    typist.count(given.len(), &types)?;
    let left_out = types.iter().skip(given.len());
    let left_out = left_out.filter_map(|ty| typist.absent(ty));
    let reader = Reader { typist };
    let read = given.iter().zip(&types).enumerate();
    let mut values = read
        .map(|(at, (json, ty))| {
            reader
                .value(json, ty)
                .map_err(|why| within(&format!("[{at}]"), why))
        })
        .collect::<Read<Vec<_>>>()?;
    values.extend(left_out);
    Ok((values, types))
}

#[derive(Clone, Copy)]
struct Reader<'e> {
    typist: Typist<'e>,
}

impl Reader<'_> {
    fn value(self, json: &Value, ty: &Type) -> Read<IDLValue> {
        let env = self.typist.env;
        let ty = traced(env, ty);
        let wrong = || self.mismatch(json, ty);
        Ok(match (ty.as_ref(), json) {
            (TypeInner::Reserved, _) => IDLValue::Reserved,
            (TypeInner::Null, Value::Null) => IDLValue::Null,
            (TypeInner::Bool, Value::Bool(is)) => IDLValue::Bool(*is),
            (TypeInner::Text, Value::String(text)) => IDLValue::Text(text.clone()),
            (TypeInner::Float32, _) => IDLValue::Float32(float(json).ok_or_else(wrong)? as f32),
            (TypeInner::Float64, _) => IDLValue::Float64(float(json).ok_or_else(wrong)?),
            (TypeInner::Opt(_), Value::Null) => IDLValue::None,
            (TypeInner::Opt(of), _) => {
                let value = match (self.typist.absent(of), json) {
                    (None, _) => json,
                    (Some(_), Value::Array(one)) if one.len() == 1 => one.first().unwrap_or(json),
                    _ => return Err(wrong()),
                };
                IDLValue::Opt(Box::new(self.value(value, of)?))
            }
            (TypeInner::Vec(of), Value::String(digits)) if is_byte(env, of) => {
                let digits = digits.strip_prefix("0x").unwrap_or(digits);
                IDLValue::Blob(hex::decode(digits).ok_or_else(wrong)?)
            }
            (TypeInner::Vec(of), Value::Array(items)) => {
                let items = items.iter().enumerate();
                let values = items.map(|(at, item)| {
                    let value = self.value(item, of);
                    value.map_err(|why| within(&format!("[{at}]"), why))
                });
                together(values.collect::<Read<_>>()?, is_byte(env, of))
            }
            (TypeInner::Record(fields), Value::Object(object)) => {
                IDLValue::Record(self.record(object, fields)?)
            }
            (TypeInner::Record(fields), Value::Array(items)) => {
                let keys = (0..items.len()).map(|at| at.to_string());
                let object = keys.zip(items.iter().cloned()).collect();
                IDLValue::Record(self.record(&object, fields)?)
            }
            (TypeInner::Variant(tags), _) => {
                self.variant(json, tags).unwrap_or_else(|| Err(wrong()))?
            }
            (TypeInner::Principal, Value::String(text)) => IDLValue::Principal(principal(text)?),
            (TypeInner::Service(_), Value::String(text)) => IDLValue::Service(principal(text)?),
            (TypeInner::Func(_), Value::String(text)) => {
                let (service, method) = text.split_once('.').ok_or_else(wrong)?;
                IDLValue::Func(principal(service)?, method.to_owned())
            }
            (_, Value::Number(digits)) if digits.is_u64() || digits.is_i64() => {
                number(&digits.to_string(), ty).ok_or_else(wrong)?
            }
            (_, Value::String(digits)) if is_whole(digits) => {
                number(digits, ty).ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        })
    }

    fn record(self, object: &Map<String, Value>, fields: &[Field]) -> Read<Vec<IDLField>> {
        let mut there: BTreeMap<u32, (&String, &Value)> = BTreeMap::new();
        for (key, value) in object {
            if let Some((other, _)) = there.insert(label(key), (key, value)) {
                let why = format!("{} and {} are the same field", quoted(other), quoted(key));
                return Err(Wrong::new(why));
            }
        }
        let mut values = Vec::with_capacity(fields.len());
        for field in fields {
            let value = match there.remove(&field.id.get_id()) {
                Some((key, value)) => self
                    .value(value, &field.ty)
                    .map_err(|why| within(&format!(".{}", plain(key)), why))?,
                None => self.typist.absent(&field.ty).ok_or_else(|| {
                    let missing = self.typist.names.shown(&field.id);
                    Wrong::new(format!("the field {missing} is missing"))
                        .hint(format!("it is a {}", self.typist.sketch(&field.ty)))
                })?,
            };
            values.push(IDLField {
                id: field.id.as_ref().clone(),
                val: value,
            });
        }
        match there.first_key_value() {
            Some((_, (key, _))) => {
                let why = format!("there is no field {}", quoted(key));
                Err(Wrong::new(why).hint(self.typist.there_are("fields", fields)))
            }
            None => Ok(values),
        }
    }

    /// Nothing if it doesn't look like one.
    fn variant(self, json: &Value, tags: &[Field]) -> Option<Read<IDLValue>> {
        let (key, value) = match json {
            Value::String(tag) => (tag, &Value::Null),
            Value::Object(object) if object.len() == 1 => object.iter().next()?,
            _ => return None,
        };
        let id = label(key);
        let found = tags
            .iter()
            .enumerate()
            .find(|(_, tag)| tag.id.get_id() == id);
        let Some((index, tag)) = found else {
            let why = format!("there is no tag {}", quoted(key));
            return Some(Err(
                Wrong::new(why).hint(self.typist.there_are("tags", tags))
            ));
        };
        let value = self.value(value, &tag.ty);
        let value = value.map_err(|why| within(&format!(".{}", plain(key)), why));
        Some(value.map(|value| tagged(tag.id.as_ref().clone(), value, index)))
    }

    fn mismatch(self, json: &Value, ty: &Type) -> Wrong {
        let found = match json {
            Value::Null => "null",
            Value::Bool(_) => "a bool",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        let hint = match ty.as_ref() {
            TypeInner::Opt(_) => "null, or the value; in a list if the value may be null",
            TypeInner::Vec(_) => "a list; or hexadecimal digits as a string, for a blob",
            TypeInner::Variant(_) => "{\"tag\": value}",
            TypeInner::Record(_) => "{\"field\": value}",
            TypeInner::Func(_) => "\"principal.method\"",
            _ => "numbers that don't fit are refused; those beyond 2^53 are written as strings",
        };
        Wrong::new(format!(
            "expected {}, found {found}",
            self.typist.sketch(ty)
        ))
        .hint(hint)
    }
}

/// The type that a value looks like.
fn guess(json: &Value) -> Read<Type> {
    let field = |key: &String, value| -> Read<Field> {
        Ok(Field {
            id: Label::Id(label(key)).into(),
            ty: guess(value)?,
        })
    };
    let ty = match json {
        Value::Null => TypeInner::Null,
        Value::Bool(_) => TypeInner::Bool,
        Value::Number(number) if number.is_f64() => TypeInner::Float64,
        Value::Number(_) => TypeInner::Int,
        Value::String(_) => TypeInner::Text,
        Value::Array(items) => TypeInner::Vec(match items.first() {
            Some(item) => guess(item)?,
            None => TypeInner::Empty.into(),
        }),
        Value::Object(object) => {
            let fields = object.iter().map(|(key, value)| field(key, value));
            let mut fields = fields.collect::<Read<Vec<_>>>()?;
            fields.sort_by_key(|field| field.id.get_id());
            if fields.windows(2).any(|pair| pair[0].id == pair[1].id) {
                return Err(Wrong::new("two keys are the same field"));
            }
            TypeInner::Record(fields)
        }
    };
    Ok(ty.into())
}

/// The number of a field: that which the key is, or its hash.
fn label(key: &str) -> u32 {
    let is_number = key.bytes().all(|digit| digit.is_ascii_digit());
    let number = is_number.then(|| key.parse().ok()).flatten();
    number.unwrap_or_else(|| candid::idl_hash(key))
}

fn is_whole(digits: &str) -> bool {
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    let is_digits = unsigned.bytes().all(|digit| digit.is_ascii_digit());
    is_digits && !unsigned.is_empty() && digits.len() <= LONGEST_NUMBER
}

fn float(json: &Value) -> Option<f64> {
    match json {
        Value::Number(number) => number.as_f64(),
        Value::String(word) => match word.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn principal(text: &str) -> Read<candid::Principal> {
    syntax::principal(text).map_err(Wrong::new)
}

fn plain(key: &str) -> String {
    quoted(key).trim_matches('"').to_owned()
}

/// Says where it is, from outside to inside.
fn within(step: &str, mut wrong: Wrong) -> Wrong {
    wrong.why = match wrong.why.starts_with(['.', '[']) {
        true => format!("{step}{}", wrong.why),
        false => format!("{step}: {}", wrong.why),
    };
    wrong
}
