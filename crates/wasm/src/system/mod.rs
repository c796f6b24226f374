//! The System API: what a canister may call, how, and from where.
//!
//! [`FUNCTIONS`] is the one table of it. Validation reads names and types from it, the
//! linker reads what it has to provide, and the test matrix reads each function's
//! legality in each [`Context`]. A function that is called from a context that its row
//! doesn't name traps; that is the host's to do, with [`Function::is_legal`].
//!
//! `matrix.txt` is the same to be read, and kept so by a test.
//!
//! Source: the Internet Computer interface specification, "Overview of imports".

pub(crate) mod price;
mod table;

pub use table::FUNCTIONS;

/// A number type of Wasm, as it stands in a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
}

/// A parameter or result of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// An address, offset, size or table index: as wide as the guest's memory.
    Pointer,
    /// 32 bits whatever the guest's width.
    I32,
    /// 64 bits whatever the guest's width.
    I64,
}

impl Value {
    /// The type in a guest with a 64-bit memory (`is64`) or another.
    pub const fn number(self, is64: bool) -> Number {
        match self {
            Self::I64 => Number::I64,
            Self::Pointer if is64 => Number::I64,
            Self::Pointer | Self::I32 => Number::I32,
        }
    }
}

/// Where what a function says or does lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// Fixed for the call, from the snapshot.
    Static,
    /// The call's argument, caller and payloads.
    Argument,
    /// An effect, collected and applied when the call has succeeded.
    Effect,
    /// Clocks and counters.
    Metering,
    /// Replaced by code in the module itself; the host provides nothing.
    Native,
    /// For the one who debugs the canister.
    Debug,
}

/// What the guest is run as: the letters of the interface specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Context {
    /// `s`: `canister_start`, once per module.
    Start,
    /// `I`: `canister_init` and `canister_post_upgrade`.
    Init,
    /// `G`: `canister_pre_upgrade`.
    PreUpgrade,
    /// `U`: `canister_update`.
    Update,
    /// `RQ`: `canister_query` whose result is agreed upon like an update's.
    ReplicatedQuery,
    /// `NRQ`: `canister_query` as it is mostly run.
    Query,
    /// `TQ`: `canister_query` that transforms the answer to an HTTP request.
    Transform,
    /// `CQ`: `canister_composite_query`.
    CompositeQuery,
    /// `Ry`: the callback for a reply.
    Reply,
    /// `Rt`: the callback for a reject.
    Reject,
    /// `CRy`: the callback for a reply to a composite query.
    CompositeReply,
    /// `CRt`: the callback for a reject of a composite query.
    CompositeReject,
    /// `C`: the callback after one of the above has trapped.
    Cleanup,
    /// `CC`: the same in a composite query.
    CompositeCleanup,
    /// `F`: `canister_inspect_message`.
    Inspect,
    /// `T`: `canister_heartbeat`, `canister_global_timer`, `canister_on_low_wasm_memory`.
    System,
}

impl Context {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Start,
        Self::Init,
        Self::PreUpgrade,
        Self::Update,
        Self::ReplicatedQuery,
        Self::Query,
        Self::Transform,
        Self::CompositeQuery,
        Self::Reply,
        Self::Reject,
        Self::CompositeReply,
        Self::CompositeReject,
        Self::Cleanup,
        Self::CompositeCleanup,
        Self::Inspect,
        Self::System,
    ];

    /// How it is called in messages to the author of a canister.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Init => "init",
            Self::PreUpgrade => "pre-upgrade",
            Self::Update => "update",
            Self::ReplicatedQuery => "replicated query",
            Self::Query => "query",
            Self::Transform => "transform",
            Self::CompositeQuery => "composite query",
            Self::Reply => "reply callback",
            Self::Reject => "reject callback",
            Self::CompositeReply => "reply callback of a composite query",
            Self::CompositeReject => "reject callback of a composite query",
            Self::Cleanup => "cleanup callback",
            Self::CompositeCleanup => "cleanup callback of a composite query",
            Self::Inspect => "inspect-message",
            Self::System => "system task",
        }
    }
}

/// A set of contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contexts(u16);

impl Contexts {
    /// Exactly these.
    pub const fn of(contexts: &[Context]) -> Self {
        let mut bits = 0;
        let mut next = 0;
        while next < contexts.len() {
            bits |= 1 << contexts[next] as u16;
            next += 1;
        }
        Self(bits)
    }

    /// These and those.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Every context.
    pub const fn every() -> Self {
        Self::of(&Context::ALL)
    }

    /// Whether it is one of them.
    pub const fn contains(self, context: Context) -> bool {
        self.0 & (1 << context as u16) != 0
    }
}

/// One function of the System API.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    /// Its name in module `ic0`.
    pub name: &'static str,
    /// What it takes.
    pub params: &'static [Value],
    /// What it gives.
    pub results: &'static [Value],
    /// Where what it says or does lives.
    pub category: Category,
    /// From where it may be called.
    pub contexts: Contexts,
    /// A legacy form that guests with a 64-bit memory don't have.
    pub only32: bool,
    /// Instructions that a call costs, besides one for each byte copied.
    pub overhead: u64,
}

impl Function {
    /// Whether a guest that runs as `context` may call it.
    pub const fn is_legal(&self, context: Context) -> bool {
        self.contexts.contains(context)
    }

    /// Whether guests of that width have it.
    pub const fn exists(&self, is64: bool) -> bool {
        !(self.only32 && is64)
    }

    /// Its parameters' types in a guest of that width.
    pub fn params(&self, is64: bool) -> impl Iterator<Item = Number> {
        self.params.iter().map(move |value| value.number(is64))
    }

    /// Its results' types in a guest of that width.
    pub fn results(&self, is64: bool) -> impl Iterator<Item = Number> {
        self.results.iter().map(move |value| value.number(is64))
    }
}

/// The function of that name.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

#[cfg(test)]
mod tests;
