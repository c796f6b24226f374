//! What is known of a guest without its module.
//!
//! The compiler process writes it, the controller and the worker read it. The one that
//! writes has parsed hostile bytes, so [`Profile::read`] believes nothing of it that
//! would make the reader allocate, index or show without bounds. A profile that lies
//! within the bounds makes only its own guest fail.
//!
//! Names and metadata are the guest's words: they may hold anything that UTF-8 can say,
//! and have to be escaped before they go to a terminal.

mod entry;
mod made;

use serde::{Deserialize, Serialize};

pub use self::entry::{EntryPoint, Method, MethodKind};
pub(super) use self::made::of;

use super::{ADDED_FUNCTIONS, Limits};

/// How long the text of a profile may be. Names and metadata, which are most of it, have
/// bounds of their own.
pub const PROFILE_BYTES: usize = 16 << 20;
/// How many bytes of a function's name are kept.
const NAME_BYTES: usize = 512;

/// What a controller and a worker have to know of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Pointers of the guest have 64 bits.
    pub is64: bool,
    /// The methods it exports, in the module's order.
    pub methods: Vec<Method>,
    /// Its other entry points.
    pub entry_points: Vec<EntryPoint>,
    /// There is a `canister_start`.
    pub has_start: bool,
    /// Its memory.
    pub heap: Pages,
    /// Pages that stable memory may reach.
    pub stable_maximum: u64,
    /// It imports a function of stable memory.
    pub uses_stable: bool,
    /// Types of `__global_0` and those after it.
    pub globals: Vec<GlobalType>,
    /// Its `__table`.
    pub table: Option<Table>,
    /// It has a `data.drop` or `elem.drop`, whose effect would outlast a call.
    pub drops_segments: bool,
    /// Bytes that the initial segments hold in all.
    pub initial_bytes: u64,
    /// Functions, imported ones and those added included.
    pub functions: u32,
    /// Instructions that the guest's author wrote: what compiling is charged by.
    pub instructions: u64,
    /// System functions that it imports, each once.
    pub imports: Vec<String>,
    /// What its custom sections say to those who use it.
    pub metadata: Vec<Metadata>,
    /// Names of functions by their index in the prepared module, in order.
    pub names: Vec<(u32, String)>,
}

/// A custom section `icp:public NAME` or `icp:private NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// What it is called.
    pub name: String,
    /// Whether anybody may read it, or its controllers only.
    pub public: bool,
    /// What it says.
    pub contents: Vec<u8>,
}

/// How large a memory is at first and may become, in Wasm pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// At first.
    pub minimum: u64,
    /// At most.
    pub maximum: u64,
}

/// The type of a mutable global.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GlobalType {
    /// 4 bytes.
    I32,
    /// 8 bytes.
    I64,
    /// 4 bytes.
    F32,
    /// 8 bytes.
    F64,
    /// 16 bytes.
    V128,
}

/// A table of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Its indices have 64 bits.
    pub is64: bool,
    /// Its entries. It doesn't grow.
    pub entries: u64,
}

/// Why a profile isn't believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// It can't be read.
    #[error(
        "can't read the compiler's description of the module: {0}\nhint: the compiler process misbehaved; install the module again"
    )]
    Unreadable(String),
    /// It says what no module that was accepted can have.
    #[error(
        "the compiler's description of the module is impossible: {0}\nhint: the compiler process misbehaved; install the module again"
    )]
    Impossible(&'static str),
}

impl Profile {
    /// The text that [`Profile::read`] reads.
    pub fn write(&self) -> Vec<u8> {
        // A struct of numbers, strings and lists has nothing that could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a profile that somebody wrote who isn't trusted.
    pub fn read(bytes: &[u8], limits: &Limits) -> Result<Self, ProfileError> {
        if bytes.len() > PROFILE_BYTES {
            return Err(ProfileError::Impossible("it is too long"));
        }
        let profile: Self = serde_json::from_slice(bytes)
            .map_err(|error| ProfileError::Unreadable(error.to_string()))?;
        let broken = profile.bounds(limits).into_iter().find(|(holds, _)| !holds);
        match broken {
            Some((_, what)) => Err(ProfileError::Impossible(what)),
            None => Ok(profile),
        }
    }

    /// The method of that name.
    pub fn method(&self, name: &str) -> Option<&Method> {
        self.methods.iter().find(|method| method.name == name)
    }

    /// What its metadata of that name says.
    pub fn metadata(&self, name: &str) -> Option<&Metadata> {
        self.metadata.iter().find(|metadata| metadata.name == name)
    }

    /// The Candid of its interface. Whom it may be shown to, its metadata says.
    pub fn candid(&self) -> Option<&str> {
        let metadata = self.metadata("candid:service")?;
        std::str::from_utf8(&metadata.contents).ok()
    }

    /// Whether an upgrade has to leave the heap as it is, as Motoko's persistence does.
    pub fn keeps_heap(&self) -> bool {
        self.metadata("enhanced-orthogonal-persistence").is_some()
    }

    /// Whether there is that entry point.
    pub fn has(&self, point: EntryPoint) -> bool {
        self.entry_points.contains(&point)
    }

    /// What the author called a function, by its index in the prepared module.
    pub fn function_name(&self, index: u32) -> Option<&str> {
        let at = self.names.binary_search_by_key(&index, |(index, _)| *index);
        self.names.get(at.ok()?).map(|(_, name)| name.as_str())
    }

    fn bounds(&self, limits: &Limits) -> [(bool, &'static str); 11] {
        let heap = limits.heap_pages(self.is64);
        let names: usize = self.methods.iter().map(|method| method.name.len()).sum();
        let mut distinct: Vec<_> = self.methods.iter().map(|method| &method.name).collect();
        distinct.sort_unstable();
        let functions = limits.functions.saturating_add(limits.types);
        let known = |name: &String| crate::system::find(name).is_some();
        let table = self.table.map_or(0, |table| table.entries);
        let sizes = self.metadata.iter().map(|metadata| metadata.contents.len());
        let metadata = sizes.sum::<usize>();
        let sorted = self.names.windows(2).all(|pair| match pair {
            [(a, _), (b, _)] => a < b,
            _ => true,
        });
        let short = self.names.iter().all(|(_, name)| name.len() <= NAME_BYTES);
        [
            (self.methods.len() <= limits.methods, "too many methods"),
            (names <= limits.method_name_bytes, "method names too long"),
            (
                distinct.windows(2).all(|pair| pair.first() != pair.last()),
                "a method twice",
            ),
            (
                self.entry_points.len() <= EntryPoint::ALL.len(),
                "too many entry points",
            ),
            (
                self.heap.minimum <= self.heap.maximum && self.heap.maximum <= heap,
                "a heap too large",
            ),
            (
                self.stable_maximum <= limits.stable_pages(),
                "stable memory too large",
            ),
            (
                self.globals.len() <= limits.globals as usize
                    && table <= limits.table_entries
                    && self.initial_bytes <= limits.module_bytes as u64,
                "too many globals, table entries or bytes",
            ),
            (
                self.functions <= functions.saturating_add(ADDED_FUNCTIONS)
                    && self.instructions <= limits.complexity,
                "too many functions or instructions",
            ),
            (
                self.imports.len() <= crate::system::FUNCTIONS.len()
                    && self.imports.iter().all(known),
                "an import that there isn't",
            ),
            (
                metadata <= limits.metadata_bytes
                    && self.metadata.len() <= limits.metadata_sections,
                "too much metadata",
            ),
            (
                sorted && short && self.names.len() <= self.functions as usize,
                "function names out of bounds",
            ),
        ]
    }
}

#[cfg(test)]
mod tests;
