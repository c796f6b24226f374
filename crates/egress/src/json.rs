//! JSON that every parser reads in the same way.
//!
//! Parsers disagree on which of two equal keys counts, on how deep they go, and on whether `Method`
//! is `method`. Whoever is judged by one parser and obeyed by another can say two things at once, so
//! such documents are refused.
//!
//! Source: RFC 8259 §4, §9.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Arrays and objects inside each other.
pub const MAX_DEPTH: usize = 64;

/// Values and keys of one document.
pub const MAX_VALUES: usize = 100_000;

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidJson(pub String);

impl fmt::Display for InvalidJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid JSON: {}", self.0)
    }
}

impl std::error::Error for InvalidJson {}

/// Reads one document of at most `max_bytes`.
pub fn parse(bytes: &[u8], max_bytes: usize) -> Result<Value, InvalidJson> {
    if bytes.len() > max_bytes {
        return Err(InvalidJson(format!("it's longer than {max_bytes} bytes")));
    }
    let mut left = MAX_VALUES;
    let seed = Strict {
        depth: 0,
        left: &mut left,
    };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = seed
        .deserialize(&mut reader)
        .map_err(|error| InvalidJson(error.to_string()))?;
    reader
        .end()
        .map_err(|error| InvalidJson(error.to_string()))?;
    Ok(value)
}

/// A key of the object that a lenient parser would take for one of `names`, though it isn't.
///
/// Go's `encoding/json`, for one, compares keys by Unicode's simple folding.
pub fn lookalike<'o>(object: &'o Map<String, Value>, names: &[&str]) -> Option<&'o str> {
    object.keys().map(String::as_str).find(|key| {
        let folded = fold(key);
        names
            .iter()
            .any(|name| *name != *key && fold(name) == folded)
    })
}

/// Lower case, and the two characters beyond ASCII that fold into it.
fn fold(key: &str) -> String {
    key.chars()
        .map(|character| match character {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

/// A value at some depth, counting all values against one budget.
struct Strict<'b> {
    depth: usize,
    left: &'b mut usize,
}

impl Strict<'_> {
    fn inner<E: serde::de::Error>(&mut self) -> Result<Strict<'_>, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom("it's nested deeper than 64 levels"));
        }
        Ok(Strict {
            depth: self.depth + 1,
            left: self.left,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        if *self.left == 0 {
            return Err(D::Error::custom("it has too many values"));
        }
        *self.left -= 1;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner()?)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self.inner()?)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("an object has the same key twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Value, InvalidJson> {
        parse(text.as_bytes(), 1 << 20)
    }

    #[test]
    fn ordinary_documents_are_read() {
        let text = r#"{"a":[1,-2,3.5,true,null,"x\u00e4"],"b":{}}"#;
        assert_eq!(read(text), Ok(serde_json::from_str(text).expect("JSON")));
    }

    #[test]
    fn a_key_given_twice_is_refused_however_it_is_written() {
        assert!(read(r#"{"method":1,"method":2}"#).is_err());
        assert!(read(r#"{"method":1,"\u006dethod":2}"#).is_err());
        assert!(read(r#"{"a":[{"b":1,"b":1}]}"#).is_err());
    }

    #[test]
    fn what_parsers_disagree_on_is_refused() {
        for text in [
            "",
            "{} {}",
            "[1,]",
            "{'a':1}",
            "NaN",
            "1e999",
            "\u{feff}{}",
            "// x\n{}",
            r#""\ud800""#,
            "\"a\nb\"",
            "01",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(parse(b"\"\xff\"", 10).is_err());
        assert!(parse(b"[1, 2]", 5).is_err());
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(64)).is_ok());
        assert!(read(&nested(66)).is_err());
        assert!(read(&nested(10_000)).is_err());
        let wide = format!("[{}0]", "0,".repeat(MAX_VALUES));
        assert!(read(&wide).is_err());
    }

    #[test]
    fn lookalikes_are_found() {
        let object = |text: &str| match read(text) {
            Ok(Value::Object(object)) => object,
            other => panic!("no object: {other:?}"),
        };
        let names = ["method", "params", "task"];
        assert_eq!(lookalike(&object(r#"{"method":1}"#), &names), None);
        assert_eq!(
            lookalike(&object(r#"{"Method":1}"#), &names),
            Some("Method")
        );
        assert_eq!(
            lookalike(&object("{\"param\u{17f}\":1}"), &names),
            Some("param\u{17f}")
        );
        assert_eq!(
            lookalike(&object("{\"tas\u{212a}\":1}"), &names),
            Some("tas\u{212a}")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes, 4096);
        }

        #[test]
        fn what_is_read_is_what_serde_json_reads(text in "[\\[\\]{}:,\"a1 ]{0,40}") {
            if let Ok(value) = read(&text) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
            }
        }
    }
}
