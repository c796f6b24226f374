//! A module taken apart: valid by the rules of Wasm, and nothing of it changed.

use wasmparser::{
    CustomSectionReader, Data, ElementSectionReader, ExternalKind, FuncType,
    FuncValidatorAllocations, FunctionBody, Global, GlobalSectionReader, KnownCustom, MemoryType,
    Parser, Payload, TableSectionReader, TableType, TypeRef, TypeSectionReader, ValidPayload,
    Validator,
};

use super::refusal::Counted;
use super::{Limits, Refusal, features};

/// The parts of a module that later steps look at or write again.
#[derive(Default)]
pub(super) struct Source<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) type_section: Option<TypeSectionReader<'a>>,
    pub(super) types: Vec<FuncType>,
    pub(super) imports: Vec<Import<'a>>,
    /// How many functions are imported: the index of the first that the module defines.
    pub(super) imported: u32,
    /// The type of each function, imported ones first.
    pub(super) functions: Vec<u32>,
    pub(super) table_section: Option<TableSectionReader<'a>>,
    pub(super) tables: Vec<TableType>,
    pub(super) memory: Option<MemoryType>,
    pub(super) global_section: Option<GlobalSectionReader<'a>>,
    pub(super) globals: Vec<Global<'a>>,
    pub(super) exports: Vec<Export<'a>>,
    pub(super) start: Option<u32>,
    pub(super) elements: Option<ElementSectionReader<'a>>,
    pub(super) data_count: Option<u32>,
    pub(super) data: Vec<Data<'a>>,
    pub(super) bodies: Vec<FunctionBody<'a>>,
    /// Names and contents of custom sections called `icp:…`.
    pub(super) metadata: Vec<(&'a str, &'a [u8])>,
    /// What the name section calls functions, by index in the module.
    pub(super) names: Vec<(u32, &'a str)>,
}

/// Something that the module imports, except its memory.
pub(super) struct Import<'a> {
    pub(super) module: &'a str,
    pub(super) name: &'a str,
    pub(super) ty: TypeRef,
}

/// Something that the module exports.
pub(super) struct Export<'a> {
    pub(super) name: &'a str,
    pub(super) kind: ExternalKind,
    pub(super) index: u32,
}

