//! Types of functions, compared and written for people.

use std::fmt::Write;

use wasmparser::{FuncType, ValType};

use crate::system::{Function, Number};

/// Whether a module's type is the one that a system function has for guests of that width.
pub(super) fn is(ty: &FuncType, function: &Function, is64: bool) -> bool {
    same(ty.params(), function.params(is64)) && same(ty.results(), function.results(is64))
}

fn same(types: &[ValType], numbers: impl Iterator<Item = Number>) -> bool {
    types.iter().copied().eq(numbers.map(val_type))
}

fn val_type(number: Number) -> ValType {
    match number {
        Number::I32 => ValType::I32,
        Number::I64 => ValType::I64,
    }
}

/// `(i32, i64) -> (i32)`, of a system function.
pub(super) fn of(function: &Function, is64: bool) -> String {
    let params: Vec<_> = function.params(is64).map(val_type).collect();
    let results: Vec<_> = function.results(is64).map(val_type).collect();
    written(&params, &results)
}

/// `(i32, i64) -> (i32)`, of a module's type.
pub(super) fn shown(ty: &FuncType) -> String {
    written(ty.params(), ty.results())
}

fn written(params: &[ValType], results: &[ValType]) -> String {
    format!("{} -> {}", list(params), list(results))
}

/// Lists longer than this are cut.
const SHOWN: usize = 10;

fn list(types: &[ValType]) -> String {
    let mut list = String::from("(");
    for (index, ty) in types.iter().take(SHOWN).enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        let _ = write!(list, "{comma}{ty}");
    }
    if types.len() > SHOWN {
        list.push_str(", …");
    }
    list.push(')');
    list
}
