//! Which instructions of a function are paid for together.
//!
//! Instructions belong to one block if each run of the function that comes past one of
//! them comes past all, or ends in a trap. So a block goes on behind a call, behind
//! `block`, and also behind the `end` of a `block`, `loop` or `if` that nothing jumps out
//! of: who has come in comes out there. What was in between has blocks of its own.
//! A program that ends without a trap has paid for exactly what it has come past.

use wasmparser::Operator;

/// How a block is entered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// At most once per time that an earlier block of the function is.
    Once,
    /// Any number of times: a function's beginning, a loop's head.
    Again,
    /// Never: it stands behind a jump.
    Never,
}

/// A block: where in the code it is paid for, and what.
pub(super) struct Block {
    pub(super) at: usize,
    pub(super) entry: Entry,
    pub(super) cost: u64,
}

/// A `block`, `loop` or `if` that hasn't ended.
struct Frame {
    /// The block that it stands in.
    within: usize,
    /// How far out its jumps go: the number of frames that these don't leave.
    reaches: usize,
}

/// The blocks of a function, while it is read.
pub(super) struct Blocks {
    blocks: Vec<Block>,
    current: usize,
    frames: Vec<Frame>,
}

impl Blocks {
    /// Begins a function. Its first block is looked at like a loop's, for recursion.
    pub(super) fn new() -> Self {
        let first = Block {
            at: 0,
            entry: Entry::Again,
            cost: 0,
        };
        Self {
            blocks: vec![first],
            current: 0,
            frames: Vec::new(),
        }
    }

    /// All of them, in the order of their places.
    pub(super) fn into_blocks(self) -> Vec<Block> {
        self.blocks
    }

    /// Adds an instruction, behind which there are `at` bytes of code.
    pub(super) fn add(&mut self, operator: &Operator<'_>, cost: u64, at: usize) {
        if let Some(block) = self.blocks.get_mut(self.current) {
            block.cost += cost;
        }
        match operator {
            Operator::Block { .. } => self.open(),
            Operator::Loop { .. } => {
                self.open();
                self.begin(Entry::Again, at);
            }
            Operator::If { .. } => {
                self.open();
                self.begin(Entry::Once, at);
            }
            Operator::Else => self.begin(Entry::Once, at),
            Operator::End => self.close(at),
            Operator::BrIf { relative_depth } => {
                self.jump(*relative_depth);
                self.begin(Entry::Once, at);
            }
            Operator::Br { relative_depth } => {
                self.jump(*relative_depth);
                self.begin(Entry::Never, at);
            }
            Operator::BrTable { targets } => {
                let farthest = targets.targets().map_while(Result::ok).max();
                self.jump(targets.default().max(farthest.unwrap_or_default()));
                self.begin(Entry::Never, at);
            }
            Operator::Return
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. } => {
                self.jump(u32::MAX);
                self.begin(Entry::Never, at);
            }
            Operator::Unreachable => self.begin(Entry::Never, at),
            _ => {}
        }
    }

    fn begin(&mut self, entry: Entry, at: usize) {
        self.current = self.blocks.len();
        self.blocks.push(Block { at, entry, cost: 0 });
    }

    fn open(&mut self) {
        self.frames.push(Frame {
            within: self.current,
            reaches: self.frames.len() + 1,
        });
    }

    fn close(&mut self, at: usize) {
        let Some(frame) = self.frames.pop() else {
            return;
        };
        let around = self.frames.len();
        if frame.reaches > around {
            self.current = frame.within;
            return;
        }
        // Who leaves this frame may leave those around it, too.
        if let Some(outer) = self.frames.last_mut() {
            outer.reaches = outer.reaches.min(frame.reaches);
        }
        self.begin(Entry::Once, at);
    }

    /// A jump to the end, or head, of the frame that is that many further out.
    fn jump(&mut self, depth: u32) {
        let target = self.frames.len().saturating_sub(depth as usize);
        if let Some(innermost) = self.frames.last_mut() {
            innermost.reaches = innermost.reaches.min(target);
        }
    }
}
