//! Programs, walked: what they compute, and what they cost by the written table.
//!
//! This knows nothing of how code is cut into blocks: each instruction that is come past
//! is paid for, by its price's name.

use std::collections::BTreeSet;

use casemate_wasm::module::COSTS;

use crate::program::{
    ADDRESS, Expr, Function, GLOBALS, LENGTH, LOCALS, PIECE, PLACE, Program, SEGMENT, Stmt, Ty,
};

/// What became of a program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) globals: [u64; GLOBALS.len()],
    pub(crate) memory: Vec<u8>,
}

/// What a program costs.
#[derive(Default)]
pub(crate) struct Spent {
    pub(crate) instructions: i64,
    /// The names of the prices that were paid.
    pub(crate) prices: BTreeSet<&'static str>,
}

pub(crate) struct Reference<'a> {
    program: &'a Program,
    globals: [u64; GLOBALS.len()],
    memory: Vec<u8>,
    spent: Spent,
    steps: u64,
}

/// Where to go on after a statement.
enum Next {
    On,
    Branch(usize),
    Return(u64),
}

/// Programs that take longer are passed over.
const STEPS: u64 = 2_000_000;

impl<'a> Reference<'a> {
    /// What the program leaves and costs; none if it takes too long.
    pub(crate) fn run(program: &'a Program) -> Option<(Outcome, Spent)> {
        let mut reference = Self {
            program,
            globals: [3, 4],
            memory: vec![0; 1 << 16],
            spent: Spent::default(),
            steps: 0,
        };
        reference.pay("simple");
        reference.pay("call");
        let result = reference.function(0, program.argument)?;
        reference.pay("global");
        reference.globals[0] = result;
        let outcome = Outcome {
            globals: reference.globals,
            memory: reference.memory,
        };
        Some((outcome, reference.spent))
    }

    fn pay(&mut self, name: &str) {
        let cost = COSTS.iter().find(|cost| cost.name == name).expect(name);
        let price = if self.program.is64 {
            cost.wasm64
        } else {
            cost.wasm32
        };
        self.spent.instructions += price as i64;
        self.spent.prices.insert(cost.name);
        self.steps += 1;
    }

    fn simple(&mut self, times: usize) {
        for _ in 0..times {
            self.pay("simple");
        }
    }

    fn function(&mut self, index: usize, argument: u64) -> Option<u64> {
        let Function { body, result } = &self.program.functions[index];
        let mut locals = [0; LOCALS.len()];
        locals[0] = argument;
        match self.stmts(body, &mut locals)? {
            Next::Return(value) => Some(value),
            Next::On => self.expr(result, &mut locals),
            Next::Branch(_) => unreachable!("no branch leaves a function"),
        }
    }

    fn stmts(&mut self, stmts: &[Stmt], locals: &mut [u64]) -> Option<Next> {
        for stmt in stmts {
            match self.stmt(stmt, locals)? {
                Next::On => {}
                elsewhere => return Some(elsewhere),
            }
        }
        Some(Next::On)
    }

    /// Statements in a block: a branch to its end goes on behind it.
    fn block(&mut self, stmts: &[Stmt], locals: &mut [u64]) -> Option<Next> {
        Some(match self.stmts(stmts, locals)? {
            Next::Branch(0) => Next::On,
            Next::Branch(label) => Next::Branch(label - 1),
            next => next,
        })
    }

    fn counted(&mut self, counter: usize, stmts: &[Stmt], locals: &mut [u64]) -> Option<Next> {
        loop {
            self.simple(2);
            self.pay("branch");
            if locals[counter] == 0 {
                return Some(Next::On);
            }
            self.simple(4);
            locals[counter] -= 1;
            match self.stmts(stmts, locals)? {
                Next::On => self.pay("branch"),
                Next::Branch(0) => {}
                Next::Branch(1) => return Some(Next::On),
                Next::Branch(label) => return Some(Next::Branch(label - 2)),
                Next::Return(value) => return Some(Next::Return(value)),
            }
        }
    }

