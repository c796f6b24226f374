//! The YAML tree as it was written: every value with its position, nothing interpreted yet.

use std::rc::Rc;

use crate::position::{Located, Position};
use crate::quote::quoted;

/// A field of a mapping.
pub(crate) type Entry = (Located<Rc<str>>, Node);

/// No number needs more characters; what is longer is a string without a closer look.
const MAX_NUMBER_BYTES: usize = 64;

/// A value in the file.
///
/// The text is shared between copies, so an alias costs the same however long the text is.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) position: Position,
    pub(crate) value: Value,
}

/// What stands there.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// `plain` is false for quoted and block scalars, which are always strings.
    Scalar {
        text: Rc<str>,
        plain: bool,
    },
    List(Vec<Node>),
    /// In the order of the file. Duplicate keys are reported by the syntax, so the first one counts.
    Map(Vec<Entry>),
}

impl Node {
    /// The text of a scalar that YAML's core schema takes for a string.
    pub(crate) fn as_string(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, plain } if !plain || plain_kind(text) == Kind::String => {
                Some(text)
            }
            _ => None,
        }
    }

    /// `true` or `false`, unquoted, in the three spellings of the core schema.
    pub(crate) fn as_bool(&self) -> Option<bool> {
        match &self.value {
            Value::Scalar { text, plain: true } => parse_bool(text),
            _ => None,
        }
    }

    /// A whole number in decimal digits, unquoted, without leading zeros.
    pub(crate) fn as_integer(&self) -> Option<i64> {
        let Value::Scalar { text, plain: true } = &self.value else {
            return None;
        };
        let digits = text.strip_prefix('-').unwrap_or(text);
        let decimal = digits.bytes().all(|byte| byte.is_ascii_digit());
        (decimal && (digits.len() == 1 || !digits.starts_with('0')))
            .then(|| text.parse().ok())
            .flatten()
    }

    /// The same for a number that isn't negative.
    pub(crate) fn as_number(&self) -> Option<u64> {
        self.as_integer()
            .and_then(|number| u64::try_from(number).ok())
    }

    /// Whether the key has no value (`key:`) or an explicit null.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if plain_kind(text) == Kind::Null)
    }

    /// What was found here, for messages of the form "must be …, found …".
    pub(crate) fn found(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            Value::Scalar { text, plain: false } => format!("the string {}", quoted(text)),
            Value::Scalar { text, plain: true } => match plain_kind(text) {
                Kind::Null => "nothing".to_owned(),
                Kind::Bool => quoted(text),
                Kind::Number => format!("the number {}", quoted(text)),
                Kind::String => format!("the string {}", quoted(text)),
            },
        }
    }

    /// How many nodes there are in this one, itself included.
    pub(crate) fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Node::size).sum(),
            Value::Map(entries) => entries.iter().map(|(_, value)| 1 + value.size()).sum(),
        }
    }

    /// A copy that stands at `position` with all that is in it: what an alias means.
    pub(crate) fn copied_to(&self, position: Position) -> Self {
        let value = match &self.value {
            Value::Scalar { .. } => self.value.clone(),
            Value::List(items) => {
                Value::List(items.iter().map(|item| item.copied_to(position)).collect())
            }
            Value::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(key, value)| {
                        let key = Located::new(Rc::clone(&key.value), position);
                        (key, value.copied_to(position))
                    })
                    .collect(),
            ),
        };
        Self { position, value }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    Number,
    String,
}

/// What an unquoted scalar means in YAML 1.2's core schema (section 10.3.2 of its specification).
fn plain_kind(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        _ if parse_bool(text).is_some() => Kind::Bool,
        _ if is_number(text) => Kind::Number,
        _ => Kind::String,
    }
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn is_number(text: &str) -> bool {
    if text.len() > MAX_NUMBER_BYTES {
        return false;
    }
    let in_base = |prefix, base| {
        text.strip_prefix(prefix).is_some_and(|digits: &str| {
            !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(base))
        })
    };
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    in_base("0x", 16)
        || in_base("0o", 8)
        || matches!(unsigned, ".inf" | ".Inf" | ".INF")
        || matches!(text, ".nan" | ".NaN" | ".NAN")
        // Rust's floats have the schema's grammar, apart from the words for infinity and NaN.
        || unsigned.starts_with(|first: char| first == '.' || first.is_ascii_digit())
            && unsigned.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::{Kind, plain_kind};

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (text, kind) in [
            ("", Kind::Null),
            ("~", Kind::Null),
            ("null", Kind::Null),
            ("nULL", Kind::String),
            ("true", Kind::Bool),
            ("FALSE", Kind::Bool),
            ("yes", Kind::String),
            ("on", Kind::String),
            ("0", Kind::Number),
            ("-12", Kind::Number),
            ("0x1f", Kind::Number),
            ("0x", Kind::String),
            ("0o17", Kind::Number),
            ("0o8", Kind::String),
            ("1_000", Kind::String),
            ("1.5e3", Kind::Number),
            (".5", Kind::Number),
            (".", Kind::String),
            ("-.inf", Kind::Number),
            (".nan", Kind::Number),
            ("inf", Kind::String),
            ("nan", Kind::String),
            ("1.2.3", Kind::String),
            ("/usr", Kind::String),
        ] {
            assert_eq!(plain_kind(text), kind, "{text:?}");
        }
    }
}
