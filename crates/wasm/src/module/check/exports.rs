//! What a guest exports: its entry points.

use std::collections::HashSet;

use wasmparser::ExternalKind;

use super::signature;
use crate::module::abi;
use crate::module::profile::{EntryPoint, Method, MethodKind};
use crate::module::refusal::{Counted, Named};
use crate::module::source::{Export, Source, at_most};
use crate::module::{Limits, Refusal};

/// The entry points of a guest.
#[derive(Default)]
pub(in crate::module) struct Entries<'a> {
    /// Names and functions, as they are exported.
    pub(in crate::module) functions: Vec<(&'a str, u32)>,
    pub(in crate::module) methods: Vec<Method>,
    pub(in crate::module) points: Vec<EntryPoint>,
}

pub(super) fn check<'a>(source: &Source<'a>, limits: &Limits) -> Result<Entries<'a>, Refusal> {
    let mut entries = Entries::default();
    for export in &source.exports {
        if is_reserved(export.name) {
            return Err(Refusal::ReservedExport {
                name: Named::new(export.name),
            });
        }
        if export.name.starts_with("canister_") {
            entries.add(export)?;
            is_entry(export, source)?;
        }
    }
    entries.bound(limits)?;
    entries.distinct()?;
    Ok(entries)
}

/// Linkers export names like `__heap_base`, so only the wall's own ones are taken.
fn is_reserved(name: &str) -> bool {
    let own = [
        abi::HEAP,
        abi::STABLE,
        abi::TOUCHED,
        abi::INSTRUCTIONS,
        abi::STABLE_READS_LEFT,
        abi::STABLE_WRITES_LEFT,
        abi::TABLE,
        abi::START,
    ];
    own.contains(&name) || name.starts_with("__global_")
}

impl<'a> Entries<'a> {
    fn add(&mut self, export: &Export<'a>) -> Result<(), Refusal> {
        // What stands behind the first space belongs to the method's name.
        match export.name.split_once(' ') {
            Some((prefix, name)) => {
                let kind = MethodKind::from_prefix(prefix).ok_or_else(|| {
                    let hint = "methods are canister_update, canister_query or \
                                canister_composite_query, a space, and the name";
                    unknown(export, hint)
                })?;
                let name = name.to_owned();
                self.methods.push(Method { name, kind });
            }
            None => {
                let point = EntryPoint::from_name(export.name).ok_or_else(|| {
                    let hint = "names that begin with canister_ are for entry points; \
                                rename the export if it is none";
                    unknown(export, hint)
                })?;
                self.points.push(point);
            }
        }
        self.functions.push((export.name, export.index));
        Ok(())
    }

    fn bound(&self, limits: &Limits) -> Result<(), Refusal> {
        let hint = "put several operations behind one method";
        let methods = self.methods.len() as u64;
        at_most(Counted::Methods, methods, limits.methods as u64, hint)?;
        let bytes: usize = self.methods.iter().map(|method| method.name.len()).sum();
        let limit = limits.method_name_bytes as u64;
        let hint = "give the methods shorter names";
        at_most(Counted::MethodNameBytes, bytes as u64, limit, hint)
    }

    fn distinct(&self) -> Result<(), Refusal> {
        let mut seen = HashSet::new();
        match self
            .methods
            .iter()
            .find(|method| !seen.insert(&method.name))
        {
            Some(twice) => Err(Refusal::DuplicateMethod {
                name: Named::new(&twice.name),
            }),
            None => Ok(()),
        }
    }
}

fn unknown(export: &Export<'_>, hint: &'static str) -> Refusal {
    Refusal::UnknownExport {
        name: Named::new(export.name),
        hint,
    }
}

fn is_entry(export: &Export<'_>, source: &Source<'_>) -> Result<(), Refusal> {
    let kind = match export.kind {
        ExternalKind::Func | ExternalKind::FuncExact => {
            let ty = source.function_type(export.index);
            return match ty {
                Some(ty) if ty.params().is_empty() && ty.results().is_empty() => Ok(()),
                other => Err(Refusal::EntryType {
                    name: Named::new(export.name),
                    found: other.map(signature::shown).unwrap_or_default(),
                }),
            };
        }
        ExternalKind::Table => "table",
        ExternalKind::Memory => "memory",
        ExternalKind::Global => "global",
        ExternalKind::Tag => "tag",
    };
    Err(Refusal::EntryKind {
        name: Named::new(export.name),
        kind,
    })
}
