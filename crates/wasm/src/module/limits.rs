//! How large a guest may be, before and after it runs.

use super::abi::{OS_PAGE, WASM_PAGE};

const MIB: usize = 1 << 20;
const GIB: u64 = 1 << 30;

/// Bounds on a module. The defaults are those of the Internet Computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a module, unpacked.
    pub module_bytes: usize,
    /// Bytes of a module's text, which takes a hundred times as many to read.
    pub text_bytes: usize,
    /// Bytes of the code section.
    pub code_bytes: usize,
    /// Types, and functions imported.
    pub types: u32,
    /// Functions that the module defines.
    pub functions: u32,
    /// Bytes of one function.
    pub function_bytes: usize,
    /// What one function may cost the compiler: its instructions, locals and branch targets.
    pub function_complexity: u64,
    /// The same of all functions.
    pub complexity: u64,
    /// Globals.
    pub globals: u32,
    /// Entries of all tables at the start.
    pub table_entries: u64,
    /// Exported methods.
    pub methods: usize,
    /// Bytes of their names in all.
    pub method_name_bytes: usize,
    /// Custom sections that are metadata (`icp:…`).
    pub metadata_sections: usize,
    /// Bytes of these in all.
    pub metadata_bytes: usize,
    /// Wasm pages that the heap may reach; a 32-bit one never has more than 65,536.
    pub heap_pages: u64,
    /// Wasm pages that stable memory may reach.
    pub stable_pages: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            module_bytes: 100 * MIB,
            text_bytes: 8 * MIB,
            code_bytes: 12 * MIB,
            types: 50_000,
            functions: 50_000,
            function_bytes: 1_000_000,
            function_complexity: 1_000_000,
            complexity: 25_000_000,
            globals: 1_000,
            table_entries: 10_000_000,
            methods: 1_000,
            method_name_bytes: 20_000,
            metadata_sections: 16,
            metadata_bytes: MIB,
            heap_pages: 6 * GIB / WASM_PAGE,
            stable_pages: 500 * GIB / WASM_PAGE,
        }
    }
}

impl Limits {
    /// Wasm pages that the heap of a guest of that width may reach.
    pub fn heap_pages(&self, is64: bool) -> u64 {
        let addressable = if is64 { (1 << 48) - 1 } else { 1 << 16 };
        self.heap_pages.min(addressable)
    }

    /// Wasm pages that stable memory may reach: its OS pages are counted in 32 bits.
    pub fn stable_pages(&self) -> u64 {
        self.stable_pages.min((1 << 32) * OS_PAGE / WASM_PAGE - 1)
    }
}
