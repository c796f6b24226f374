//! Types, as they are written (Candid specification, "Core Grammar").

use super::fault::{Wrong, quoted};
use super::names::Names;
use super::token::{Kind, Words};
use super::{DEEPEST, MOST_ARGUMENTS, MOST_FIELDS};
use candid::types::{Field, FuncMode, Function, Label, Type, TypeEnv, TypeInner};
use std::collections::{BTreeMap, BTreeSet};

/// Reads types, and keeps the names that it meets.
#[derive(Default)]
pub(super) struct Types {
    /// What fields are called.
    pub(super) names: Names,
    meant: Vec<(String, usize)>,
    depth: usize,
}

impl Types {
    /// One type.
    pub(super) fn read(&mut self, words: &mut Words<'_>) -> Result<Type, Wrong> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(too_deep(words.at(), "types"));
        }
        let read = self.read_one(words);
        self.depth -= 1;
        read
    }

    fn read_one(&mut self, words: &mut Words<'_>) -> Result<Type, Wrong> {
        let Kind::Word(word) = words.peek().kind else {
            return Err(words.unexpected("a type"));
        };
        let at = words.take()?.at;
        let kind = match word {
            "opt" => TypeInner::Opt(self.read(words)?),
            "vec" => TypeInner::Vec(self.read(words)?),
            "blob" => TypeInner::Vec(TypeInner::Nat8.into()),
            "record" => TypeInner::Record(self.fields(words, true)?),
            "variant" => TypeInner::Variant(self.fields(words, false)?),
            "func" => TypeInner::Func(self.function(words)?),
            "service" => TypeInner::Service(self.methods(words)?),
            "principal" => TypeInner::Principal,
            name => match primitive(name) {
                Some(primitive) => primitive,
                None => {
                    self.meant.push((name.to_owned(), at));
                    TypeInner::Var(name.to_owned())
                }
            },
        };
        Ok(kind.into())
    }

    /// `{ name : type; 7 : type; type }`, in the order of their numbers.
    fn fields(&mut self, words: &mut Words<'_>, is_record: bool) -> Result<Vec<Field>, Wrong> {
        words.expect('{')?;
        let mut fields = Vec::new();
        let mut next = Some(0);
        while !words.takes('}')? {
            let at = words.at();
            let (label, ty) = match label(words, ':', !is_record)? {
                Some(label) if words.takes(':')? => (label, self.read(words)?),
                Some(label) if !is_record => (label, TypeInner::Null.into()),
                None if is_record => (unnamed(next, at)?, self.read(words)?),
                _ => return Err(words.unexpected("\":\"")),
            };
            if fields.len() == MOST_FIELDS {
                let why = format!("there are more than {MOST_FIELDS} fields");
                return Err(Wrong::at(at, why));
            }
            next = label.get_id().checked_add(1);
            self.names.learn(&label);
            fields.push((at, Label::Id(label.get_id()), ty));
            if !words.takes(';')? && words.peek().kind != Kind::Mark('}') {
                return Err(words.unexpected("\";\" or \"}\""));
            }
        }
        fields.sort_by_key(|(_, label, _)| label.get_id());
        let twice = fields.windows(2).find(|pair| pair[0].1 == pair[1].1);
        if let Some([_, (at, label, _)]) = twice {
            return Err(twice_there(*at, &self.names.shown(label)));
        }
        let field = |(_, label, ty)| Field {
            id: std::rc::Rc::new(label),
            ty,
        };
        Ok(fields.into_iter().map(field).collect())
    }

    /// `(types) -> (types) mode`, after `func` or a method's name.
    pub(super) fn function(&mut self, words: &mut Words<'_>) -> Result<Function, Wrong> {
        let args = self.tuple(words)?;
        words.expect('>')?;
        let rets = self.tuple(words)?;
        let mode = match words.peek().kind {
            Kind::Word("query") => Some(FuncMode::Query),
            Kind::Word("composite_query") => Some(FuncMode::CompositeQuery),
            Kind::Word("oneway") => Some(FuncMode::Oneway),
            _ => None,
        };
        if mode.is_some() {
            words.take()?;
        }
        Ok(Function {
            modes: mode.into_iter().collect(),
            args,
            rets,
        })
    }

    /// `(type, name : type)`.
    pub(super) fn tuple(&mut self, words: &mut Words<'_>) -> Result<Vec<Type>, Wrong> {
        words.expect('(')?;
        let mut types = Vec::new();
        while !words.takes(')')? {
            if types.len() == MOST_ARGUMENTS {
                let why = format!("there are more than {MOST_ARGUMENTS} types");
                return Err(Wrong::at(words.at(), why));
            }
            let is_named = matches!(words.peek().kind, Kind::Word(_) | Kind::Text(_));
            if is_named && words.is_followed_by(':') {
                words.take()?;
                words.expect(':')?;
            }
            types.push(self.read(words)?);
            if !words.takes(',')? && words.peek().kind != Kind::Mark(')') {
                return Err(words.unexpected("\",\" or \")\""));
            }
        }
        Ok(types)
    }

    /// `{ name : function; name : type }`, in the order of their names.
    pub(super) fn methods(&mut self, words: &mut Words<'_>) -> Result<Vec<(String, Type)>, Wrong> {
        words.expect('{')?;
        let mut methods = Vec::new();
        while !words.takes('}')? {
            let at = words.at();
            let name = name(words)?.ok_or_else(|| words.unexpected("a method's name"))?;
            words.expect(':')?;
            let ty = match words.peek().kind {
                Kind::Mark('(') => TypeInner::Func(self.function(words)?).into(),
                Kind::Word(_) => self.read(words)?,
                _ => return Err(words.unexpected("a method's type")),
            };
            methods.push((at, name, ty));
            if !words.takes(';')? && words.peek().kind != Kind::Mark('}') {
                return Err(words.unexpected("\";\" or \"}\""));
            }
        }
        methods.sort_by(|(_, one, _), (_, other, _)| one.cmp(other));
        let twice = methods.windows(2).find(|pair| pair[0].1 == pair[1].1);
        if let Some([_, (at, name, _)]) = twice {
            let why = format!("the method {} is there twice", quoted(name));
            return Err(Wrong::at(*at, why));
        }
        let method = |(_, name, ty)| (name, ty);
        Ok(methods.into_iter().map(method).collect())
    }

    /// All names that were met have to be there.
    pub(super) fn known(&self, env: &TypeEnv) -> Result<(), Wrong> {
        let unknown = self
            .meant
            .iter()
            .find(|(name, _)| !env.0.contains_key(name));
        match unknown {
            Some((name, at)) => Err(Wrong::at(*at, format!("there is no type {}", quoted(name)))),
            None => Ok(()),
        }
    }
}

