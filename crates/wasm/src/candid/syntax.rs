//! Values, as they are written, before it is known of which types they shall be.

use super::fault::Wrong;
use super::names::Names;
use super::token::{Kind, Words};
use super::types::{Types, label, name, too_deep, twice_there, unnamed};
use super::{DEEPEST, LONGEST_TEXT, MOST_ARGUMENTS};
use candid::types::{Label, Type, TypeEnv};

/// A value, and where it stands.
pub(super) struct Written {
    pub(super) at: usize,
    pub(super) kind: Shape,
    /// What is written behind it, after a colon.
    pub(super) note: Option<Type>,
}

/// What is written.
pub(super) enum Shape {
    Null,
    Bool(bool),
    /// Digits, with their sign and without what only separates them.
    Whole(String),
    Float(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
    Opt(Box<Written>),
    Vec(Vec<Written>),
    Record(Vec<(Label, Written)>),
    Variant(Label, Option<Box<Written>>),
    Principal(candid::Principal),
    Service(candid::Principal),
    Func(candid::Principal, String),
}

/// Reads `(value, value)`, or one value.
pub(super) fn read(text: &str) -> Result<Vec<Written>, Wrong> {
    if text.len() > LONGEST_TEXT {
        let why = format!("it is longer than {LONGEST_TEXT} bytes");
        return Err(Wrong::new(why).hint("give it as bytes, by --arg-file and --arg-format raw"));
    }
    let mut reader = Reader {
        words: Words::of(text)?,
        depth: 0,
    };
    let mut values = Vec::new();
    match reader.words.takes('(')? {
        false => values.push(reader.noted()?),
        true => {
            while !reader.words.takes(')')? {
                if values.len() == MOST_ARGUMENTS {
                    let why = format!("there are more than {MOST_ARGUMENTS} arguments");
                    return Err(Wrong::at(reader.words.at(), why));
                }
                values.push(reader.noted()?);
                reader.separator(',', ')')?;
            }
        }
    }
    match reader.words.peek().kind {
        Kind::End => Ok(values),
        _ => Err(reader
            .words
            .unexpected("the end")
            .hint("several arguments stand in brackets: (1, \"x\")")),
    }
}

struct Reader<'a> {
    words: Words<'a>,
    depth: usize,
}

