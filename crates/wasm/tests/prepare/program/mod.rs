//! Small programs, made from a seed, that end and don't trap.
//!
//! A program is a tree that is written as text for the runtime and walked by
//! [`reference`](crate::reference). What the two make of it has to be the same.

mod ops;
mod text;
mod writer;

pub(crate) use ops::{Op, positive};
pub(crate) use text::Text;
pub(crate) use writer::Dice;

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
