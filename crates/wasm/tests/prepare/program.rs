//! Small programs, made from a seed, that end and don't trap.
//!
//! A program is a tree that is written as text for the runtime and walked by
//! [`reference`](crate::reference). What the two make of it has to be the same.

use std::fmt::Write;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ty {
    I32,
    I64,
    F32,
    F64,
}

use Ty::{F32, F64, I32, I64};

impl Ty {
    pub(crate) fn name(self) -> &'static str {
        match self {
            I32 => "i32",
            I64 => "i64",
            F32 => "f32",
            F64 => "f64",
        }
    }
}

/// An instruction that computes: its name, its price's name, and what it does to bits.
pub(crate) struct Op {
    pub(crate) name: &'static str,
    pub(crate) price: &'static str,
    args: &'static [Ty],
    result: Ty,
    pub(crate) apply: fn(u64, u64) -> u64,
}

pub(crate) enum Expr {
    Const(Ty, u64),
    Local(usize),
    Global(usize),
    Op(&'static Op, Vec<Expr>),
    /// A division whose divisor is made positive.
    Divide(&'static Op, Box<[Expr; 2]>),
    Load(Ty, Box<Expr>),
    Select(Box<[Expr; 3]>),
    If(Ty, Box<[Expr; 3]>),
    Call(usize, Box<Expr>),
    CallIndirect(usize, Box<Expr>),
    /// The memory's size; grown by nothing, if set.
    Size(bool),
}

pub(crate) enum Stmt {
    Nop,
    Drop(Expr),
    SetLocal(usize, Expr),
    Tee(usize, Expr),
    SetGlobal(usize, Expr),
    Store(Ty, Expr, Expr),
    Block(Vec<Stmt>),
    If(Expr, Vec<Stmt>, Vec<Stmt>),
    /// Counts a local down from a number; branches may leave it or begin it anew.
    Loop(usize, u64, Vec<Stmt>),
    Br(usize),
    BrIf(usize, Expr),
    BrTable(Vec<usize>, Expr),
    Return(Expr),
    TailCall(usize, Expr),
    Fill(Expr, Expr, Expr),
    Copy(Expr, Expr, Expr),
    Init(Expr, Expr),
}

pub(crate) struct Function {
    pub(crate) body: Vec<Stmt>,
    pub(crate) result: Expr,
}

pub(crate) struct Program {
    pub(crate) is64: bool,
    pub(crate) functions: Vec<Function>,
    pub(crate) argument: u64,
}

/// Locals of each function: the parameter, two of each type, counters of loops.
pub(crate) const LOCALS: [Ty; 14] = [
    I64, I32, I32, I64, F32, F32, F64, F64, I32, I32, I32, I32, I32, I32,
];
const COUNTERS: std::ops::Range<usize> = 8..14;
pub(crate) const GLOBALS: [Ty; 2] = [I64, I32];
/// What addresses, sizes and offsets into the segment are cut to.
pub(crate) const ADDRESS: u64 = 0xfff8;
pub(crate) const PLACE: u64 = 0x7fff;
pub(crate) const LENGTH: u64 = 0x7ff;
pub(crate) const SEGMENT: &str = "what the program may copy from, 40 bytes";
pub(crate) const PIECE: u64 = 0x1f;

fn f32_of(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn f64_of(bits: u64) -> f64 {
    f64::from_bits(bits)
}

fn lesser(a: f64, b: f64) -> f64 {
    match (a.is_nan() || b.is_nan(), a == b) {
        (true, _) => f64::NAN,
        // Zeroes are equal, and the negative one is less.
        (_, true) => f64::from_bits(a.to_bits() | b.to_bits()),
        _ => a.min(b),
    }
}

macro_rules! op {
    ($name:literal, $price:literal, [$($arg:ident),*] -> $result:ident, $apply:expr) => {
        Op { name: $name, price: $price, args: &[$($arg),*], result: $result, apply: $apply }
    };
}

#[rustfmt::skip]
static OPS: &[Op] = &[
    op!("i32.add", "simple", [I32, I32] -> I32, |a, b| (a as u32).wrapping_add(b as u32).into()),
    op!("i32.sub", "simple", [I32, I32] -> I32, |a, b| (a as u32).wrapping_sub(b as u32).into()),
    op!("i32.mul", "simple", [I32, I32] -> I32, |a, b| (a as u32).wrapping_mul(b as u32).into()),
    op!("i32.xor", "simple", [I32, I32] -> I32, |a, b| a ^ b),
    op!("i32.shl", "simple", [I32, I32] -> I32, |a, b| (a as u32).wrapping_shl(b as u32).into()),
    op!("i32.shr_s", "simple", [I32, I32] -> I32, |a, b| ((a as i32).wrapping_shr(b as u32) as u32).into()),
    op!("i32.rotl", "simple", [I32, I32] -> I32, |a, b| (a as u32).rotate_left(b as u32 % 32).into()),
    op!("i32.eqz", "simple", [I32] -> I32, |a, _| (a == 0).into()),
    op!("i32.clz", "simple", [I32] -> I32, |a, _| (a as u32).leading_zeros().into()),
    op!("i32.popcnt", "simple", [I32] -> I32, |a, _| a.count_ones().into()),
    op!("i32.extend8_s", "simple", [I32] -> I32, |a, _| (i32::from(a as i8) as u32).into()),
    op!("i32.lt_s", "simple", [I32, I32] -> I32, |a, b| ((a as i32) < b as i32).into()),
    op!("i32.ge_u", "simple", [I32, I32] -> I32, |a, b| (a >= b).into()),
    op!("i32.wrap_i64", "simple", [I64] -> I32, |a, _| u64::from(a as u32)),
    op!("i64.eqz", "simple", [I64] -> I32, |a, _| (a == 0).into()),
    op!("i64.lt_s", "simple", [I64, I64] -> I32, |a, b| ((a as i64) < b as i64).into()),
    op!("i64.add", "simple", [I64, I64] -> I64, u64::wrapping_add),
    op!("i64.sub", "simple", [I64, I64] -> I64, u64::wrapping_sub),
    op!("i64.mul", "simple", [I64, I64] -> I64, u64::wrapping_mul),
    op!("i64.and", "simple", [I64, I64] -> I64, |a, b| a & b),
    op!("i64.shr_u", "simple", [I64, I64] -> I64, |a, b| a.wrapping_shr(b as u32)),
    op!("i64.extend_i32_s", "simple", [I32] -> I64, |a, _| i64::from(a as i32) as u64),
    op!("i64.extend_i32_u", "simple", [I32] -> I64, |a, _| a),
    op!("f32.add", "float", [F32, F32] -> F32, |a, b| (f32_of(a) + f32_of(b)).to_bits().into()),
    op!("f32.mul", "float", [F32, F32] -> F32, |a, b| (f32_of(a) * f32_of(b)).to_bits().into()),
    op!("f32.div", "f32 division", [F32, F32] -> F32, |a, b| (f32_of(a) / f32_of(b)).to_bits().into()),
    op!("f32.sqrt", "f32 square root", [F32] -> F32, |a, _| f32_of(a).sqrt().to_bits().into()),
    op!("f32.nearest", "float", [F32] -> F32, |a, _| f32_of(a).round_ties_even().to_bits().into()),
    op!("f32.lt", "float", [F32, F32] -> I32, |a, b| (f32_of(a) < f32_of(b)).into()),
    op!("f32.demote_f64", "conversion", [F64] -> F32, |a, _| (f64_of(a) as f32).to_bits().into()),
    op!("f32.convert_i32_s", "conversion", [I32] -> F32, |a, _| (a as i32 as f32).to_bits().into()),
    op!("f32.convert_i64_u", "unsigned conversion", [I64] -> F32, |a, _| (a as f32).to_bits().into()),
    op!("f64.sub", "float", [F64, F64] -> F64, |a, b| (f64_of(a) - f64_of(b)).to_bits()),
    op!("f64.div", "f64 division", [F64, F64] -> F64, |a, b| (f64_of(a) / f64_of(b)).to_bits()),
    op!("f64.min", "float min and max", [F64, F64] -> F64, |a, b| lesser(f64_of(a), f64_of(b)).to_bits()),
    op!("f64.sqrt", "f64 square root", [F64] -> F64, |a, _| f64_of(a).sqrt().to_bits()),
    op!("f64.floor", "float", [F64] -> F64, |a, _| f64_of(a).floor().to_bits()),
    op!("f64.abs", "float", [F64] -> F64, |a, _| f64_of(a).abs().to_bits()),
    op!("f64.ge", "float", [F64, F64] -> I32, |a, b| (f64_of(a) >= f64_of(b)).into()),
    op!("f64.promote_f32", "conversion", [F32] -> F64, |a, _| f64::from(f32_of(a)).to_bits()),
    op!("f64.convert_i32_u", "unsigned conversion", [I32] -> F64, |a, _| f64::from(a as u32).to_bits()),
    op!("f64.convert_i64_s", "conversion", [I64] -> F64, |a, _| (a as i64 as f64).to_bits()),
    op!("i32.trunc_sat_f32_u", "truncation", [F32] -> I32, |a, _| (f32_of(a) as u32).into()),
    op!("i64.trunc_sat_f64_s", "truncation", [F64] -> I64, |a, _| (f64_of(a) as i64) as u64),
];

#[rustfmt::skip]
static DIVISIONS: &[Op] = &[
    op!("i32.div_s", "integer division", [I32, I32] -> I32, |a, b| ((a as i32 / b as i32) as u32).into()),
    op!("i32.rem_u", "integer division", [I32, I32] -> I32, |a, b| a % b),
    op!("i64.div_u", "integer division", [I64, I64] -> I64, |a, b| a / b),
    op!("i64.rem_s", "integer division", [I64, I64] -> I64, |a, b| (a as i64 % b as i64) as u64),
];

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

/// The program as text.
pub(crate) struct Text<'a> {
    program: &'a Program,
    out: String,
}

impl<'a> Text<'a> {
    pub(crate) fn of(program: &'a Program) -> String {
        let mut text = Self {
            program,
            out: String::new(),
        };
        text.module();
        text.out
    }

    fn put(&mut self, text: impl AsRef<str>) {
        self.out += text.as_ref();
    }

    fn module(&mut self) {
        let index = if self.program.is64 { "i64" } else { "i32" };
        let functions = self.program.functions.len();
        self.put(format!(
            "(module (memory (export \"memory\") {index} 1 1) (table {functions} funcref)\n\
             (type $f (func (param i64) (result i64)))\n\
             (global (export \"g0\") (mut i64) (i64.const 3))\n\
             (global (export \"g1\") (mut i32) (i32.const 4))\n\
             (data \"{SEGMENT}\") (elem (i32.const 0)"
        ));
        for n in 0..functions {
            self.put(format!(" $f{n}"));
        }
        self.put(format!(
            ")\n(func (export \"canister_update main\") i64.const {} call $f0 global.set 0)\n",
            self.program.argument as i64
        ));
        for (n, function) in self.program.functions.iter().enumerate() {
            self.put(format!("(func $f{n} (param i64) (result i64) (local"));
            for ty in &LOCALS[1..] {
                self.put(format!(" {}", ty.name()));
            }
            self.put(")\n");
            self.stmts(&function.body);
            self.expr(&function.result);
            self.put(")\n");
        }
        self.put(")");
    }

    fn stmts(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            self.stmt(stmt);
            self.put("\n");
        }
    }

    /// An i32 as an address or size.
    fn index(&mut self, expr: &Expr, mask: u64) {
        self.expr(expr);
        self.put(format!("i32.const {mask} i32.and "));
        if self.program.is64 {
            self.put("i64.extend_i32_u ");
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Nop => self.put("nop"),
            Stmt::Drop(value) => {
                self.expr(value);
                self.put("drop");
            }
            Stmt::SetLocal(local, value) => {
                self.expr(value);
                self.put(format!("local.set {local}"));
            }
            Stmt::Tee(local, value) => {
                self.expr(value);
                self.put(format!("local.tee {local} drop"));
            }
            Stmt::SetGlobal(global, value) => {
                self.expr(value);
                self.put(format!("global.set {global}"));
            }
            Stmt::Store(ty, address, value) => {
                self.index(address, ADDRESS);
                self.expr(value);
                self.put(format!("{}.store", ty.name()));
            }
            Stmt::Block(body) => {
                self.put("block\n");
                self.stmts(body);
                self.put("end");
            }
            Stmt::If(condition, then, other) => {
                self.expr(condition);
                self.put("if\n");
                self.stmts(then);
                if !other.is_empty() {
                    self.put("else\n");
                    self.stmts(other);
                }
                self.put("end");
            }
            Stmt::Loop(counter, times, body) => {
                self.put(format!(
                    "i32.const {times} local.set {counter} block loop \
                     local.get {counter} i32.eqz br_if 1 \
                     local.get {counter} i32.const 1 i32.sub local.set {counter}\n"
                ));
                self.stmts(body);
                self.put("br 0 end end");
            }
            Stmt::Br(label) => self.put(format!("br {label}")),
            Stmt::BrIf(label, condition) => {
                self.expr(condition);
                self.put(format!("br_if {label}"));
            }
            Stmt::BrTable(labels, index) => {
                self.expr(index);
                self.put("br_table");
                for label in labels {
                    self.put(format!(" {label}"));
                }
            }
            Stmt::Return(value) => {
                self.expr(value);
                self.put("return");
            }
            Stmt::TailCall(callee, value) => {
                self.expr(value);
                self.put(format!("return_call $f{callee}"));
            }
            Stmt::Fill(to, value, length) => {
                self.index(to, PLACE);
                self.expr(value);
                self.index(length, LENGTH);
                self.put("memory.fill");
            }
            Stmt::Copy(to, from, length) => {
                self.index(to, PLACE);
                self.index(from, PLACE);
                self.index(length, LENGTH);
                self.put("memory.copy");
            }
            Stmt::Init(to, length) => {
                self.index(to, PLACE);
                self.put("i32.const 5 ");
                self.expr(length);
                self.put(format!("i32.const {PIECE} i32.and memory.init 0"));
            }
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Const(ty, bits) => {
                let number = match ty {
                    I32 => (*bits as i32).to_string(),
                    I64 => (*bits as i64).to_string(),
                    F32 => format!("{:?}", f32_of(*bits)),
                    F64 => format!("{:?}", f64_of(*bits)),
                };
                let _ = write!(self.out, "{}.const {number}", ty.name());
            }
            Expr::Local(local) => self.put(format!("local.get {local}")),
            Expr::Global(global) => self.put(format!("global.get {global}")),
            Expr::Op(op, args) => {
                for arg in args {
                    self.expr(arg);
                }
                self.put(op.name);
            }
            Expr::Divide(op, operands) => {
                let [a, b] = operands.as_ref();
                let ty = op.result.name();
                self.expr(a);
                self.expr(b);
                let positive = positive(op.result);
                self.put(format!(
                    "{ty}.const {positive} {ty}.and {ty}.const 1 {ty}.or {}",
                    op.name
                ));
            }
            Expr::Load(ty, address) => {
                self.index(address, ADDRESS);
                self.put(format!("{}.load", ty.name()));
            }
            Expr::Select(operands) => {
                for operand in operands.iter() {
                    self.expr(operand);
                }
                self.put("select");
            }
            Expr::If(ty, arms) => {
                let [condition, then, other] = arms.as_ref();
                self.expr(condition);
                self.put(format!("if (result {}) ", ty.name()));
                self.expr(then);
                self.put("else ");
                self.expr(other);
                self.put("end");
            }
            Expr::Call(callee, argument) => {
                self.expr(argument);
                self.put(format!("call $f{callee}"));
            }
            Expr::CallIndirect(callee, argument) => {
                self.expr(argument);
                self.put(format!("i32.const {callee} call_indirect (type $f)"));
            }
            Expr::Size(grown) => {
                let index = if self.program.is64 { "i64" } else { "i32" };
                match grown {
                    true => self.put(format!("{index}.const 0 memory.grow")),
                    false => self.put("memory.size"),
                }
                if self.program.is64 {
                    self.put(" i32.wrap_i64");
                }
            }
        }
        self.put(" ");
    }
}

/// What a divisor is cut to before its lowest bit is set.
pub(crate) fn positive(ty: Ty) -> u64 {
    match ty {
        I32 => i32::MAX as u64,
        _ => i64::MAX as u64,
    }
}

impl Op {
    pub(crate) fn positive_divisor(&self, divisor: u64) -> u64 {
        divisor & positive(self.result) | 1
    }
}
