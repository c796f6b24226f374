//! Counting instructions, by code in the module itself.
//!
//! A body is cut into [`blocks`], whose instructions are run together or not at all. At a
//! block's front `__instructions` is lessened by the sum of its [`cost`]s. Where a block
//! can be entered again, which is where a function or a loop begins, it is also looked
//! whether the counter has become negative, and then `out_of_instructions` is called. So
//! it is where [`LOOK_AFTER`] has been paid since the last look. The counter is overdrawn
//! by at most that and one block, for each function that is active.
//!
//! Everything is paid for before it is done. A run that ends well has paid for what it
//! did, to the instruction; one that traps has also paid for the rest of the blocks it
//! was in.
//!
//! `memory.copy` and its like take as long as their operand says. Before one the operand
//! goes through a function that charges a unit per byte and looks at the counter too.
//!
//! Since bodies are rewritten here anyway, this is where calls are pointed to the new
//! indices, `memory.grow` is pointed to code that asks the host, and where the rules
//! about single instructions are.

mod blocks;
mod category;
pub(super) mod cost;

use std::ops::Range;

use wasm_encoder::{Encode, Instruction, InstructionSink};
use wasmparser::{FunctionBody, Operator};

use self::blocks::{Block, Blocks, Entry};
use self::cost::Category;
use super::added::{lessen, look};
use super::indices::Indices;
use super::places::{Mark, Marks, Trail};
use super::refusal::Counted;
use super::source::at_most;
use super::{Limits, Refusal};

/// How much blocks may cost that stand one behind the other and don't look. Functions
/// that return through each other, each going on a little, are the reason for it.
const LOOK_AFTER: u64 = 10_000;

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
    /// The code of the function that is being read, without what it pays.
    code: Vec<u8>,
    /// Where that was.
    trail: Trail,
    marks: Marks,
}

impl<'a> Meter<'a> {
    pub(super) fn new(bytes: &'a [u8], indices: &'a Indices, limits: &'a Limits) -> Self {
        Self {
            bytes,
            indices,
            limits,
            seen: Seen::default(),
            code: Vec::new(),
            trail: Trail::default(),
            marks: Marks::default(),
        }
    }

    /// What was seen of all bodies, and where they were.
    pub(super) fn finish(self) -> (Seen, Marks) {
        (self.seen, self.marks)
    }

    /// The body of function `index`, of the module's own numbers, written again.
    pub(super) fn body(&mut self, index: u32, body: &FunctionBody<'_>) -> Result<Vec<u8>, Refusal> {
        let before = self.seen.complexity;
        self.count_locals(body)?;
        let mut operators = body.get_operators_reader()?;
        let mut at = operators.original_position();
        let mut out = self.slice(body.range().start..at).to_vec();
        let mut blocks = Blocks::new();
        self.code.clear();
        self.trail.clear();
        while !operators.eof() {
            let operator = operators.read()?;
            let end = operators.original_position();
            let cost = self.operator(index, &operator, at..end)?;
            blocks.add(&operator, cost, self.code.len());
            at = end;
        }
        self.bound(index, self.seen.complexity - before)?;
        let marks = self.pay(&blocks.into_blocks(), &mut out);
        self.marks.push(marks);
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
    ) -> Result<u64, Refusal> {
        let offset = range.start;
        let category = category::of(operator).map_err(|instruction| Refusal::Instruction {
            function,
            instruction,
            offset,
        })?;
        self.seen.instructions += 1;
        self.seen.complexity += 1 + targets(operator);
        self.seen.drops_segments |= category == Category::Drop;
        self.write(operator, range);
        Ok(category.cost(self.indices.is64))
    }

    fn write(&mut self, operator: &Operator<'_>, range: Range<usize>) {
        self.trail.mark(self.code.len(), range.start);
        let new = |old: &u32| self.indices.function(*old);
        let changed = match operator {
            Operator::Call { function_index } => Instruction::Call(new(function_index)),
            Operator::ReturnCall { function_index } => Instruction::ReturnCall(new(function_index)),
            Operator::RefFunc { function_index } => Instruction::RefFunc(new(function_index)),
            Operator::MemoryGrow { .. } => Instruction::Call(self.indices.grow),
            _ => {
                if let Some(charge) = self.charge_of(operator) {
                    Instruction::Call(charge).encode(&mut self.code);
                    self.trail.mark(self.code.len(), range.start);
                }
                let code = self.bytes.get(range).unwrap_or_default();
                self.code.extend_from_slice(code);
                return;
            }
        };
        changed.encode(&mut self.code);
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

    /// Writes the code, with what each block pays at its front; where all of it was.
    fn pay(&self, blocks: &[Block], out: &mut Vec<u8>) -> Vec<Mark> {
        let (mut written, mut unseen, mut marks) = (0, 0, Vec::new());
        for block in blocks {
            self.trail.moved(written, block.at, out.len(), &mut marks);
            out.extend_from_slice(self.code.get(written..block.at).unwrap_or_default());
            written = block.at;
            let before = out.len();
            let mut charge = InstructionSink::new(out);
            if block.cost > 0 && block.entry != Entry::Never {
                lessen(&mut charge, self.indices, block.cost);
            }
            unseen += block.cost;
            if block.entry == Entry::Again || unseen >= LOOK_AFTER {
                look(&mut charge, self.indices);
                unseen = 0;
            }
            if out.len() > before {
                marks.push(self.trail.added(before, block.at));
            }
        }
        self.trail
            .moved(written, self.code.len(), out.len(), &mut marks);
        out.extend_from_slice(self.code.get(written..).unwrap_or_default());
        marks
    }

    fn slice(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }
}

/// How many branch targets an instruction has beyond one.
fn targets(operator: &Operator<'_>) -> u64 {
    match operator {
        Operator::BrTable { targets } => targets.len().into(),
        _ => 0,
    }
}
