//! Programs as text for the runtime.

use std::fmt::Write;

use super::Ty::{F32, F64, I32, I64};
use super::ops::{f32_of, f64_of};
use super::{ADDRESS, Expr, LENGTH, LOCALS, PIECE, PLACE, Program, SEGMENT, Stmt, positive};

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
