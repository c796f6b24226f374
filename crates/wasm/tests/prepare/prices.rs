//! What single instructions cost, counted by hand.

use crate::host::Guest;

const SIMPLE: i64 = 1;

/// A guest whose method does that, in a module with one of everything.
fn guest(is64: bool, body: &str) -> Guest {
    let index = if is64 { "i64" } else { "i32" };
    Guest::new(&format!(
        r#"(module (memory {index} 1 2) (table 2 funcref) (elem (i32.const 0) $callee $callee)
          (global (mut i32) (i32.const 0)) (data "0123456789") (type $nothing (func))
          (func $callee)
          (func $method (export "canister_update it") (local i32 i64 f32 f64 v128) {body}))"#
    ))
}

#[test]
fn each_category_has_its_price() {
    for (body, cost) in [
        ("", 0),
        ("nop (block) (loop)", 0),
        ("(drop (i32.const 1))", 2),
        ("(drop (i64.add (local.get 1) (i64.const 2)))", 4),
        (
            "(local.set 0 (select (i32.const 1) (i32.const 2) (i32.const 3)))",
            5,
        ),
        ("(drop (ref.is_null (ref.null func)))", 3),
        ("(drop (i32.extend8_s (i32.wrap_i64 (local.get 1))))", 4),
        ("(drop (i32.div_u (local.get 0) (i32.const 3)))", 13),
        ("(drop (i64.rem_s (local.get 1) (i64.const 3)))", 13),
        ("(global.set 0 (global.get 0))", 4),
        ("(drop (i32.load (i32.const 0)))", 3),
        ("(i64.store8 (i32.const 0) (i64.const 1))", 3),
        ("(drop (v128.load (i32.const 0)))", 3),
        ("(drop (f32.add (local.get 2) (f32.const 1)))", 5),
        ("(drop (f64.lt (local.get 3) (f64.const 1)))", 5),
        ("(drop (f64.nearest (local.get 3)))", 4),
        ("(drop (f32.div (local.get 2) (f32.const 1)))", 6),
        ("(drop (f64.div (local.get 3) (f64.const 1)))", 8),
        ("(drop (f64.min (local.get 3) (f64.const 1)))", 21),
        ("(drop (f32.sqrt (local.get 2)))", 7),
        ("(drop (f64.sqrt (local.get 3)))", 10),
        ("(drop (f64.promote_f32 (local.get 2)))", 5),
        ("(drop (f32.convert_i64_u (local.get 1)))", 18),
        ("(drop (i32.trunc_f64_u (local.get 3)))", 22),
        ("(drop (i64.trunc_sat_f32_s (local.get 2)))", 22),
        ("(if (i32.const 1) (then nop) (else (call $callee)))", 3),
        ("(if (i32.const 0) (then nop) (else (call $callee)))", 8),
        ("(block (br 0))", 2),
        ("(block (br_if 0 (i32.const 1)) (call $callee))", 3),
        ("(block (br_if 0 (i32.const 0)) (call $callee))", 8),
        ("(block (br_table 0 0 (i32.const 5)))", 3),
        ("(return)", 2),
        ("(call $callee)", 5),
        ("(call_indirect (type $nothing) (i32.const 1))", 11),
        ("(return_call $callee)", 3),
        ("(return_call_indirect (type $nothing) (i32.const 1))", 61),
        ("(drop (memory.size))", 21),
        ("(drop (memory.grow (i32.const 1)))", 302),
        ("(drop (table.size))", 21),
        ("(drop (table.get (i32.const 0)))", 7),
        (
            "(memory.fill (i32.const 0) (i32.const 0) (i32.const 1000))",
            1103,
        ),
        (
            "(memory.copy (i32.const 9) (i32.const 0) (i32.const 70))",
            173,
        ),
        (
            "(memory.init 0 (i32.const 9) (i32.const 0) (i32.const 7))",
            110,
        ),
        ("(data.drop 0)", 300),
        ("(elem.drop 0)", 300),
        ("(drop (ref.func $callee))", 131),
        ("(local.set 4 (i32x4.add (local.get 4) (local.get 4)))", 5),
        ("(local.set 4 (f32x4.div (local.get 4) (local.get 4)))", 23),
        ("(local.set 4 (i32x4.trunc_sat_f32x4_s (local.get 4)))", 42),
    ] {
        assert_eq!(
            guest(false, body).cost("canister_update it"),
            cost,
            "{body}"
        );
    }
}

#[test]
fn memory_is_dearer_with_64_bits() {
    for (body, cost) in [
        ("(drop (i32.load (i64.const 0)))", 4),
        (
            "(memory.fill (i64.const 0) (i32.const 0) (i64.const 1000))",
            1103,
        ),
        (
            "(memory.init 0 (i64.const 9) (i32.const 0) (i32.const 7))",
            110,
        ),
        ("(drop (memory.grow (i64.const 1)))", 302),
    ] {
        assert_eq!(guest(true, body).cost("canister_update it"), cost, "{body}");
    }
}

#[test]
fn what_is_not_reached_is_not_paid() {
    for (body, cost) in [
        ("(return) (call $callee) (call $callee)", 2),
        ("(block (br 0) (call $callee)) (call $callee)", 7),
        // A trap pays for the block it happens in.
        ("(if (i32.const 0) (then (unreachable) (call $callee)))", 3),
        ("(block (loop (br 1) (br 0)))", 2),
    ] {
        assert_eq!(
            guest(false, body).cost("canister_update it"),
            cost,
            "{body}"
        );
    }
}

#[test]
fn a_size_of_no_sense_is_charged_and_not_paid_back() {
    let bodies = [
        "(memory.fill (i64.const 0) (i32.const 0) (i64.const -1))",
        "(memory.copy (i64.const 0) (i64.const 0) (i64.const 0x8000000000000000))",
    ];
    for body in bodies {
        let mut guest = guest(true, body);
        let before = guest.get("__instructions");
        assert!(guest.run("canister_update it").is_err());
        let spent = before - guest.get("__instructions");
        assert_eq!(spent, (1 << 48) + 100 + 3 * SIMPLE);
    }
}