impl Reader<'_> {
    /// `value` or `value : type`.
    fn noted(&mut self) -> Result<Written, Wrong> {
        let mut value = self.value()?;
        if self.words.takes(':')? {
            let mut types = Types::default();
            value.note = Some(types.read(&mut self.words)?);
            // Names of the canister's types mean nothing here: it may not have said any.
            types.known(&TypeEnv::new())?;
        }
        Ok(value)
    }

    fn value(&mut self) -> Result<Written, Wrong> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(too_deep(self.words.at(), "values"));
        }
        let at = self.words.at();
        let kind = match &self.words.peek().kind {
            Kind::Mark('(') => {
                self.words.take()?;
                let inner = self.noted()?;
                self.words.expect(')')?;
                self.depth -= 1;
                return Ok(inner);
            }
            Kind::Mark('+' | '-') | Kind::Number(_) => self.number()?,
            Kind::Text(_) => Shape::Text(self.text()?),
            Kind::Word(word) => {
                let word = *word;
                self.words.take()?;
                self.word(word, at)?
            }
            _ => return Err(self.words.unexpected("a value")),
        };
        self.depth -= 1;
        Ok(Written {
            at,
            kind,
            note: None,
        })
    }

    fn word(&mut self, word: &str, at: usize) -> Result<Shape, Wrong> {
        Ok(match word {
            "null" => Shape::Null,
            "true" => Shape::Bool(true),
            "false" => Shape::Bool(false),
            // Candid has no words for these; its crate prints them like this.
            "inf" => Shape::Float(f64::INFINITY),
            "NaN" => Shape::Float(f64::NAN),
            "opt" => Shape::Opt(Box::new(self.value()?)),
            "vec" => Shape::Vec(self.elements()?),
            "blob" => Shape::Blob(self.text()?),
            "record" => Shape::Record(self.fields()?),
            "variant" => self.variant()?,
            "principal" => Shape::Principal(self.principal()?),
            "service" => Shape::Service(self.principal()?),
            "func" => {
                let service = self.principal()?;
                self.words.expect('.')?;
                let method = name(&mut self.words)?;
                let method = method.ok_or_else(|| self.words.unexpected("a method's name"))?;
                Shape::Func(service, method)
            }
            other => {
                let why = format!("expected a value, found {}", Kind::Word(other).shown());
                return Err(Wrong::at(at, why).hint("a text stands in quotation marks: \"x\""));
            }
        })
    }

    fn number(&mut self) -> Result<Shape, Wrong> {
        let is_negative = self.words.takes('-')?;
        if !is_negative {
            self.words.takes('+')?;
        }
        let at = self.words.at();
        if is_negative && self.words.takes_word("inf")? {
            return Ok(Shape::Float(f64::NEG_INFINITY));
        }
        let Kind::Number(digits) = self.words.peek().kind else {
            return Err(self.words.unexpected("a number"));
        };
        self.words.take()?;
        let sign = if is_negative { "-" } else { "" };
        let digits = digits.replace('_', "");
        if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
            let number = u128::from_str_radix(hex, 16);
            let number = number.map_err(|_| Wrong::at(at, "expected 1 to 32 digits after 0x"))?;
            return Ok(Shape::Whole(format!("{sign}{number}")));
        }
        if digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Ok(Shape::Whole(format!("{sign}{digits}")));
        }
        match format!("{sign}{digits}").parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Shape::Float(number)),
            Ok(_) => Err(Wrong::at(at, "this is more than a float64 can be")),
            Err(_) => Err(Wrong::at(at, "this is no number")),
        }
    }

    fn text(&mut self) -> Result<Vec<u8>, Wrong> {
        match self.words.peek().kind {
            Kind::Text(_) => match self.words.take()?.kind {
                Kind::Text(bytes) => Ok(bytes),
                _ => Ok(Vec::new()),
            },
            _ => Err(self.words.unexpected("a text in quotation marks")),
        }
    }

    fn principal(&mut self) -> Result<candid::Principal, Wrong> {
        let at = self.words.at();
        let text = self.text()?;
        principal(&String::from_utf8_lossy(&text)).map_err(|why| Wrong::at(at, why))
    }

    fn elements(&mut self) -> Result<Vec<Written>, Wrong> {
        self.words.expect('{')?;
        let mut elements = Vec::new();
        while !self.words.takes('}')? {
            elements.push(self.noted()?);
            self.separator(';', '}')?;
        }
        Ok(elements)
    }

    fn fields(&mut self) -> Result<Vec<(Label, Written)>, Wrong> {
        self.words.expect('{')?;
        let mut fields = Vec::new();
        let mut next = Some(0);
        while !self.words.takes('}')? {
            let at = self.words.at();
            let label = match label(&mut self.words, '=', false)? {
                Some(label) => {
                    self.words.expect('=')?;
                    label
                }
                None => unnamed(next, at)?,
            };
            next = label.get_id().checked_add(1);
            fields.push((label, self.noted()?));
            self.separator(';', '}')?;
        }
        fields.sort_by_key(|(label, _)| label.get_id());
        match fields.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some([_, (label, value)]) => {
                let name = Names::default().shown(label);
                Err(twice_there(value.at, &name))
            }
            _ => Ok(fields),
        }
    }

    fn variant(&mut self) -> Result<Shape, Wrong> {
        self.words.expect('{')?;
        let label = label(&mut self.words, '=', true)?;
        let label = label.ok_or_else(|| self.words.unexpected("a tag"))?;
        let value = match self.words.takes('=')? {
            true => Some(Box::new(self.noted()?)),
            false => None,
        };
        self.words.takes(';')?;
        self.words.expect('}')?;
        Ok(Shape::Variant(label, value))
    }

    fn separator(&mut self, separator: char, end: char) -> Result<(), Wrong> {
        if self.words.takes(separator)? || self.words.peek().kind == Kind::Mark(end) {
            return Ok(());
        }
        Err(self
            .words
            .unexpected(&format!("\"{separator}\" or \"{end}\"")))
    }
}

/// A principal, by its text.
pub(super) fn principal(text: &str) -> Result<candid::Principal, String> {
    let principal: crate::call::Principal = text.parse().map_err(short)?;
    candid::Principal::try_from_slice(principal.as_slice()).map_err(short)
}

fn short(why: impl ToString) -> String {
    let why = why.to_string();
    why[..why.floor_char_boundary(300)].to_owned()
}
