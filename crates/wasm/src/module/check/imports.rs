//! What a guest may import: functions of the System API, as they are.

use wasmparser::{FuncType, TypeRef};

use super::signature;
use crate::module::Refusal;
use crate::module::abi::{HOOKS, SYSTEM};
use crate::module::refusal::Named;
use crate::module::source::{Import, Source};
use crate::system::{self, Function};

/// The system function behind each import.
pub(super) fn check(source: &Source<'_>) -> Result<Vec<&'static Function>, Refusal> {
    let imports = source.imports.iter();
    imports.map(|import| function(import, source)).collect()
}

fn function(import: &Import<'_>, source: &Source<'_>) -> Result<&'static Function, Refusal> {
    let TypeRef::Func(ty) = import.ty else {
        return Err(Refusal::ImportKind {
            kind: kind(import.ty),
            module: Named::new(import.module),
            name: Named::new(import.name),
        });
    };
    let function = known(import)?;
    let found = source.types.get(ty as usize);
    let found = found.ok_or_else(|| unknown(import))?;
    fits(function, found, source.is64())
}

fn kind(ty: TypeRef) -> &'static str {
    match ty {
        TypeRef::Func(_) | TypeRef::FuncExact(_) => "function",
        TypeRef::Table(_) => "table",
        TypeRef::Memory(_) => "memory",
        TypeRef::Global(_) => "global",
        TypeRef::Tag(_) => "tag",
    }
}

fn known(import: &Import<'_>) -> Result<&'static Function, Refusal> {
    let function = match import.module {
        SYSTEM => system::find(import.name),
        _ => None,
    };
    function.ok_or_else(|| unknown(import))
}

fn unknown(import: &Import<'_>) -> Refusal {
    let hint = match import.module {
        SYSTEM => nearest(import.name).map_or_else(
            || "the System API has no such function (any more); update the CDK".to_owned(),
            |near| format!("did you mean ic0.{near}?"),
        ),
        HOOKS => "module `__` is the wall's own and not for guests".to_owned(),
        module if module.starts_with("wasi") => {
            "canisters have no WASI; run a WASI program as a tool, or link without it".to_owned()
        }
        _ => "canisters can import functions of ic0 only; define it in the module".to_owned(),
    };
    Refusal::UnknownImport {
        module: Named::new(import.module),
        name: Named::new(import.name),
        hint,
    }
}

/// The name in the table that begins or ends most like a wrong one.
fn nearest(wrong: &str) -> Option<&'static str> {
    let likeness = |name: &str| {
        let same = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
        let (a, b) = (name.as_bytes(), wrong.as_bytes());
        let end = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<_>>();
        same(a, b) + same(&end(a), &end(b))
    };
    let longest = wrong.len().min(64);
    let names = system::FUNCTIONS.iter().map(|function| function.name);
    let near = names.max_by_key(|name| (likeness(name), usize::MAX - name.len()))?;
    (longest == wrong.len() && likeness(near) * 3 >= longest * 2).then_some(near)
}

fn fits(
    function: &'static Function,
    found: &FuncType,
    is64: bool,
) -> Result<&'static Function, Refusal> {
    if !function.exists(is64) {
        return Err(Refusal::Only32 {
            name: function.name,
            instead: instead_of(function.name),
        });
    }
    match signature::is(found, function, is64) {
        true => Ok(function),
        false => Err(Refusal::ImportType {
            name: function.name,
            expected: signature::of(function, is64),
            found: signature::shown(found),
        }),
    }
}

fn instead_of(legacy: &str) -> &'static str {
    match legacy {
        name if name.starts_with("stable_") => "the stable64_ functions",
        "canister_cycle_balance" => "canister_cycle_balance128",
        _ => "the function of that name with 128 at its end",
    }
}