/// Makes each name lead to a type that isn't just another name, at once: to follow a chain of names
/// for each value would take its length each time.
pub(super) fn ground(env: &mut TypeEnv) -> Result<(), Wrong> {
    let mut grounded: BTreeMap<&str, Type> = BTreeMap::new();
    for first in env.0.keys() {
        let (mut path, mut name) = (BTreeSet::new(), first.as_str());
        let ground = loop {
            if let Some(ground) = grounded.get(name) {
                break ground.clone();
            }
            if !path.insert(name) {
                let why = format!("the type {} is only another name of itself", quoted(name));
                return Err(Wrong::new(why));
            }
            let Some(ty) = env.0.get(name) else {
                return Err(Wrong::new(format!("there is no type {}", quoted(name))));
            };
            match ty.as_ref() {
                TypeInner::Var(other) => name = other,
                _ => break ty.clone(),
            }
        };
        grounded.extend(path.into_iter().map(|name| (name, ground.clone())));
    }
    let grounded = grounded.into_iter();
    env.0 = grounded.map(|(name, ty)| (name.to_owned(), ty)).collect();
    Ok(())
}

/// The type that a name leads to.
pub(super) fn traced<'t>(env: &'t TypeEnv, ty: &'t Type) -> &'t Type {
    match ty.as_ref() {
        TypeInner::Var(name) => env.0.get(name).unwrap_or(ty),
        _ => ty,
    }
}

/// A label, which a mark follows, or which may stand alone. Nothing if there is something else.
pub(super) fn label(
    words: &mut Words<'_>,
    mark: char,
    is_alone: bool,
) -> Result<Option<Label>, Wrong> {
    match &words.peek().kind {
        // No type is a number, but a value may be.
        Kind::Number(digits) if is_alone || mark == ':' || words.is_followed_by(mark) => {
            let number = number(digits).ok_or_else(|| {
                let why = "the number of a field is a whole one below 4294967296";
                Wrong::at(words.at(), why)
            })?;
            words.take()?;
            Ok(Some(Label::Id(number)))
        }
        Kind::Text(_) | Kind::Word(_) if is_alone || words.is_followed_by(mark) => {
            Ok(name(words)?.map(Label::Named))
        }
        _ => Ok(None),
    }
}

/// A name, with quotation marks or without.
pub(super) fn name(words: &mut Words<'_>) -> Result<Option<String>, Wrong> {
    let name = match &words.peek().kind {
        Kind::Word(word) => (*word).to_owned(),
        Kind::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(name) => name.to_owned(),
            Err(_) => return Err(Wrong::at(words.at(), "a name has to be UTF-8")),
        },
        _ => return Ok(None),
    };
    words.take()?;
    Ok(Some(name))
}

/// Of a field that has no label.
pub(super) fn unnamed(next: Option<u32>, at: usize) -> Result<Label, Wrong> {
    let number = next.ok_or_else(|| Wrong::at(at, "no number is left for this field"))?;
    Ok(Label::Unnamed(number))
}

pub(super) fn twice_there(at: usize, name: &str) -> Wrong {
    let why = format!("the field {name} is there twice, or another one has its number");
    Wrong::at(at, why)
}

pub(super) fn too_deep(at: usize, what: &str) -> Wrong {
    Wrong::at(at, format!("{what} are nested deeper than {DEEPEST}"))
}

fn number(digits: &str) -> Option<u32> {
    let digits = digits.replace('_', "");
    match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => digits.parse().ok(),
    }
}

fn primitive(name: &str) -> Option<TypeInner> {
    Some(match name {
        "null" => TypeInner::Null,
        "bool" => TypeInner::Bool,
        "nat" => TypeInner::Nat,
        "nat8" => TypeInner::Nat8,
        "nat16" => TypeInner::Nat16,
        "nat32" => TypeInner::Nat32,
        "nat64" => TypeInner::Nat64,
        "int" => TypeInner::Int,
        "int8" => TypeInner::Int8,
        "int16" => TypeInner::Int16,
        "int32" => TypeInner::Int32,
        "int64" => TypeInner::Int64,
        "float32" => TypeInner::Float32,
        "float64" => TypeInner::Float64,
        "text" => TypeInner::Text,
        "reserved" => TypeInner::Reserved,
        "empty" => TypeInner::Empty,
        _ => return None,
    })
}
