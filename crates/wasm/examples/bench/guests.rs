//! The guests, as text.

use std::fmt::Write;

/// The address type of a guest's heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Width {
    Wasm32,
    Wasm64,
}

impl Width {
    pub(crate) const BOTH: [Self; 2] = [Self::Wasm32, Self::Wasm64];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wasm32 => "wasm32",
            Self::Wasm64 => "wasm64",
        }
    }

    fn pointer(self) -> &'static str {
        match self {
            Self::Wasm32 => "i32",
            Self::Wasm64 => "i64",
        }
    }

    fn memory(self) -> &'static str {
        match self {
            Self::Wasm32 => "",
            Self::Wasm64 => "i64 ",
        }
    }
}

/// What is done to each address of a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Read,
    Write,
}

/// One walk over the whole heap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    pub(crate) access: Access,
    pub(crate) is_backward: bool,
    pub(crate) step: u64,
}

impl Walk {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        [Access::Read, Access::Write]
            .into_iter()
            .flat_map(|access| {
                [false, true].into_iter().flat_map(move |is_backward| {
                    [8, 4096, 16384].into_iter().map(move |step| Self {
                        access,
                        is_backward,
                        step,
                    })
                })
            })
    }

    pub(crate) fn method(self) -> String {
        let access = match self.access {
            Access::Read => "read",
            Access::Write => "write",
        };
        let direction = match self.is_backward {
            false => "forward",
            true => "backward",
        };
        format!("{access}_{direction}_{}", self.step)
    }

    /// How many pages of 4 KiB it touches.
    pub(crate) fn pages(self, bytes: u64) -> u64 {
        bytes / self.step.max(4096)
    }
}

/// A heap of so many bytes, and a method for each walk over it, as an update and as a query. What is
/// read is summed up, so that nobody can leave the reading out.
pub(crate) fn heap(width: Width, bytes: u64) -> String {
    let (pointer, memory, pages) = (width.pointer(), width.memory(), bytes >> 16);
    let mut text = format!(
        r#"(module
  (import "ic0" "msg_reply" (func $reply))
  (memory {memory}{pages} {pages})
  (global $sum (mut i64) (i64.const 0))
  (func $read (param $at {pointer}) (param $end {pointer}) (param $step {pointer})
    (local $sum i64)
    (loop $again
      (local.set $sum (i64.xor (local.get $sum) (i64.load (local.get $at))))
      (local.set $at ({pointer}.add (local.get $at) (local.get $step)))
      (br_if $again ({pointer}.ne (local.get $at) (local.get $end))))
    (global.set $sum (local.get $sum)))
  (func $write (param $at {pointer}) (param $end {pointer}) (param $step {pointer})
    (local $value i64)
    (local.set $value (i64.add (global.get $sum) (i64.const 1)))
    (global.set $sum (local.get $value))
    (loop $again
      (i64.store (local.get $at) (local.get $value))
      (local.set $at ({pointer}.add (local.get $at) (local.get $step)))
      (br_if $again ({pointer}.ne (local.get $at) (local.get $end)))))
  (func (export "canister_init")
    (call $write ({pointer}.const 0) ({pointer}.const {bytes}) ({pointer}.const 4096)))
  (func (export "canister_update empty") (call $reply))
"#
    );
    for walk in Walk::all() {
        let name = walk.method();
        let access = match walk.access {
            Access::Read => "read",
            Access::Write => "write",
        };
        let step = walk.step as i64;
        let (from, to, step) = match walk.is_backward {
            false => (0, bytes as i64, step),
            true => (bytes as i64 - step, -step, -step),
        };
        let body = format!(
            "(call ${access} ({pointer}.const {from}) ({pointer}.const {to}) \
             ({pointer}.const {step})) (call $reply)"
        );
        for kind in ["update u", "query q"] {
            let _ = writeln!(text, "  (func (export \"canister_{kind}_{name}\") {body})");
        }
    }
    text.push(')');
    text
}

/// A counter; and a method that does nothing.
pub(crate) const COUNTER: &str = r#"(module
  (import "ic0" "msg_reply" (func $reply))
  (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
  (memory 1 1)
  (func (export "canister_update empty") (call $reply))
  (func (export "canister_query nothing") (call $reply))
  (func (export "canister_update increment")
    (i64.store (i32.const 0) (i64.add (i64.load (i32.const 0)) (i64.const 1)))
    (call $append (i32.const 0) (i32.const 8))
    (call $reply))
  (func (export "canister_query get")
    (call $append (i32.const 0) (i32.const 8))
    (call $reply)))"#;

