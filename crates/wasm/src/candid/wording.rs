//! How a value that doesn't fit is told.

use super::fault::{Wrong, quoted};
use super::syntax::{Shape, Written};
use super::value::{Typist, number};
use candid::types::{Field, Type, TypeInner};

/// How many of several things are named.
const NAMED: usize = 12;

impl Typist<'_> {
    /// There have to be as many values as types, but for those that may be left out at the end.
    pub(super) fn count(self, given: usize, types: &[Type]) -> Result<(), Wrong> {
        let mut left_out = types.iter().skip(given);
        let is_missing = left_out.any(|ty| self.absent(ty).is_none());
        if given <= types.len() && !is_missing {
            return Ok(());
        }
        let expected = match types.len() {
            0 => "it takes no arguments".to_owned(),
            1 => format!("it takes 1 argument, {}", self.sketches(types)),
            n => format!("it takes {n} arguments, {}", self.sketches(types)),
        };
        let given = match given {
            0 => "none is given".to_owned(),
            1 => "1 is given".to_owned(),
            n => format!("{n} are given"),
        };
        Err(Wrong::new(format!("{expected}, and {given}")))
    }

    /// It is of another type.
    pub(super) fn mismatch(self, written: &Written, ty: &Type) -> Wrong {
        let found = match &written.kind {
            Shape::Null => "null",
            Shape::Bool(_) => "a bool",
            Shape::Whole(digits) => &format!("the number {}", quoted(digits).trim_matches('"')),
            Shape::Float(_) => "a number with a fraction",
            Shape::Text(_) => "a text",
            Shape::Blob(_) => "a blob",
            Shape::Opt(_) => "an opt",
            Shape::Vec(_) => "a vec",
            Shape::Record(_) => "a record",
            Shape::Variant(..) => "a variant",
            Shape::Principal(_) => "a principal",
            Shape::Service(_) => "a service",
            Shape::Func(..) => "a func",
        };
        let hint = match (&written.kind, ty.as_ref()) {
            (_, TypeInner::Opt(_)) => "opt stands before a value that may be missing: opt 1",
            (Shape::Whole(_), _) if number("1", ty).is_some() => {
                "the number is not one that this type has"
            }
            (Shape::Text(_), _) if number("1", ty).is_some() => {
                "a number stands without quotation marks: 1"
            }
            (_, TypeInner::Text) => "a text stands in quotation marks: \"x\"",
            (_, TypeInner::Principal) => "principal \"aaaaa-aa\" is a principal",
            (_, TypeInner::Record(_)) => "record { name = value }",
            (_, TypeInner::Variant(_)) => "variant { tag } or variant { tag = value }",
            (_, TypeInner::Vec(_)) => "vec { value; value }, or blob \"\\00\" for bytes",
            _ => "`casemate wasm candid NAME` prints the canister's interface",
        };
        let why = format!("expected {}, found {found}", self.sketch(ty));
        Wrong::at(written.at, why).hint(hint)
    }

    /// A type in a few words: what it is, not what is in it.
    pub(super) fn sketch(self, ty: &Type) -> String {
        match ty.as_ref() {
            TypeInner::Var(name) => quoted(name).trim_matches('"').to_owned(),
            TypeInner::Opt(ty) => format!("opt {}", self.inner(ty)),
            TypeInner::Vec(ty) if matches!(ty.as_ref(), TypeInner::Nat8) => "blob".to_owned(),
            TypeInner::Vec(ty) => format!("vec {}", self.inner(ty)),
            TypeInner::Record(fields) => format!("record {{ {} }}", self.listed(fields)),
            TypeInner::Variant(tags) => format!("variant {{ {} }}", self.listed(tags)),
            TypeInner::Func(_) => "func".to_owned(),
            TypeInner::Service(_) => "service".to_owned(),
            plain => format!("{plain:?}").to_lowercase(),
        }
    }

    /// One level deeper, and no further.
    fn inner(self, ty: &Type) -> String {
        match ty.as_ref() {
            TypeInner::Opt(_) => "opt …".to_owned(),
            TypeInner::Vec(of) if !matches!(of.as_ref(), TypeInner::Nat8) => "vec …".to_owned(),
            _ => self.sketch(ty),
        }
    }

    fn sketches(self, types: &[Type]) -> String {
        let shown: Vec<_> = types.iter().take(NAMED).map(|ty| self.sketch(ty)).collect();
        let more = if types.len() > NAMED { ", …" } else { "" };
        format!("({}{more})", shown.join(", "))
    }

    fn listed(self, fields: &[Field]) -> String {
        let shown = fields.iter().take(NAMED);
        let shown: Vec<_> = shown.map(|field| self.names.shown(&field.id)).collect();
        let more = if fields.len() > NAMED { "; …" } else { "" };
        format!("{}{more}", shown.join("; "))
    }

    /// Those that there are, some of them.
    pub(super) fn there_are(self, what: &str, fields: &[Field]) -> String {
        match fields {
            [] => format!("it has no {what}"),
            fields => format!("its {what} are {}", self.listed(fields)),
        }
    }
}
