//! Counting instructions, by code in the module itself.
//!
//! A body is cut into *blocks*: runs of instructions that are entered at the front and
//! either run to their end or trap. A block ends at each branch, `if`, `else`, `end` and
//! `loop`; calls don't end one. At its front `__instructions` is lessened by the sum of
//! its [`cost`]s. Blocks that can be entered again without leaving through another's
//! end, which are those that begin a function or a loop, also look whether the counter
//! has become negative and then call `out_of_instructions`. So the counter is overdrawn by
//! at most the dearest way through one function that has no loop's head and no call.
//!
//! `memory.copy` and its like take as long as their operand says. Before one the operand
//! goes through a function that charges a unit per byte and looks at the counter too.
//!
//! Since bodies are rewritten here anyway, this is where calls are pointed to the new
//! indices, `memory.grow` is pointed to code that asks the host, and where the rules
//! about single instructions are.

mod category;
pub(super) mod cost;

use std::ops::Range;

use wasm_encoder::{Encode, Instruction, InstructionSink};
use wasmparser::{FunctionBody, Operator};

use self::cost::Category;
use super::added::{lessen, look};
use super::indices::Indices;
use super::refusal::Counted;
use super::source::at_most;
use super::{Limits, Refusal};

/// What was seen of the instructions of a module.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) instructions: u64,
    /// What compiling them costs: instructions, locals and branch targets.
    pub(super) complexity: u64,
    pub(super) drops_segments: bool,
}

/// Writes bodies again, counted.
pub(super) struct Meter<'a> {
    bytes: &'a [u8],
    indices: &'a Indices,
    limits: &'a Limits,
    seen: Seen,
    block: Block,
}

/// The block that is being read.
#[derive(Default)]
struct Block {
    code: Vec<u8>,
    cost: u64,
    entry: Entry,
}

/// How a block is entered.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Entry {
    /// At most once per time that an earlier block of the function is.
    #[default]
    Once,
    /// Any number of times.
    Again,
    /// Never: it stands behind a jump.
    Never,
}

impl<'a> Meter<'a> {
    pub(super) fn new(bytes: &'a [u8], indices: &'a Indices, limits: &'a Limits) -> Self {
        Self {
            bytes,
            indices,
            limits,
            seen: Seen::default(),
            block: Block::default(),
        }
    }

    /// What was seen of all bodies so far.
    pub(super) fn seen(&self) -> Seen {
        self.seen
    }

    /// The body of function `index`, of the module's own numbers, written again.
    pub(super) fn body(&mut self, index: u32, body: &FunctionBody<'_>) -> Result<Vec<u8>, Refusal> {
        let before = self.seen.complexity;
        self.count_locals(body)?;
        let mut operators = body.get_operators_reader()?;
        let mut at = operators.original_position();
        let mut out = self.slice(body.range().start..at).to_vec();
        self.block.entry = Entry::Again;
        while !operators.eof() {
            let operator = operators.read()?;
            let end = operators.original_position();
            self.operator(index, &operator, at..end)?;
            if let Some(next) = entry_after(&operator) {
                self.close(&mut out, next);
            }
            at = end;
        }
        self.bound(index, self.seen.complexity - before)?;
        Ok(out)
    }

    fn count_locals(&mut self, body: &FunctionBody<'_>) -> Result<(), Refusal> {
        for locals in body.get_locals_reader()? {
            let (count, _) = locals?;
            self.seen.complexity += u64::from(count);
        }
        Ok(())
    }

    fn bound(&self, function: u32, has: u64) -> Result<(), Refusal> {
        let limit = self.limits.function_complexity;
        if has > limit {
            return Err(Refusal::FunctionTooLarge {
                function,
                what: "instructions, locals and branch targets",
                has,
                limit,
            });
        }
        let (all, limit) = (self.seen.complexity, self.limits.complexity);
        let hint = "split the canister, or link with --gc-sections";
        at_most(Counted::Complexity, all, limit, hint)
    }

    fn operator(
        &mut self,
        function: u32,
        operator: &Operator<'_>,
        range: Range<usize>,
    ) -> Result<(), Refusal> {
        let offset = range.start;
        let category = category::of(operator).map_err(|instruction| Refusal::Instruction {
            function,
            instruction,
            offset,
        })?;
        self.seen.instructions += 1;
        self.seen.complexity += 1 + targets(operator);
        self.seen.drops_segments |= category == Category::Drop;
        self.block.cost += category.cost(self.indices.is64);
        self.write(operator, range);
        Ok(())
    }

    fn write(&mut self, operator: &Operator<'_>, range: Range<usize>) {
        let new = |old: &u32| self.indices.function(*old);
        let changed = match operator {
            Operator::Call { function_index } => Instruction::Call(new(function_index)),
            Operator::ReturnCall { function_index } => Instruction::ReturnCall(new(function_index)),
            Operator::RefFunc { function_index } => Instruction::RefFunc(new(function_index)),
            Operator::MemoryGrow { .. } => Instruction::Call(self.indices.grow),
            _ => {
                if let Some(charge) = self.charge_of(operator) {
                    Instruction::Call(charge).encode(&mut self.block.code);
                }
                let code = self.bytes.get(range).unwrap_or_default();
                self.block.code.extend_from_slice(code);
                return;
            }
        };
        changed.encode(&mut self.block.code);
    }

    /// The function that charges for the size on top of the stack, if it has to.
    fn charge_of(&self, operator: &Operator<'_>) -> Option<u32> {
        match operator {
            // Its size counts bytes of a segment, which has 32 bits in any guest.
            Operator::MemoryInit { .. } => Some(self.indices.charge32),
            Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } => {
                Some(match self.indices.is64 {
                    true => self.indices.charge64,
                    false => self.indices.charge32,
                })
            }
            _ => None,
        }
    }

    /// Writes the block behind the code that charges for it, and begins the next.
    fn close(&mut self, out: &mut Vec<u8>, next: Entry) {
        let block = &mut self.block;
        let mut charge = InstructionSink::new(out);
        if block.cost > 0 && block.entry != Entry::Never {
            lessen(&mut charge, self.indices, block.cost);
        }
        if block.entry == Entry::Again {
            look(&mut charge, self.indices);
        }
        out.append(&mut block.code);
        block.cost = 0;
        block.entry = next;
    }

    fn slice(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }
}

/// How the block is entered that begins behind this instruction, if one does.
fn entry_after(operator: &Operator<'_>) -> Option<Entry> {
    match operator {
        Operator::Loop { .. } => Some(Entry::Again),
        Operator::If { .. } | Operator::Else | Operator::End | Operator::BrIf { .. } => {
            Some(Entry::Once)
        }
        Operator::Br { .. }
        | Operator::BrTable { .. }
        | Operator::Return
        | Operator::Unreachable
        | Operator::ReturnCall { .. }
        | Operator::ReturnCallIndirect { .. } => Some(Entry::Never),
        _ => None,
    }
}

/// How many branch targets an instruction has beyond one.
fn targets(operator: &Operator<'_>) -> u64 {
    match operator {
        Operator::BrTable { targets } => targets.len().into(),
        _ => 0,
    }
}
