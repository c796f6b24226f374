//! What is written becomes values of types: those of a method, or those that it looks like.

use super::DEEPEST;
use super::fault::Wrong;
use super::names::Names;
use super::syntax::{Shape, Written};
use super::types::{too_deep, traced};
use candid::types::value::{IDLField, IDLValue, VariantValue};
use candid::types::{Field, Label, Type, TypeEnv, TypeInner};
use std::collections::BTreeMap;

/// Types of a canister.
#[derive(Clone, Copy)]
pub(super) struct Typist<'e> {
    pub(super) env: &'e TypeEnv,
    pub(super) names: &'e Names,
}

impl Typist<'_> {
    /// Values of these types; those that may be left out at the end are added.
    pub(super) fn arguments(
        self,
        written: &[Written],
        types: &[Type],
    ) -> Result<Vec<IDLValue>, Wrong> {
        self.count(written.len(), types)?;
        let left_out = types.iter().skip(written.len()).map(|ty| self.absent(ty));
        let given = written.iter().zip(types);
        let mut values = given
            .map(|(value, ty)| self.typed(value, ty))
            .collect::<Result<Vec<_>, _>>()?;
        values.extend(left_out.flatten());
        Ok(values)
    }

    /// A value of a type.
    fn typed(self, written: &Written, ty: &Type) -> Result<IDLValue, Wrong> {
        let ty = traced(self.env, ty);
        if let Some(note) = &written.note {
            self.agrees(written.at, note, ty)?;
        }
        let wrong = || self.mismatch(written, ty);
        Ok(match (&written.kind, ty.as_ref()) {
            (_, TypeInner::Reserved) => IDLValue::Reserved,
            (Shape::Null, TypeInner::Null) => IDLValue::Null,
            (Shape::Null, TypeInner::Opt(_)) => IDLValue::None,
            (Shape::Opt(value), TypeInner::Opt(ty)) => {
                IDLValue::Opt(Box::new(self.typed(value, ty)?))
            }
            (Shape::Bool(is), TypeInner::Bool) => IDLValue::Bool(*is),
            (Shape::Whole(digits), _) => number(digits, ty).ok_or_else(wrong)?,
            (Shape::Float(number), TypeInner::Float64) => IDLValue::Float64(*number),
            (Shape::Float(number), TypeInner::Float32) => IDLValue::Float32(*number as f32),
            (Shape::Text(bytes), TypeInner::Text) => match std::str::from_utf8(bytes) {
                Ok(text) => IDLValue::Text(text.to_owned()),
                Err(_) => return Err(Wrong::at(written.at, "a text has to be UTF-8")),
            },
            (Shape::Blob(bytes), TypeInner::Vec(of)) if is_byte(self.env, of) => {
                IDLValue::Blob(bytes.clone())
            }
            (Shape::Vec(values), TypeInner::Vec(of)) => {
                let values = values.iter().map(|value| self.typed(value, of));
                together(values.collect::<Result<_, _>>()?, is_byte(self.env, of))
            }
            (Shape::Record(written_fields), TypeInner::Record(fields)) => {
                IDLValue::Record(self.record(written, written_fields, fields)?)
            }
            (Shape::Variant(label, value), TypeInner::Variant(tags)) => {
                self.variant(written.at, label, value.as_deref(), tags)?
            }
            (Shape::Principal(id), TypeInner::Principal) => IDLValue::Principal(*id),
            (Shape::Principal(id) | Shape::Service(id), TypeInner::Service(_)) => {
                IDLValue::Service(*id)
            }
            (Shape::Func(id, method), TypeInner::Func(_)) => IDLValue::Func(*id, method.clone()),
            _ => return Err(wrong()),
        })
    }

    fn record(
        self,
        whole: &Written,
        written: &[(Label, Written)],
        fields: &[Field],
    ) -> Result<Vec<IDLField>, Wrong> {
        let mut there: BTreeMap<u32, (&Label, &Written)> = written
            .iter()
            .map(|(label, value)| (label.get_id(), (label, value)))
            .collect();
        let mut values = Vec::with_capacity(fields.len());
        for field in fields {
            let value = match there.remove(&field.id.get_id()) {
                Some((_, value)) => self.typed(value, &field.ty)?,
                None => self.absent(&field.ty).ok_or_else(|| {
                    let missing = self.names.shown(&field.id);
                    Wrong::at(whole.at, format!("the field {missing} is missing"))
                        .hint(format!("it is a {}", self.sketch(&field.ty)))
                })?,
            };
            values.push(IDLField {
                id: field.id.as_ref().clone(),
                val: value,
            });
        }
        match there.first_key_value() {
            Some((_, (label, value))) => {
                let why = format!("there is no field {}", self.names.shown(label));
                Err(Wrong::at(value.at, why).hint(self.there_are("fields", fields)))
            }
            None => Ok(values),
        }
    }

    fn variant(
        self,
        at: usize,
        label: &Label,
        value: Option<&Written>,
        tags: &[Field],
    ) -> Result<IDLValue, Wrong> {
        let found = tags.iter().enumerate().find(|(_, tag)| *tag.id == *label);
        let (index, tag) = found.ok_or_else(|| {
            let why = format!("there is no tag {}", self.names.shown(label));
            Wrong::at(at, why).hint(self.there_are("tags", tags))
        })?;
        let value = match value {
            Some(value) => self.typed(value, &tag.ty)?,
            None => self.absent(&tag.ty).ok_or_else(|| {
                let why = format!("the tag {} has a value", self.names.shown(label));
                Wrong::at(at, why).hint(format!("it is a {}", self.sketch(&tag.ty)))
            })?,
        };
        Ok(tagged(tag.id.as_ref().clone(), value, index))
    }

    /// What stands for a value that isn't there, if one may be left out.
    pub(super) fn absent(self, ty: &Type) -> Option<IDLValue> {
        match traced(self.env, ty).as_ref() {
            TypeInner::Null => Some(IDLValue::Null),
            TypeInner::Opt(_) => Some(IDLValue::None),
            TypeInner::Reserved => Some(IDLValue::Reserved),
            _ => None,
        }
    }

    /// Whether a note says the same as the method, as far as it is a plain type.
    fn agrees(self, at: usize, note: &Type, ty: &Type) -> Result<(), Wrong> {
        let is_wider = matches!(
            (note.as_ref(), ty.as_ref()),
            (TypeInner::Nat, TypeInner::Int)
        );
        if note == ty || is_wider || !is_plain(note) || !is_plain(ty) {
            return Ok(());
        }
        let why = format!("expected {}, found {}", self.sketch(ty), self.sketch(note));
        Err(Wrong::at(at, why).hint("leave the type out: it is known from the canister"))
    }

    /// The types that values look like.
    pub(super) fn guesses(self, written: &[Written]) -> Result<Vec<Type>, Wrong> {
        written.iter().map(|value| self.guess(value, 0)).collect()
    }

    /// The type that a value looks like: a whole number is an `int`, if it doesn't say otherwise.
    fn guess(self, written: &Written, depth: usize) -> Result<Type, Wrong> {
        if depth > DEEPEST {
            return Err(too_deep(written.at, "values"));
        }
        if let Some(note) = &written.note {
            return Ok(note.clone());
        }
        let field = |label: &Label, ty| Field {
            id: Label::Id(label.get_id()).into(),
            ty,
        };
        let ty = match &written.kind {
            Shape::Null => TypeInner::Null,
            Shape::Bool(_) => TypeInner::Bool,
            Shape::Whole(_) => TypeInner::Int,
            Shape::Float(_) => TypeInner::Float64,
            Shape::Text(_) => TypeInner::Text,
            Shape::Blob(_) => TypeInner::Vec(TypeInner::Nat8.into()),
            Shape::Opt(value) => TypeInner::Opt(self.guess(value, depth + 1)?),
            Shape::Vec(values) => TypeInner::Vec(match values.first() {
                Some(value) => self.guess(value, depth + 1)?,
                None => TypeInner::Empty.into(),
            }),
            Shape::Record(fields) => {
                let fields = fields
                    .iter()
                    .map(|(label, value)| Ok(field(label, self.guess(value, depth + 1)?)));
                TypeInner::Record(fields.collect::<Result<_, _>>()?)
            }
            Shape::Variant(label, value) => {
                let ty = match value {
                    Some(value) => self.guess(value, depth + 1)?,
                    None => TypeInner::Null.into(),
                };
                TypeInner::Variant(vec![field(label, ty)])
            }
            Shape::Principal(_) => TypeInner::Principal,
            Shape::Service(_) => TypeInner::Service(Vec::new()),
            Shape::Func(..) => {
                let why = "the type of a function can't be told from its name";
                return Err(Wrong::at(written.at, why)
                    .hint("write it behind: func \"…\".m : func () -> ()"));
            }
        };
        Ok(ty.into())
    }
}

