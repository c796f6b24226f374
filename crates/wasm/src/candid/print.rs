//! Values as text of Candid, within bounds: the values are a canister's.

use super::names::Names;
use super::{DEEPEST, LONGEST_NUMBER, LONGEST_PRINT};
use candid::types::Label;
use candid::types::value::{IDLField, IDLValue};

/// How long a line may get before it is broken.
const WIDTH: usize = 80;
const INDENT: usize = 2;
/// A number of more bits is longer than it may be printed.
const MOST_BITS: u64 = LONGEST_NUMBER as u64 * 3;

/// Why a value isn't printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooMuch {
    /// A text.
    #[error("its text is longer than {LONGEST_PRINT} bytes")]
    Long,
    /// A value in a value in a value.
    #[error("its values are nested deeper than {DEEPEST}")]
    Deep,
    /// A number.
    #[error("it has a number of more than {MOST_BITS} bits")]
    Number,
}

/// `(value, value)`, on one line if it fits.
pub(super) fn values(values: &[IDLValue], names: &Names) -> Result<String, TooMuch> {
    let mut page = Page {
        text: String::new(),
        limit: LONGEST_PRINT,
        names,
    };
    let items = |page: &mut Page<'_>, at: usize, line: Line| {
        let value = values.get(at);
        value.map_or(Ok(()), |value| page.value(value, line))
    };
    let line = Line {
        indent: 0,
        depth: 0,
        is_one: false,
    };
    page.list(["(", ")"], ",", values.len(), line, items)?;
    Ok(page.text)
}

/// Nothing in it is deeper or longer than it may be printed.
pub(super) fn check(value: &IDLValue, depth: usize) -> Result<(), TooMuch> {
    if depth > DEEPEST {
        return Err(TooMuch::Deep);
    }
    match value {
        IDLValue::Nat(number) if number.0.bits() > MOST_BITS => Err(TooMuch::Number),
        IDLValue::Int(number) if number.0.bits() > MOST_BITS => Err(TooMuch::Number),
        IDLValue::Opt(value) => check(value, depth + 1),
        IDLValue::Vec(values) => values.iter().try_for_each(|value| check(value, depth + 1)),
        IDLValue::Record(fields) => fields
            .iter()
            .try_for_each(|field| check(&field.val, depth + 1)),
        IDLValue::Variant(tag) => check(&tag.0.val, depth + 1),
        _ => Ok(()),
    }
}

/// Where something is written.
#[derive(Clone, Copy)]
struct Line {
    indent: usize,
    depth: usize,
    /// It has to stay on this line.
    is_one: bool,
}

struct Page<'n> {
    text: String,
    limit: usize,
    names: &'n Names,
}

