//! What instructions cost.
//!
//! One unit is about a cycle of a simple instruction. The numbers are the Internet
//! Computer's where it publishes them, so that limits mean the same here.

/// A kind of instruction with one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Category {
    /// `block`, `loop`, `else`, `end`, `nop`: no code is made for them.
    Structure,
    /// Constants, locals, integer arithmetic and comparison, `drop`, `select`, …
    Simple,
    /// Integer division and remainder.
    IntegerDivision,
    /// `global.get` and `global.set`.
    Global,
    /// Loads and stores.
    Memory,
    /// Floating-point arithmetic and comparison that isn't named below.
    Float,
    /// `f32.div`.
    Float32Division,
    /// `f64.div`.
    Float64Division,
    /// `min` and `max`, which have to treat NaN and signed zeroes.
    FloatExtreme,
    /// `f32.sqrt`.
    Float32Root,
    /// `f64.sqrt`.
    Float64Root,
    /// Conversions from signed integers and between float types.
    Conversion,
    /// Conversions from unsigned integers.
    UnsignedConversion,
    /// Conversions to integers, trapping and saturating.
    Truncation,
    /// `if`, `br`, `br_if`, `br_table`, `return`.
    Branch,
    /// `call`.
    Call,
    /// `call_indirect`.
    CallIndirect,
    /// `return_call`.
    TailCall,
    /// `return_call_indirect`.
    TailCallIndirect,
    /// `memory.grow`.
    MemoryGrow,
    /// `memory.size` and `table.size`.
    Size,
    /// `memory.copy`, `memory.fill`, `memory.init`; and one for each byte.
    Bulk,
    /// `data.drop` and `elem.drop`.
    Drop,
    /// `ref.func`.
    FunctionReference,
    /// `table.get`.
    TableGet,
    /// Vector instructions that aren't named below.
    Vector,
    /// Vector division, square root, `min` and `max`.
    VectorSlow,
    /// Vector conversions to integers.
    VectorTruncation,
}

/// The price of a category.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// What is priced.
    pub category: Category,
    /// What it is called in tables for people.
    pub name: &'static str,
    /// In a guest with a 32-bit memory.
    pub wasm32: u64,
    /// In a guest with a 64-bit memory, whose accesses need checks of their bounds.
    pub wasm64: u64,
}

const fn cost(category: Category, name: &'static str, price: u64) -> Cost {
    Cost {
        category,
        name,
        wasm32: price,
        wasm64: price,
    }
}

/// Every price, in the order of [`Category`].
pub const COSTS: [Cost; 28] = [
    cost(Category::Structure, "structure", 0),
    cost(Category::Simple, "simple", 1),
    cost(Category::IntegerDivision, "integer division", 10),
    cost(Category::Global, "global", 2),
    Cost {
        category: Category::Memory,
        name: "load and store",
        wasm32: 1,
        wasm64: 2,
    },
    cost(Category::Float, "float", 2),
    cost(Category::Float32Division, "f32 division", 3),
    cost(Category::Float64Division, "f64 division", 5),
    cost(Category::FloatExtreme, "float min and max", 18),
    cost(Category::Float32Root, "f32 square root", 5),
    cost(Category::Float64Root, "f64 square root", 8),
    cost(Category::Conversion, "conversion", 3),
    cost(Category::UnsignedConversion, "unsigned conversion", 16),
    cost(Category::Truncation, "truncation", 20),
    cost(Category::Branch, "branch", 2),
    cost(Category::Call, "call", 5),
    cost(Category::CallIndirect, "indirect call", 10),
    cost(Category::TailCall, "tail call", 3),
    cost(Category::TailCallIndirect, "indirect tail call", 60),
    cost(Category::MemoryGrow, "memory growth", 300),
    cost(Category::Size, "size", 20),
    cost(Category::Bulk, "bulk memory", 100),
    cost(Category::Drop, "drop of a segment", 300),
    cost(Category::FunctionReference, "function reference", 130),
    cost(Category::TableGet, "table access", 5),
    cost(Category::Vector, "vector", 2),
    cost(Category::VectorSlow, "slow vector", 20),
    cost(Category::VectorTruncation, "vector truncation", 40),
];

/// What the first write of a call to an OS page of stable memory costs: it has to be
/// copied and kept.
pub const STABLE_PAGE_WRITE: u64 = 1_000;
/// The same in a guest with a 64-bit memory.
pub const STABLE_PAGE_WRITE_64: u64 = 4_000;

impl Category {
    /// What one such instruction costs.
    pub const fn cost(self, is64: bool) -> u64 {
        let cost = &COSTS[self as usize];
        if is64 { cost.wasm64 } else { cost.wasm32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_its_categories() {
        for (index, cost) in COSTS.iter().enumerate() {
            assert_eq!(cost.category as usize, index, "{}", cost.name);
        }
        assert_eq!(Category::Memory.cost(false), 1);
        assert_eq!(Category::Memory.cost(true), 2);
    }
}
