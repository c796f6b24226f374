//! Making programs.

use super::Ty::{self, F32, F64, I32, I64};
use super::ops::{DIVISIONS, OPS};
use super::{COUNTERS, Expr, Function, GLOBALS, LOCALS, Program, Stmt};

/// A generator that is the same on every machine (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    pub(crate) fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Makes one function.
struct Writer<'a> {
    dice: &'a mut Dice,
    function: usize,
    functions: usize,
    /// Enclosing blocks that can be branched to.
    labels: usize,
    loops: usize,
}

impl Program {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let functions = 1 + dice.below(4);
        let make = |function| {
            let mut writer = Writer {
                dice: &mut dice,
                function,
                functions,
                labels: 0,
                loops: 0,
            };
            let body = writer.stmts(4);
            let result = writer.expr(I64, 3);
            Function { body, result }
        };
        let functions = (0..functions).map(make).collect();
        Self {
            is64: seed % 2 == 1,
            functions,
            argument: dice.roll(),
        }
    }
}

impl Writer<'_> {
    fn constant(&mut self, ty: Ty) -> Expr {
        let bits = match (ty, self.dice.below(3)) {
            (I32, 0) => self.dice.roll() >> 32,
            (I64, 0) => self.dice.roll(),
            (F32, _) => ((self.dice.below(2000) as f32 - 1000.0) / 8.0)
                .to_bits()
                .into(),
            (F64, _) => ((self.dice.below(2000) as f64 - 1000.0) / 16.0).to_bits(),
            _ => self.dice.below(20) as u64,
        };
        Expr::Const(ty, bits)
    }

    fn local(&mut self, ty: Ty) -> usize {
        let own: Vec<_> = (0..COUNTERS.start).filter(|n| LOCALS[*n] == ty).collect();
        *self.dice.of(&own)
    }

    fn expr(&mut self, ty: Ty, depth: usize) -> Expr {
        if depth == 0 {
            return match self.dice.below(2) {
                0 => self.constant(ty),
                _ => Expr::Local(self.local(ty)),
            };
        }
        let below = depth - 1;
        let calls = ty == I64 && self.function + 1 < self.functions;
        match self.dice.below(16) {
            0 => Expr::Load(ty, Box::new(self.expr(I32, below))),
            1 => {
                let arms = [
                    self.expr(ty, below),
                    self.expr(ty, below),
                    self.expr(I32, below),
                ];
                Expr::Select(Box::new(arms))
            }
            2 => {
                let arms = [
                    self.expr(I32, below),
                    self.expr(ty, below),
                    self.expr(ty, below),
                ];
                Expr::If(ty, Box::new(arms))
            }
            3 if ty == I32 => Expr::Size(self.dice.below(2) == 0),
            4 if ty == I64 => Expr::Global(0),
            4 if ty == I32 => Expr::Global(1),
            5 if calls => Expr::Call(self.callee(), Box::new(self.expr(I64, below))),
            6 if calls => Expr::CallIndirect(self.callee(), Box::new(self.expr(I64, below))),
            7 if matches!(ty, I32 | I64) => {
                let ops: Vec<_> = DIVISIONS.iter().filter(|op| op.result == ty).collect();
                let op = *self.dice.of(&ops);
                let operands = [self.expr(ty, below), self.expr(ty, below)];
                Expr::Divide(op, Box::new(operands))
            }
            _ => {
                let ops: Vec<_> = OPS.iter().filter(|op| op.result == ty).collect();
                let op = *self.dice.of(&ops);
                let args = op.args.iter().map(|arg| self.expr(*arg, below)).collect();
                Expr::Op(op, args)
            }
        }
    }

    fn callee(&mut self) -> usize {
        self.function + 1 + self.dice.below(self.functions - self.function - 1)
    }

    fn stmts(&mut self, depth: usize) -> Vec<Stmt> {
        let count = 1 + self.dice.below(4);
        (0..count).map(|_| self.stmt(depth)).collect()
    }

    fn within(&mut self, labels: usize, depth: usize) -> Vec<Stmt> {
        self.labels += labels;
        let stmts = self.stmts(depth);
        self.labels -= labels;
        stmts
    }

    fn stmt(&mut self, depth: usize) -> Stmt {
        let value = 2;
        let target = |writer: &mut Self| writer.dice.below(writer.labels.max(1));
        match self.dice.below(if depth > 0 { 22 } else { 12 }) {
            0 => Stmt::Nop,
            1 => {
                let ty = *self.dice.of(&[I32, I64, F32, F64]);
                Stmt::Drop(self.expr(ty, value))
            }
            2 | 3 => {
                let ty = *self.dice.of(&[I32, I64, F32, F64]);
                Stmt::SetLocal(self.local(ty), self.expr(ty, value))
            }
            4 => Stmt::Tee(self.local(I64), self.expr(I64, value)),
            5 => {
                let global = self.dice.below(2);
                Stmt::SetGlobal(global, self.expr(GLOBALS[global], value))
            }
            6 | 7 => {
                let ty = *self.dice.of(&[I32, I64]);
                Stmt::Store(ty, self.expr(I32, value), self.expr(ty, value))
            }
            8 => {
                let operands = [I32, I32, I32].map(|ty| self.expr(ty, 1));
                let [a, b, c] = operands;
                match self.dice.below(3) {
                    0 => Stmt::Fill(a, b, c),
                    1 => Stmt::Copy(a, b, c),
                    _ => Stmt::Init(a, c),
                }
            }
            9 | 10 if self.labels > 0 => Stmt::BrIf(target(self), self.expr(I32, value)),
            11 if self.labels > 0 && self.dice.below(3) == 0 => Stmt::Br(target(self)),
            12 if self.dice.below(4) == 0 => match self.function + 1 < self.functions {
                true => Stmt::TailCall(self.callee(), self.expr(I64, value)),
                false => Stmt::Return(self.expr(I64, value)),
            },
            13 if self.labels > 0 => {
                let targets = (0..=self.dice.below(4)).map(|_| target(self)).collect();
                Stmt::BrTable(targets, self.expr(I32, value))
            }
            14 | 15 if depth > 0 => Stmt::Block(self.within(1, depth - 1)),
            16 | 17 if depth > 0 => {
                let condition = self.expr(I32, value);
                let then = self.within(1, depth - 1);
                let other = match self.dice.below(2) {
                    0 => Vec::new(),
                    _ => self.within(1, depth - 1),
                };
                Stmt::If(condition, then, other)
            }
            18.. if depth > 0 && self.loops < COUNTERS.len() => {
                let counter = COUNTERS.start + self.loops;
                self.loops += 1;
                let times = 1 + self.dice.below(5) as u64;
                Stmt::Loop(counter, times, self.within(2, depth - 1))
            }
            _ => Stmt::SetLocal(self.local(I32), self.expr(I32, value)),
        }
    }
}