impl Page<'_> {
    fn put(&mut self, text: &str) -> Result<(), TooMuch> {
        if self.text.len() + text.len() > self.limit {
            return Err(TooMuch::Long);
        }
        self.text.push_str(text);
        Ok(())
    }

    /// A list on one line, or each item on its own.
    fn list(
        &mut self,
        [open, close]: [&str; 2],
        separator: &str,
        count: usize,
        line: Line,
        item: impl Fn(&mut Self, usize, Line) -> Result<(), TooMuch>,
    ) -> Result<(), TooMuch> {
        if line.depth > DEEPEST {
            return Err(TooMuch::Deep);
        }
        let space = if open == "{" && count > 0 { " " } else { "" };
        let inner = Line {
            depth: line.depth + 1,
            ..line
        };
        let flat = |page: &mut Self| {
            page.put(open)?;
            page.put(space)?;
            for at in 0..count {
                if at > 0 {
                    page.put(separator)?;
                    page.put(" ")?;
                }
                item(
                    page,
                    at,
                    Line {
                        is_one: true,
                        ..inner
                    },
                )?;
            }
            page.put(space)?;
            page.put(close)
        };
        if line.is_one {
            return flat(self);
        }
        if self.tries(flat) {
            return Ok(());
        }
        let indent = line.indent + INDENT;
        self.put(open)?;
        for at in 0..count {
            self.put("\n")?;
            self.put(&" ".repeat(indent))?;
            item(self, at, Line { indent, ..inner })?;
            self.put(separator)?;
        }
        self.put("\n")?;
        self.put(&" ".repeat(line.indent))?;
        self.put(close)
    }

    /// Writes something on the rest of the line, if there is room for it.
    fn tries(&mut self, write: impl FnOnce(&mut Self) -> Result<(), TooMuch>) -> bool {
        let (length, limit) = (self.text.len(), self.limit);
        let begun = self.text.rfind('\n').map_or(0, |end| end + 1);
        self.limit = limit.min(begun + WIDTH);
        let fits = write(self).is_ok();
        self.limit = limit;
        if !fits {
            self.text.truncate(length);
        }
        fits
    }

    fn value(&mut self, value: &IDLValue, line: Line) -> Result<(), TooMuch> {
        match value {
            IDLValue::Opt(value) => {
                self.put("opt ")?;
                let line = Line {
                    depth: line.depth + 1,
                    ..line
                };
                match is_noted(value) {
                    true => {
                        self.put("(")?;
                        self.value(value, line)?;
                        self.put(")")
                    }
                    false => self.value(value, line),
                }
            }
            IDLValue::Vec(values) => {
                self.put("vec ")?;
                self.list(["{", "}"], ";", values.len(), line, |page, at, line| {
                    let value = values.get(at);
                    value.map_or(Ok(()), |value| page.value(value, line))
                })
            }
            IDLValue::Record(fields) => {
                self.put("record ")?;
                let is_tuple = is_tuple(fields);
                self.list(
                    ["{", "}"],
                    ";",
                    fields.len(),
                    line,
                    |page, at, line| match fields.get(at) {
                        Some(field) if is_tuple => page.value(&field.val, line),
                        Some(field) => page.field(field, line),
                        None => Ok(()),
                    },
                )
            }
            IDLValue::Variant(tag) => {
                self.put("variant ")?;
                self.list(["{", "}"], ";", 1, line, |page, _, line| match tag.0.val {
                    IDLValue::Null => page.label(&tag.0.id),
                    _ => page.field(&tag.0, line),
                })
            }
            // As the crate writes them; none of these contains another.
            plain => self.put(&format!("{plain:?}")),
        }
    }

    fn field(&mut self, field: &IDLField, line: Line) -> Result<(), TooMuch> {
        self.label(&field.id)?;
        self.put(" = ")?;
        self.value(&field.val, line)
    }

    fn label(&mut self, label: &Label) -> Result<(), TooMuch> {
        let number = label.get_id();
        match self.names.of(number) {
            None => self.put(&number.to_string()),
            Some(name) if is_word(name) => self.put(name),
            Some(name) => self.put(&format!("\"{}\"", name.escape_debug())),
        }
    }
}

/// Fields that are numbered from 0 are shown without their numbers.
pub(super) fn is_tuple(fields: &[IDLField]) -> bool {
    let mut numbered = fields.iter().enumerate();
    !fields.is_empty() && numbered.all(|(at, field)| field.id.get_id() as usize == at)
}

/// Its text has a type behind it.
fn is_noted(value: &IDLValue) -> bool {
    !matches!(
        value,
        IDLValue::Bool(_)
            | IDLValue::Text(_)
            | IDLValue::None
            | IDLValue::Opt(_)
            | IDLValue::Vec(_)
            | IDLValue::Blob(_)
            | IDLValue::Record(_)
            | IDLValue::Variant(_)
            | IDLValue::Principal(_)
            | IDLValue::Service(_)
            | IDLValue::Func(..)
    )
}

/// A name that may stand without quotation marks.
fn is_word(name: &str) -> bool {
    const KEYWORDS: &[&str] = &[
        "null",
        "vec",
        "opt",
        "record",
        "variant",
        "func",
        "service",
        "oneway",
        "query",
        "composite_query",
        "blob",
        "type",
        "import",
        "principal",
        "true",
        "false",
    ];
    let mut letters = name.chars();
    let first = letters.next();
    first.is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        && !KEYWORDS.contains(&name)
}
