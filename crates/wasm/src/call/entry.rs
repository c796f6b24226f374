//! Where a call goes in, and all that it may be asked about.

use super::{Principal, Ran};
use crate::system::Context;

/// Which function of a module runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// What the module's start section names.
    Start,
    /// `canister_init`.
    Init,
    /// `canister_pre_upgrade`.
    PreUpgrade,
    /// `canister_post_upgrade`.
    PostUpgrade,
    /// `canister_inspect_message`.
    Inspect,
    /// `canister_heartbeat`.
    Heartbeat,
    /// `canister_global_timer`.
    Timer,
    /// A `canister_update` of this name.
    Update(String),
    /// A `canister_query` of this name, asked in a call that may change things.
    ReplicatedQuery(String),
    /// A `canister_query` of this name.
    Query(String),
    /// A `canister_composite_query` of this name.
    CompositeQuery(String),
    /// A function of the table that an earlier call left for its answer.
    Callback {
        /// What it may do.
        context: Context,
        /// Its place in the table.
        function: u64,
        /// What it is called with.
        environment: u64,
    },
}

impl Entry {
    /// What may be called in it.
    #[must_use]
    pub fn context(&self) -> Context {
        match self {
            Self::Start => Context::Start,
            Self::Init | Self::PostUpgrade => Context::Init,
            Self::PreUpgrade => Context::PreUpgrade,
            Self::Inspect => Context::Inspect,
            Self::Heartbeat | Self::Timer => Context::System,
            Self::Update(_) => Context::Update,
            Self::ReplicatedQuery(_) => Context::ReplicatedQuery,
            Self::Query(_) => Context::Query,
            Self::CompositeQuery(_) => Context::CompositeQuery,
            Self::Callback { context, .. } => *context,
        }
    }

    /// The export that is called; a callback has none.
    #[must_use]
    pub fn export(&self) -> Option<String> {
        Some(match self {
            Self::Start => "canister_start".to_owned(),
            Self::Init => "canister_init".to_owned(),
            Self::PreUpgrade => "canister_pre_upgrade".to_owned(),
            Self::PostUpgrade => "canister_post_upgrade".to_owned(),
            Self::Inspect => "canister_inspect_message".to_owned(),
            Self::Heartbeat => "canister_heartbeat".to_owned(),
            Self::Timer => "canister_global_timer".to_owned(),
            Self::Update(name) => format!("canister_update {name}"),
            Self::ReplicatedQuery(name) | Self::Query(name) => format!("canister_query {name}"),
            Self::CompositeQuery(name) => format!("canister_composite_query {name}"),
            Self::Callback { .. } => return None,
        })
    }

    /// Whether what it writes is kept.
    #[must_use]
    pub fn keeps(&self) -> bool {
        !matches!(
            self.context(),
            Context::Query | Context::ReplicatedQuery | Context::Inspect
        ) && !self.is_composite()
    }

    /// Whether it is part of a composite query.
    #[must_use]
    pub fn is_composite(&self) -> bool {
        matches!(
            self.context(),
            Context::CompositeQuery
                | Context::CompositeReply
                | Context::CompositeReject
                | Context::CompositeCleanup
        )
    }
}

/// A canister's state of life (Internet Computer interface specification, "Canister status").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// It takes calls.
    #[default]
    Running,
    /// It takes none, and waits for answers.
    Stopping,
    /// Nothing of it runs.
    Stopped,
}

impl Status {
    /// As `ic0.canister_status` has it.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Running => 1,
            Self::Stopping => 2,
            Self::Stopped => 3,
        }
    }

    /// As people read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// What doesn't change while a call runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statics {
    /// The canister.
    pub canister: Principal,
    /// Who may change it.
    pub controllers: Vec<Principal>,
    /// Its state of life.
    pub status: Status,
    /// Grows with every change of code or settings.
    pub version: u64,
    /// Its cycles before the call.
    pub cycles: u128,
    /// When its timer goes off, nanoseconds since 1970; 0 for never.
    pub timer: u64,
}

/// What a call may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Instructions.
    pub instructions: u64,
    /// Instructions of a slice, after which the call [pauses](super::Pause).
    pub slice: u64,
    /// Pages of the heap, of 4 KiB, that may be copied after it without another pause.
    pub dirty: u64,
    /// The heap and the stable memory together, bytes.
    pub memory: u64,
    /// By how much both may grow in this call, bytes: what is left for all canisters.
    pub grows_by: u64,
    /// Pages of stable memory, of 4 KiB, that may be read or written.
    pub stable_reads: u64,
    /// Of these, those that may be written.
    pub stable_writes: u64,
    /// The longest reply, bytes.
    pub reply: u64,
}

impl Limits {
    /// What a call may have taken when it ends: it is looked at only now and then.
    #[must_use]
    pub fn most_instructions(&self) -> u64 {
        self.instructions.saturating_add(1 << 32)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            instructions: 40_000_000_000,
            slice: 2_000_000_000,
            dirty: (1 << 30) / 4096,
            memory: 500 << 30,
            grows_by: u64::MAX,
            stable_reads: (2 << 30) / 4096,
            stable_writes: (2 << 30) / 4096,
            reply: 2 << 20,
        }
    }
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Where it goes in.
    pub entry: Entry,
    /// Its argument, or the reply that a callback is for.
    pub argument: Vec<u8>,
    /// The method that is asked for, as `canister_inspect_message` may know it.
    pub method: String,
    /// Who asked.
    pub caller: Principal,
    /// An answer was given before: by the call that this callback belongs to.
    pub is_answered: bool,
    /// Until when an answer is of use, nanoseconds since 1970; 0 for any time.
    pub deadline: u64,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// The cycles that came with it, and weren't accepted so far.
    pub cycles: u128,
    /// The cycles that came back with the answer that a callback is for.
    pub refunded: u128,
    /// Why the call that a callback is for was rejected.
    pub rejected: Option<(super::RejectCode, String)>,
    /// Instructions that calls took which this one goes on with: those that a callback belongs to.
    pub instructions_before: u64,
    /// Calls of this canister that wait for an answer, by whom they call.
    pub queued: Vec<(Principal, u32)>,
    /// What doesn't change.
    pub statics: Statics,
    /// What it may use.
    pub limits: Limits,
}

impl Call {
    /// A call of nothing: what a store holds before the first one.
    pub(crate) fn nothing() -> Self {
        Self::new(Entry::Start, Statics::of(Principal::MANAGEMENT))
    }

    /// Whether this call of a composite query leaves what it wrote to its callbacks: it has called
    /// others, or an earlier one's calls wait, and nobody was answered.
    #[must_use]
    pub fn goes_on(&self, ran: &Ran) -> bool {
        self.entry.is_composite()
            && matches!(ran.result, Ok(None))
            && !(ran.effects.calls.is_empty() && self.queued.is_empty())
    }

    /// A call with nothing but where it goes in.
    #[must_use]
    pub fn new(entry: Entry, statics: Statics) -> Self {
        Self {
            entry,
            argument: Vec::new(),
            method: String::new(),
            caller: Principal::ANONYMOUS,
            is_answered: false,
            deadline: 0,
            time: 0,
            cycles: 0,
            refunded: 0,
            rejected: None,
            instructions_before: 0,
            queued: Vec::new(),
            statics,
            limits: Limits::default(),
        }
    }
}

impl Statics {
    /// A canister that nobody controls and that has nothing.
    #[must_use]
    pub fn of(canister: Principal) -> Self {
        Self {
            canister,
            controllers: Vec::new(),
            status: Status::Running,
            version: 0,
            cycles: 0,
            timer: 0,
        }
    }
}
