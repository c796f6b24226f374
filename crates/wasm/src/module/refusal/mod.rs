//! Why a module is not run: the rule, the item, and what its author can do.

mod counted;
mod quoted;

pub use self::counted::Counted;
pub use self::quoted::Named;
pub(super) use self::quoted::quoted;

/// The rule that a module breaks. Its text ends in a line `hint: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes are gzip, but broken.
    #[error(
        "can't unpack the module: {0}\nhint: check that the file was downloaded or copied whole"
    )]
    Gzip(String),
    /// Unpacked it is larger than it may be.
    #[error(
        "the module is larger than {limit} bytes\nhint: strip debug information, or shrink it with wasm-opt"
    )]
    ModuleTooLarge {
        /// The bytes that it may have.
        limit: usize,
    },
    /// Neither Wasm nor text of it.
    #[error(
        "not a Wasm module: it begins with none of \\0asm, gzip's 1f 8b and \"(\"\nhint: give a .wasm, .wasm.gz or .wat file"
    )]
    NotWasm,
    /// Text that is longer than it may be.
    #[error(
        "the module's text is longer than {limit} bytes\nhint: make it binary, with `wat2wasm`"
    )]
    TextTooLarge {
        /// The bytes that it may have.
        limit: usize,
    },
    /// The text doesn't parse.
    #[error("can't read the module's text: {0}\nhint: check it with `wat2wasm`")]
    Text(String),
    /// A component and not a module.
    #[error(
        "this is a component, not a module\nhint: give the core module, before `wasm-tools component new`"
    )]
    Component,
    /// It breaks a rule of Wasm itself.
    #[error(
        "not a valid module, at byte {offset}: {reason}\nhint: rebuild it with a current toolchain"
    )]
    Invalid {
        /// Where, in the unpacked module.
        offset: usize,
        /// What is wrong.
        reason: String,
    },
    /// It uses a proposal that is switched off.
    #[error(
        "the module uses {feature}, which is off, at byte {offset}\nhint: build it without {flag}"
    )]
    Feature {
        /// The proposal's name.
        feature: &'static str,
        /// Where, in the unpacked module.
        offset: usize,
        /// The compiler's flag.
        flag: &'static str,
    },
    /// An instruction that is off by itself.
    #[error(
        "function {function} uses {instruction}, which is off, at byte {offset}\nhint: tables are fixed once the module is loaded; change memory instead"
    )]
    Instruction {
        /// The function's index in the module.
        function: u32,
        /// The instruction's name.
        instruction: &'static str,
        /// Where, in the unpacked module.
        offset: usize,
    },
    /// There are more of something than there may be.
    #[error("the module has {has} {what}, and may have {limit}\nhint: {hint}")]
    TooMany {
        /// Of what.
        what: Counted,
        /// How many there are.
        has: u64,
        /// How many there may be.
        limit: u64,
        /// What to do.
        hint: &'static str,
    },
    /// One function is too large.
    #[error(
        "function {function} has {has} {what}, and may have {limit}\nhint: split it, or build with less inlining"
    )]
    FunctionTooLarge {
        /// The function's index in the module.
        function: u32,
        /// Bytes, or instructions and what else the compiler pays for.
        what: &'static str,
        /// How many there are.
        has: u64,
        /// How many there may be.
        limit: u64,
    },
    /// An import that nobody provides.
    #[error("nobody provides the import {module}.{name}\nhint: {hint}")]
    UnknownImport {
        /// The module imported from.
        module: Named,
        /// The item.
        name: Named,
        /// What to do.
        hint: String,
    },
    /// A system function imported with another type.
    #[error(
        "ic0.{name} is {expected}, and not {found}\nhint: take the declarations of a current CDK for this pointer width"
    )]
    ImportType {
        /// The function.
        name: &'static str,
        /// As it is.
        expected: String,
        /// As the module has it.
        found: String,
    },
    /// A system function that guests of this width don't have.
    #[error("ic0.{name} is not there for a 64-bit guest\nhint: use {instead}")]
    Only32 {
        /// The function.
        name: &'static str,
        /// What to use.
        instead: &'static str,
    },
    /// Something else than a function or the memory is imported.
    #[error(
        "the module imports a {kind}, {module}.{name}\nhint: define it in the module; only functions of ic0 and env.memory can be imported"
    )]
    ImportKind {
        /// What it is.
        kind: &'static str,
        /// The module imported from.
        module: Named,
        /// The item.
        name: Named,
    },
    /// A mutable global whose value can't be kept between calls.
    #[error(
        "global {global} is mutable and holds a reference\nhint: references can't be kept between calls; keep a table index"
    )]
    ReferenceGlobal {
        /// Its index in the module.
        global: u32,
    },
    /// Memory that is larger at the start than it may ever be.
    #[error(
        "the memory begins with {minimum} pages, and may reach {limit}\nhint: link with a smaller --initial-memory or stack"
    )]
    HeapTooLarge {
        /// As declared.
        minimum: u64,
        /// What it may reach.
        limit: u64,
    },
    /// A segment's place is not a plain constant.
    #[error(
        "the offset of {kind} segment {segment} is not a constant\nhint: link without position-independent code"
    )]
    SegmentOffset {
        /// Data or element.
        kind: &'static str,
        /// Its index.
        segment: u32,
    },
    /// A segment lies behind the end of what it goes to.
    #[error(
        "{kind} segment {segment} ends at {end}, behind the {limit} there are at the start\nhint: declare more of it at the start"
    )]
    SegmentOutside {
        /// Data or element.
        kind: &'static str,
        /// Its index.
        segment: u32,
        /// Where it ends, in bytes or entries.
        end: u64,
        /// The bytes or entries that there are.
        limit: u64,
    },
    /// An export in the name space of entry points that is none.
    #[error("there is no entry point {name}\nhint: {hint}")]
    UnknownExport {
        /// The export.
        name: Named,
        /// What to do.
        hint: &'static str,
    },
    /// An export with a name that the wall uses itself.
    #[error(
        "the export {name} has a name that is reserved\nhint: rename it; names of the wall's own exports are taken"
    )]
    ReservedExport {
        /// The export.
        name: Named,
    },
    /// An entry point that is not a function.
    #[error("the entry point {name} is a {kind}\nhint: export a function under that name")]
    EntryKind {
        /// The export.
        name: Named,
        /// What it is.
        kind: &'static str,
    },
    /// An entry point with parameters or results.
    #[error(
        "the entry point {name} is {found}, and has to be () -> ()\nhint: read arguments with msg_arg_data_copy and answer with msg_reply"
    )]
    EntryType {
        /// The export.
        name: Named,
        /// Its type.
        found: String,
    },
    /// One method name exported as two kinds.
    #[error(
        "the method {name} is exported more than once\nhint: make it an update or a query, not both"
    )]
    DuplicateMethod {
        /// The method.
        name: Named,
    },
    /// A metadata section without a visibility.
    #[error(
        "the custom section {name} is neither icp:public nor icp:private\nhint: name it `icp:public NAME` or `icp:private NAME`"
    )]
    MetadataName {
        /// The section.
        name: Named,
    },
    /// Two metadata sections of one name.
    #[error("the metadata {name} is there twice\nhint: keep one of the custom sections")]
    DuplicateMetadata {
        /// The name behind the visibility.
        name: Named,
    },
}

impl From<wasmparser::Error> for Refusal {
    fn from(error: wasmparser::Error) -> Self {
        Self::Invalid {
            offset: error.offset(),
            reason: quoted(error.message()),
        }
    }
}