impl<'a> Source<'a> {
    /// Takes the module apart and validates it.
    ///
    /// What bounds the work of the steps after it is refused here, before it is done.
    pub(super) fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, Refusal> {
        crate::met::Deed::Parsed.note();
        let mut source = Self {
            bytes,
            ..Self::default()
        };
        let mut validator = Validator::new_with_features(features::ON);
        let mut scratch = FuncValidatorAllocations::default();
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            source.bound(&payload, limits)?;
            match validator.payload(&payload) {
                Ok(ValidPayload::Func(function, body)) => {
                    let mut function = function.into_validator(scratch);
                    let valid = function.validate(&body);
                    valid.map_err(|error| features::name(bytes, &error))?;
                    scratch = function.into_allocations();
                }
                Ok(_) => {}
                Err(error) => return Err(features::name(bytes, &error)),
            }
            source.take(payload, limits)?;
        }
        Ok(source)
    }

    /// Whether the guest's pointers have 64 bits; 32 if it has no memory.
    pub(super) fn is64(&self) -> bool {
        self.memory.is_some_and(|memory| memory.memory64)
    }

    /// The type of a function, by its index in the module.
    pub(super) fn function_type(&self, index: u32) -> Option<&FuncType> {
        let ty = self.functions.get(index as usize)?;
        self.types.get(*ty as usize)
    }

    fn bound(&self, payload: &Payload<'_>, limits: &Limits) -> Result<(), Refusal> {
        let hint = "split the canister, or link with --gc-sections";
        let count = |what, has: u32, limit: u32| at_most(what, has, limit, hint);
        match payload {
            Payload::TypeSection(types) => count(Counted::Types, types.count(), limits.types),
            Payload::ImportSection(imports) => {
                count(Counted::Imports, imports.count(), limits.types)
            }
            Payload::FunctionSection(functions) => {
                count(Counted::Functions, functions.count(), limits.functions)
            }
            Payload::GlobalSection(globals) => {
                count(Counted::Globals, globals.count(), limits.globals)
            }
            Payload::CodeSectionStart { size, .. } => {
                let limit = limits.code_bytes as u64;
                at_most(Counted::CodeBytes, *size, limit, hint)
            }
            Payload::CodeSectionEntry(body) => self.bound_function(body, limits),
            _ => Ok(()),
        }
    }

    fn bound_function(&self, body: &FunctionBody<'_>, limits: &Limits) -> Result<(), Refusal> {
        let has = body.range().len();
        if has <= limits.function_bytes {
            return Ok(());
        }
        let defined = u32::try_from(self.bodies.len()).unwrap_or(u32::MAX);
        Err(Refusal::FunctionTooLarge {
            function: self.imported.saturating_add(defined),
            what: "bytes",
            has: has as u64,
            limit: limits.function_bytes as u64,
        })
    }

    fn take(&mut self, payload: Payload<'a>, limits: &Limits) -> Result<(), Refusal> {
        match payload {
            Payload::TypeSection(types) => {
                self.type_section = Some(types.clone());
                self.types = types
                    .into_iter_err_on_gc_types()
                    .collect::<Result<_, _>>()?;
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    self.take_import(import?);
                }
            }
            Payload::FunctionSection(functions) => {
                for ty in functions {
                    self.functions.push(ty?);
                }
            }
            Payload::TableSection(tables) => {
                self.table_section = Some(tables.clone());
                for table in tables {
                    self.tables.push(table?.ty);
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    self.memory = Some(memory?);
                }
            }
            Payload::GlobalSection(globals) => {
                self.global_section = Some(globals.clone());
                self.globals = globals.into_iter().collect::<Result<_, _>>()?;
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    self.exports.push(Export {
                        name: export.name,
                        kind: export.kind,
                        index: export.index,
                    });
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(elements) => self.elements = Some(elements),
            Payload::DataCountSection { count, .. } => self.data_count = Some(count),
            Payload::DataSection(data) => {
                self.data = data.into_iter().collect::<Result<_, _>>()?;
            }
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            Payload::CustomSection(custom) => self.take_custom(&custom, limits),
            _ => {}
        }
        Ok(())
    }

    fn take_import(&mut self, import: wasmparser::Import<'a>) {
        let own_memory = import.module == "env" && import.name == "memory";
        match import.ty {
            TypeRef::Memory(memory) if own_memory => {
                self.memory = Some(memory);
                return;
            }
            TypeRef::Func(ty) => {
                self.functions.push(ty);
                self.imported += 1;
            }
            _ => {}
        }
        self.imports.push(Import {
            module: import.module,
            name: import.name,
            ty: import.ty,
        });
    }

    fn take_custom(&mut self, custom: &CustomSectionReader<'a>, limits: &Limits) {
        // One more than may be is enough to refuse.
        let room = self.metadata.len() <= limits.metadata_sections;
        if room && custom.name().starts_with("icp:") {
            self.metadata.push((custom.name(), custom.data()));
        }
        // Names are for people: broken ones are left out, and no reason to refuse.
        let KnownCustom::Name(names) = custom.as_known() else {
            return;
        };
        let most = limits.functions.saturating_add(limits.types) as usize;
        for subsection in names.into_iter().map_while(Result::ok) {
            if let wasmparser::Name::Function(map) = subsection {
                let room = most.saturating_sub(self.names.len());
                let named = map.into_iter().map_while(Result::ok).take(room);
                self.names
                    .extend(named.map(|naming| (naming.index, naming.name)));
            }
        }
    }
}

/// Refuses more of something than there may be.
pub(super) fn at_most(
    what: Counted,
    has: impl Into<u64>,
    limit: impl Into<u64>,
    hint: &'static str,
) -> Result<(), Refusal> {
    let (has, limit) = (has.into(), limit.into());
    match has > limit {
        true => Err(Refusal::TooMany {
            what,
            has,
            limit,
            hint,
        }),
        false => Ok(()),
    }
}
