//! The prepared module, section by section: what was there, and what is added.

mod types;

use self::types::Types;
use wasm_encoder::ValType::{I32, I64};
use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{
    CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, EntityType, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection,
    MemorySection, MemoryType, Module, TableSection,
};
use wasmparser::DataKind;

use super::check::Checked;
use super::indices::{HEAP, Indices, STABLE, STABLE_FUNCTIONS, TOUCHED, is_native};
use super::meter::{Meter, Seen};
use super::places::Marks;
use super::source::Source;
use super::{Limits, Refusal, abi, added, callbacks, heap, stable};

/// A module that was written again.
pub(super) struct Rewritten {
    pub(super) code: Vec<u8>,
    /// What was seen of its instructions on the way.
    pub(super) seen: Seen,
    /// Where they were; see [`Places`](super::Places).
    pub(super) places: Vec<u8>,
}

/// Writes a module again.
pub(super) fn rewrite(
    source: &Source<'_>,
    checked: &Checked<'_>,
    indices: &Indices,
    limits: &Limits,
) -> Result<Rewritten, Refusal> {
    let mut moved = Moved(indices);
    let types = Types::new(source);
    let (code, seen, marks) = code(source, indices, limits)?;
    let mut module = Module::new();
    module.section(&types.section(source, &mut moved)?);
    module.section(&imports(source, checked, &types));
    module.section(&functions(source, indices, &types));
    if let Some(tables) = source.table_section.clone() {
        let mut section = TableSection::new();
        moved.parse_table_section(&mut section, tables)?;
        module.section(&section);
    }
    module.section(&memories(source, limits));
    module.section(&globals(source, &mut moved)?);
    module.section(&exports(source, checked, indices));
    if let Some(elements) = source.elements.clone() {
        let mut section = ElementSection::new();
        moved.parse_element_section(&mut section, elements)?;
        module.section(&section);
    }
    if let Some(count) = source.data_count {
        module.section(&DataCountSection { count });
    }
    module.section(&code);
    if !source.data.is_empty() {
        module.section(&data(source));
    }
    let code = module.finish();
    Ok(Rewritten {
        places: marks.write(&code, indices),
        code,
        seen,
    })
}

/// Functions have new indices; everything else keeps its own.
struct Moved<'a>(&'a Indices);

impl Reencode for Moved<'_> {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, old: u32) -> Result<u32, reencode::Error<Self::Error>> {
        Ok(self.0.function(old))
    }
}

impl From<reencode::Error> for Refusal {
    fn from(error: reencode::Error) -> Self {
        match error {
            reencode::Error::ParseError(error) => error.into(),
            // Only what is off can't be written again, and that was refused before.
            other => Self::Invalid {
                offset: 0,
                reason: other.to_string(),
            },
        }
    }
}

fn imports(source: &Source<'_>, checked: &Checked<'_>, types: &Types) -> ImportSection {
    let mut section = ImportSection::new();
    let guest = source.functions.iter().zip(&checked.imports);
    for (ty, function) in guest.filter(|(_, function)| !is_native(function)) {
        section.import(abi::SYSTEM, function.name, EntityType::Function(*ty));
    }
    let grow = types.of(&[I64, I64], &[I32]);
    let hooks = [
        (abi::OUT_OF_INSTRUCTIONS, types.nothing()),
        (abi::GROW_HEAP, grow),
        (abi::GROW_STABLE, grow),
        (abi::INTERNAL_TRAP, types.of(&[I32], &[])),
    ];
    for (name, ty) in hooks {
        section.import(abi::HOOKS, name, EntityType::Function(ty));
    }
    section
}

fn functions(source: &Source<'_>, indices: &Indices, types: &Types) -> FunctionSection {
    let mut section = FunctionSection::new();
    let defined = source.functions.iter().skip(source.imported as usize);
    for ty in defined {
        section.function(*ty);
    }
    let (charge32, charge64) = (types.of(&[I32], &[I32]), types.of(&[I64], &[I64]));
    section.function(charge32).function(charge64);
    section.function(if indices.is64 { charge64 } else { charge32 });
    if indices.stable.is_some() {
        for function in STABLE_FUNCTIONS
            .iter()
            .filter_map(|name| crate::system::find(name))
        {
            section.function(types.function(function));
        }
    }
    section
}