/// Stable memory of 8193 pages of Wasm, with 8 bytes written to each of so many pages of 4 KiB.
pub(crate) fn stable(touched: u64) -> String {
    format!(
        r#"(module
  (import "ic0" "msg_reply" (func $reply))
  (import "ic0" "stable64_grow" (func $grow (param i64) (result i64)))
  (import "ic0" "stable64_read" (func $read (param i64 i64 i64)))
  (import "ic0" "stable64_write" (func $write (param i64 i64 i64)))
  (memory 400 400)
  (func $reads (param $step i64) (local $left i64) (local $at i64)
    (local.set $left (i64.const {touched}))
    (loop $again
      (call $read (i64.const 0) (local.get $at) (i64.const 8))
      (local.set $at (i64.add (local.get $at) (local.get $step)))
      (br_if $again (i64.ne (local.tee $left (i64.sub (local.get $left) (i64.const 1))) (i64.const 0)))))
  (func $writes (param $step i64) (local $left i64) (local $at i64)
    (i64.store (i32.const 0) (i64.add (i64.load (i32.const 0)) (i64.const 1)))
    (local.set $left (i64.const {touched}))
    (loop $again
      (call $write (local.get $at) (i64.const 0) (i64.const 8))
      (local.set $at (i64.add (local.get $at) (local.get $step)))
      (br_if $again (i64.ne (local.tee $left (i64.sub (local.get $left) (i64.const 1))) (i64.const 0)))))
  (func (export "canister_init")
    (drop (call $grow (i64.const 8193)))
    (call $writes (i64.const 4096)))
  (func (export "canister_update empty") (call $reply))
  (func (export "canister_update single_read") (call $reads (i64.const 0)) (call $reply))
  (func (export "canister_update sparse_read") (call $reads (i64.const 4096)) (call $reply))
  (func (export "canister_update single_write") (call $writes (i64.const 0)) (call $reply))
  (func (export "canister_update sparse_write") (call $writes (i64.const 4096)) (call $reply))
  (func (export "canister_update read_20_mib")
    (call $read (i64.const 0) (i64.const 0) (i64.const 20971520)) (call $reply))
  (func (export "canister_update write_2_mib")
    (call $write (i64.const 0) (i64.const 0) (i64.const 2097152)) (call $reply)))"#
    )
}

/// So many bytes of code, as a compiler makes them: functions that do something, and data.
pub(crate) fn large(bytes: usize) -> String {
    let mut text = String::from(
        "(module (import \"ic0\" \"msg_reply\" (func $reply)) (memory 2 1000)\n\
         (global $g (mut i32) (i32.const 0))\n",
    );
    // A function is some 100 bytes of the module.
    let functions = bytes / 107;
    for number in 0..functions {
        let _ = writeln!(
            text,
            "(func $f{number} (param i32 i32) (result i32) (local i32 i64)
              (local.set 2 (i32.mul (local.get 0) (i32.const {k})))
              (if (i32.lt_u (local.get 2) (local.get 1))
                (then (i32.store offset={o} (i32.and (local.get 2) (i32.const 65528)) (local.get 1)))
                (else (local.set 3 (i64.load offset=8 (i32.and (local.get 1) (i32.const 65528))))
                  (local.set 2 (i32.add (i32.wrap_i64 (local.get 3)) (local.get 2)))))
              (loop (local.set 0 (i32.shr_u (local.get 0) (i32.const 1)))
                (local.set 2 (i32.xor (local.get 2) (local.get 0)))
                (br_if 0 (local.get 0)))
              (global.set $g (i32.add (global.get $g) (local.get 2)))
              (i32.rotl (local.get 2) (i32.const {r})))",
            k = number * 7 + 3,
            o = number % 4096,
            r = number % 31 + 1,
        );
    }
    let names: Vec<String> = (0..functions).map(|number| format!("$f{number}")).collect();
    let _ = writeln!(
        text,
        "(table funcref (elem {}))\n\
         (data (i32.const 1024) \"{}\")\n\
         (func (export \"canister_update empty\") (drop (call $f0 (i32.const 1) (i32.const 2))) (call $reply)))",
        names.join(" "),
        "some data".repeat(800),
    );
    text
}