/// A whole number of a type, if it fits.
pub(super) fn number(digits: &str, ty: &Type) -> Option<IDLValue> {
    Some(match ty.as_ref() {
        TypeInner::Nat => IDLValue::Nat(digits.parse().ok()?),
        TypeInner::Int => IDLValue::Int(digits.parse().ok()?),
        TypeInner::Nat8 => IDLValue::Nat8(digits.parse().ok()?),
        TypeInner::Nat16 => IDLValue::Nat16(digits.parse().ok()?),
        TypeInner::Nat32 => IDLValue::Nat32(digits.parse().ok()?),
        TypeInner::Nat64 => IDLValue::Nat64(digits.parse().ok()?),
        TypeInner::Int8 => IDLValue::Int8(digits.parse().ok()?),
        TypeInner::Int16 => IDLValue::Int16(digits.parse().ok()?),
        TypeInner::Int32 => IDLValue::Int32(digits.parse().ok()?),
        TypeInner::Int64 => IDLValue::Int64(digits.parse().ok()?),
        TypeInner::Float32 => IDLValue::Float32(digits.parse().ok()?),
        TypeInner::Float64 => IDLValue::Float64(digits.parse().ok()?),
        _ => return None,
    })
}

/// A variant's value.
pub(super) fn tagged(label: Label, value: IDLValue, index: usize) -> IDLValue {
    let field = IDLField {
        id: label,
        val: value,
    };
    IDLValue::Variant(VariantValue(Box::new(field), index as u64))
}

/// Values as a list, or bytes as a blob.
pub(super) fn together(values: Vec<IDLValue>, are_bytes: bool) -> IDLValue {
    let byte = |value: &IDLValue| match value {
        IDLValue::Nat8(byte) => Some(*byte),
        _ => None,
    };
    match are_bytes
        .then(|| values.iter().map(byte).collect())
        .flatten()
    {
        Some(bytes) => IDLValue::Blob(bytes),
        None => IDLValue::Vec(values),
    }
}

pub(super) fn is_byte(env: &TypeEnv, ty: &Type) -> bool {
    matches!(traced(env, ty).as_ref(), TypeInner::Nat8)
}

fn is_plain(ty: &Type) -> bool {
    !matches!(
        ty.as_ref(),
        TypeInner::Var(_)
            | TypeInner::Opt(_)
            | TypeInner::Vec(_)
            | TypeInner::Record(_)
            | TypeInner::Variant(_)
            | TypeInner::Func(_)
            | TypeInner::Service(_)
            | TypeInner::Reserved
    )
}