fn memories(source: &Source<'_>, limits: &Limits) -> MemorySection {
    let heap = heap(source, limits);
    let stable = limits.stable_pages();
    let memory = |minimum, maximum, memory64| MemoryType {
        minimum,
        maximum: Some(maximum),
        memory64,
        shared: false,
        page_size_log2: None,
    };
    let mut section = MemorySection::new();
    section.memory(memory(heap.minimum, heap.maximum, source.is64()));
    section.memory(memory(0, stable, true));
    section.memory(memory(0, abi::touched_pages(stable), false));
    section
}

fn globals(source: &Source<'_>, moved: &mut Moved<'_>) -> Result<GlobalSection, Refusal> {
    let mut section = GlobalSection::new();
    if let Some(globals) = source.global_section.clone() {
        moved.parse_global_section(&mut section, globals)?;
    }
    let counter = GlobalType {
        val_type: I64,
        mutable: true,
        shared: false,
    };
    for _ in [
        abi::INSTRUCTIONS,
        abi::STABLE_READS_LEFT,
        abi::STABLE_WRITES_LEFT,
    ] {
        section.global(counter, &ConstExpr::i64_const(0));
    }
    Ok(section)
}

fn exports(source: &Source<'_>, checked: &Checked<'_>, indices: &Indices) -> ExportSection {
    let mut section = ExportSection::new();
    for (name, function) in &checked.entries.functions {
        section.export(name, ExportKind::Func, indices.function(*function));
    }
    if let Some(start) = source.start {
        section.export(abi::START, ExportKind::Func, indices.function(start));
    }
    for (name, memory) in [
        (abi::HEAP, HEAP),
        (abi::STABLE, STABLE),
        (abi::TOUCHED, TOUCHED),
    ] {
        section.export(name, ExportKind::Memory, memory);
    }
    for (name, global) in [
        (abi::INSTRUCTIONS, indices.instructions),
        (abi::STABLE_READS_LEFT, indices.reads_left),
        (abi::STABLE_WRITES_LEFT, indices.writes_left),
    ] {
        section.export(name, ExportKind::Global, global);
    }
    let all = (0..).zip(&source.globals);
    let mutable = all.filter(|(_, global)| global.ty.mutable);
    for (n, (index, _)) in mutable.enumerate() {
        section.export(&abi::global(n), ExportKind::Global, index);
    }
    if callbacks(source).is_some() {
        section.export(abi::TABLE, ExportKind::Table, 0);
    }
    section
}

fn code(
    source: &Source<'_>,
    indices: &Indices,
    limits: &Limits,
) -> Result<(CodeSection, Seen, Marks), Refusal> {
    let mut section = CodeSection::new();
    let mut meter = Meter::new(source.bytes, indices, limits);
    for (index, body) in (source.imported..).zip(&source.bodies) {
        section.raw(&meter.body(index, body)?);
    }
    let heap = heap(source, limits);
    let mut add = |function: &Function| {
        section.function(function);
    };
    add(&added::charge32(indices));
    add(&added::charge64(indices));
    add(&added::grow(indices, heap.maximum));
    if indices.stable.is_some() {
        let functions = stable::functions(indices, limits.stable_pages());
        functions.iter().for_each(add);
    }
    let (seen, marks) = meter.finish();
    Ok((section, seen, marks))
}

/// Segments keep their indices; active ones, which are dropped once they were applied,
/// become empty ones that nobody applies.
fn data(source: &Source<'_>) -> DataSection {
    let mut section = DataSection::new();
    for data in &source.data {
        let kept = match data.kind {
            DataKind::Passive => data.data,
            DataKind::Active { .. } => &[],
        };
        section.passive(kept.iter().copied());
    }
    section
}