    fn stmt(&mut self, stmt: &Stmt, locals: &mut [u64]) -> Option<Next> {
        if self.steps > STEPS {
            return None;
        }
        match stmt {
            Stmt::Nop => self.pay("structure"),
            Stmt::Drop(value) => {
                self.expr(value, locals)?;
                self.simple(1);
            }
            Stmt::SetLocal(local, value) => {
                locals[*local] = self.expr(value, locals)?;
                self.simple(1);
            }
            Stmt::Tee(local, value) => {
                locals[*local] = self.expr(value, locals)?;
                self.simple(2);
            }
            Stmt::SetGlobal(global, value) => {
                self.globals[*global] = self.expr(value, locals)?;
                self.pay("global");
            }
            Stmt::Store(ty, address, value) => {
                let at = self.index(address, ADDRESS, locals)?;
                let bytes = self.expr(value, locals)?.to_le_bytes();
                let width = width(*ty);
                self.memory[at..at + width].copy_from_slice(&bytes[..width]);
                self.pay("load and store");
            }
            Stmt::Block(body) => return self.block(body, locals),
            Stmt::If(condition, then, other) => {
                let taken = self.expr(condition, locals)? != 0;
                self.pay("branch");
                return self.block(if taken { then } else { other }, locals);
            }
            Stmt::Loop(counter, times, body) => {
                self.simple(2);
                locals[*counter] = *times;
                return self.counted(*counter, body, locals);
            }
            Stmt::Br(label) => {
                self.pay("branch");
                return Some(Next::Branch(*label));
            }
            Stmt::BrIf(label, condition) => {
                let taken = self.expr(condition, locals)? != 0;
                self.pay("branch");
                if taken {
                    return Some(Next::Branch(*label));
                }
            }
            Stmt::BrTable(labels, index) => {
                let index = self.expr(index, locals)? as usize;
                self.pay("branch");
                let label = labels.get(index).or(labels.last());
                return label.copied().map(Next::Branch);
            }
            Stmt::Return(value) => {
                let value = self.expr(value, locals)?;
                self.pay("branch");
                return Some(Next::Return(value));
            }
            Stmt::TailCall(callee, value) => {
                let value = self.expr(value, locals)?;
                self.pay("tail call");
                return self.function(*callee, value).map(Next::Return);
            }
            Stmt::Fill(to, value, length) => {
                let to = self.index(to, PLACE, locals)?;
                let value = self.expr(value, locals)?;
                let length = self.index(length, LENGTH, locals)?;
                self.bulk(length);
                self.memory[to..to + length].fill(value as u8);
            }
            Stmt::Copy(to, from, length) => {
                let to = self.index(to, PLACE, locals)?;
                let from = self.index(from, PLACE, locals)?;
                let length = self.index(length, LENGTH, locals)?;
                self.bulk(length);
                self.memory.copy_within(from..from + length, to);
            }
            Stmt::Init(to, length) => {
                let to = self.index(to, PLACE, locals)?;
                let length = (self.expr(length, locals)? & PIECE) as usize;
                self.simple(3);
                self.bulk(length);
                let piece = &SEGMENT.as_bytes()[5..5 + length];
                self.memory[to..to + length].copy_from_slice(piece);
            }
        }
        Some(Next::On)
    }

    fn bulk(&mut self, bytes: usize) {
        self.pay("bulk memory");
        self.spent.instructions += bytes as i64;
    }

    fn index(&mut self, expr: &Expr, mask: u64, locals: &mut [u64]) -> Option<usize> {
        let index = self.expr(expr, locals)? & mask;
        self.simple(2 + usize::from(self.program.is64));
        Some(index as usize)
    }

    fn expr(&mut self, expr: &Expr, locals: &mut [u64]) -> Option<u64> {
        Some(match expr {
            Expr::Const(_, bits) => {
                self.simple(1);
                *bits
            }
            Expr::Local(local) => {
                self.simple(1);
                locals[*local]
            }
            Expr::Global(global) => {
                self.pay("global");
                self.globals[*global]
            }
            Expr::Op(op, args) => {
                let mut values = [0; 2];
                for (value, arg) in values.iter_mut().zip(args) {
                    *value = self.expr(arg, locals)?;
                }
                self.pay(op.price);
                (op.apply)(values[0], values[1])
            }
            Expr::Divide(op, operands) => {
                let [a, b] = operands.as_ref();
                let (a, b) = (self.expr(a, locals)?, self.expr(b, locals)?);
                self.simple(4);
                self.pay(op.price);
                (op.apply)(a, op.positive_divisor(b))
            }
            Expr::Load(ty, address) => {
                let at = self.index(address, ADDRESS, locals)?;
                self.pay("load and store");
                let mut bytes = [0; 8];
                let width = width(*ty);
                bytes[..width].copy_from_slice(&self.memory[at..at + width]);
                u64::from_le_bytes(bytes)
            }
            Expr::Select(operands) => {
                let [a, b, condition] = operands.as_ref();
                let (a, b) = (self.expr(a, locals)?, self.expr(b, locals)?);
                let condition = self.expr(condition, locals)?;
                self.simple(1);
                if condition != 0 { a } else { b }
            }
            Expr::If(_, arms) => {
                let [condition, then, other] = arms.as_ref();
                let taken = self.expr(condition, locals)? != 0;
                self.pay("branch");
                self.expr(if taken { then } else { other }, locals)?
            }
            Expr::Call(callee, argument) => {
                let argument = self.expr(argument, locals)?;
                self.pay("call");
                self.function(*callee, argument)?
            }
            Expr::CallIndirect(callee, argument) => {
                let argument = self.expr(argument, locals)?;
                self.simple(1);
                self.pay("indirect call");
                self.function(*callee, argument)?
            }
            Expr::Size(grown) => {
                self.simple(usize::from(*grown) + usize::from(self.program.is64));
                self.pay(if *grown { "memory growth" } else { "size" });
                1
            }
        })
    }
}

fn width(ty: Ty) -> usize {
    match ty {
        Ty::I32 | Ty::F32 => 4,
        Ty::I64 | Ty::F64 => 8,
    }
}
