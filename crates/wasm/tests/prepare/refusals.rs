//! Each rule: a module that keeps it and one that breaks it.

use casemate_wasm::module::{Counted, Limits, Refusal, prepare};

/// Limits that small texts can reach.
fn small() -> Limits {
    Limits {
        code_bytes: 300,
        types: 3,
        functions: 4,
        function_bytes: 200,
        function_complexity: 60,
        complexity: 90,
        globals: 2,
        table_entries: 10,
        methods: 2,
        method_name_bytes: 10,
        metadata_sections: 2,
        metadata_bytes: 10,
        heap_pages: 100,
        ..Limits::default()
    }
}

fn refused(wat: &str) -> Refusal {
    let refusal = prepare(wat.as_bytes(), &small()).expect_err(wat);
    let text = refusal.to_string();
    let (said, hint) = text.split_once("\nhint: ").expect("a hint");
    assert!(!said.contains('\n') && !hint.is_empty(), "{text}");
    refusal
}

fn accepted(wat: &str) {
    if let Err(refusal) = prepare(wat.as_bytes(), &small()) {
        panic!("{wat}: {refusal}");
    }
}

fn too_many(wat: &str) -> (Counted, u64, u64) {
    match refused(wat) {
        Refusal::TooMany {
            what, has, limit, ..
        } => (what, has, limit),
        other => panic!("{wat}: {other}"),
    }
}

#[test]
fn features_that_are_on() {
    for body in [
        "(func (result i32 i32) (i32.const 1) (i32.const 2))",
        "(func (param f32) (result i32) (i32.trunc_sat_f32_s (local.get 0)))",
        "(func (param i32) (result i32) (i32.extend8_s (local.get 0)))",
        "(memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 9)))",
        "(memory i64 1) (func (memory.fill (i64.const 0) (i32.const 0) (i64.const 9)))",
        "(table 1 funcref) (func (result funcref) (table.get 0 (i32.const 0)))",
        "(table 1 funcref) (table 2 funcref) (func (drop (table.size 1)))",
        "(func (result v128) (i8x16.splat (i32.const 1)))",
        "(global (mut v128) (v128.const i64x2 0 0))",
        "(func $f (return_call $f))",
        "(table i64 2 funcref)",
    ] {
        accepted(&format!("(module {body})"));
    }
}

#[test]
fn features_that_are_off() {
    for (feature, body) in [
        ("threads", "(memory 1 1 shared)"),
        (
            "threads",
            "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))",
        ),
        (
            "relaxed SIMD",
            "(func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))",
        ),
        ("more than one memory", "(memory 1) (memory 1)"),
        (
            "extended constant expressions",
            "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
        ),
        ("exceptions", "(tag)"),
        ("exceptions", "(func (block $l (try_table (catch_all $l))))"),
        ("legacy exceptions", "(func try catch_all end)"),
        (
            "typed function references",
            "(type $t (func)) (func (param (ref $t)))",
        ),
        ("garbage collection", "(type (struct (field i32)))"),
        ("garbage collection", "(func (param i31ref))"),
        ("custom page sizes", "(memory 1 (pagesize 1))"),
        (
            "wide arithmetic",
            "(func (param i64 i64) (result i64 i64) \
             (i64.mul_wide_u (local.get 0) (local.get 1)))",
        ),
        (
            "references to values of the host (externref)",
            "(func (param externref))",
        ),
    ] {
        match refused(&format!("(module {body})")) {
            Refusal::Feature { feature: named, .. } => assert_eq!(named, feature, "{body}"),
            other => panic!("{body}: {other}"),
        }
    }
}

#[test]
fn what_no_proposal_allows_is_invalid() {
    let refusal = refused("(module (func (result i32)))");
    assert!(
        matches!(refusal, Refusal::Invalid { offset: 24, .. }),
        "{refusal}"
    );
    let refusal = refused("(module\n  (funk))");
    let text = "can't read the module's text: at 2:4: ";
    assert!(refusal.to_string().starts_with(text), "{refusal}");
    let mut cut = wat::parse_str("(module (func))").unwrap();
    cut.pop();
    let refusal = prepare(&cut, &small()).unwrap_err();
    assert!(matches!(refusal, Refusal::Invalid { .. }), "{refusal}");
}

#[test]
fn tables_do_not_change() {
    let table = "(table 3 funcref) (elem func 0)";
    for (name, body) in [
        ("table.set", "(table.set 0 (i32.const 0) (ref.null func))"),
        (
            "table.grow",
            "(drop (table.grow 0 (ref.null func) (i32.const 1)))",
        ),
        (
            "table.fill",
            "(table.fill 0 (i32.const 0) (ref.null func) (i32.const 1))",
        ),
        (
            "table.copy",
            "(table.copy (i32.const 0) (i32.const 1) (i32.const 1))",
        ),
        (
            "table.init",
            "(table.init 0 0 (i32.const 0) (i32.const 0) (i32.const 1))",
        ),
    ] {
        match refused(&format!("(module {table} (func) (func {body}))")) {
            Refusal::Instruction {
                function: 1,
                instruction,
                ..
            } => assert_eq!(instruction, name),
            other => panic!("{body}: {other}"),
        }
    }
}

#[test]
fn counts_have_bounds() {
    let module = |body: String| format!("(module {body})");
    let global = "(global i32 (i32.const 0))";
    accepted(&module(global.repeat(2)));
    assert_eq!(
        too_many(&module(global.repeat(3))),
        (Counted::Globals, 3, 2)
    );
    accepted(&module("(func)".repeat(4)));
    assert_eq!(
        too_many(&module("(func)".repeat(5))),
        (Counted::Functions, 5, 4)
    );
    let reply = r#"(import "ic0" "msg_reply" (func))"#;
    accepted(&module(reply.repeat(3)));
    assert_eq!(too_many(&module(reply.repeat(4))), (Counted::Imports, 4, 3));
    let types = "(type (func (param i32))) (type (func (param i64))) (type (func))";
    accepted(&module(types.to_owned()));
    let more = module(format!("{types} (type (func (param f32)))"));
    assert_eq!(too_many(&more), (Counted::Types, 4, 3));
    accepted(&module("(table 4 funcref) (table 6 funcref)".to_owned()));
    let entries = too_many(&module("(table 4 funcref) (table 7 funcref)".to_owned()));
    assert_eq!(entries, (Counted::TableEntries, 11, 10));
}

#[test]
fn code_has_bounds() {
    let function = |drops: usize| format!("(func {})", "(drop (i32.const 1))".repeat(drops));
    // Three bytes each; two instructions each; and the function's `end`.
    accepted(&format!("(module {})", function(29)));
    let refusal = refused(&format!("(module (func) {})", function(30)));
    assert!(
        matches!(
            refusal,
            Refusal::FunctionTooLarge {
                function: 1,
                has: 61,
                limit: 60,
                ..
            }
        ),
        "{refusal}"
    );
    let refusal = refused(&format!("(module {})", function(80)));
    let bytes = matches!(
        refusal,
        Refusal::FunctionTooLarge {
            what: "bytes",
            has: 242,
            ..
        }
    );
    assert!(bytes, "{refusal}");
    accepted(&format!("(module {0} {0})", function(22)));
    let all = too_many(&format!("(module {0} {0})", function(23)));
    assert_eq!(all, (Counted::Complexity, 94, 90));
    let (what, _, limit) = too_many(&format!("(module {0} {0})", function(60)));
    assert_eq!((what, limit), (Counted::CodeBytes, 300));
    // Locals and branch targets are the compiler's work too.
    let locals = format!("(module (func (local {})))", "i32 ".repeat(60));
    let refusal = refused(&locals);
    assert!(
        matches!(refusal, Refusal::FunctionTooLarge { has: 61, .. }),
        "{refusal}"
    );
    let targets = format!(
        "(module (func (i32.const 0) (br_table {} 0)))",
        "0 ".repeat(60)
    );
    let refusal = refused(&targets);
    assert!(
        matches!(refusal, Refusal::FunctionTooLarge { has: 63, .. }),
        "{refusal}"
    );
}

#[test]
fn imports_are_the_system_api_as_it_is() {
    accepted(r#"(module (import "ic0" "msg_arg_data_copy" (func (param i32 i32 i32))))"#);
    accepted(
        r#"(module (import "ic0" "msg_arg_data_copy" (func (param i64 i64 i64)))
             (import "env" "memory" (memory i64 1)))"#,
    );
    let refusal = refused(
        r#"(module (import "ic0" "msg_arg_data_copy" (func (param i32 i32 i32)))
             (memory i64 1))"#,
    );
    let text = "ic0.msg_arg_data_copy is (i64, i64, i64) -> (), and not (i32, i32, i32) -> ()";
    assert!(refusal.to_string().starts_with(text), "{refusal}");
    let refusal =
        refused(r#"(module (import "ic0" "stable_size" (func (result i32))) (memory i64 1))"#);
    assert!(
        matches!(
            refusal,
            Refusal::Only32 {
                name: "stable_size",
                ..
            }
        ),
        "{refusal}"
    );
}

#[test]
fn what_nobody_provides_is_refused_with_the_nearest_name() {
    for (module, name, hint) in [
        (
            "ic0",
            "msg_reply_data_apend",
            "did you mean ic0.msg_reply_data_append?",
        ),
        ("ic0", "call_simple", "the System API has no such function"),
        ("__", "out_of_instructions", "the wall's own"),
        (
            "wasi_snapshot_preview1",
            "fd_write",
            "canisters have no WASI",
        ),
        ("env", "abort", "functions of ic0 only"),
    ] {
        let refusal = refused(&format!(r#"(module (import "{module}" "{name}" (func)))"#));
        assert!(
            matches!(refusal, Refusal::UnknownImport { .. }),
            "{refusal}"
        );
        assert!(refusal.to_string().contains(hint), "{refusal}");
    }
    for (kind, item) in [
        ("table", r#""ic0" "t" (table 1 funcref)"#),
        ("memory", r#""ic0" "memory" (memory 1)"#),
        ("global", r#""env" "g" (global i32)"#),
    ] {
        match refused(&format!("(module (import {item}))")) {
            Refusal::ImportKind { kind: named, .. } => assert_eq!(named, kind),
            other => panic!("{item}: {other}"),
        }
    }
}

#[test]
fn memories_and_globals_can_be_kept() {
    accepted("(module (memory 100))");
    let refusal = refused("(module (memory 101))");
    let expected = Refusal::HeapTooLarge {
        minimum: 101,
        limit: 100,
    };
    assert_eq!(refusal, expected);
    accepted("(module (global funcref (ref.null func)))");
    let refusal =
        refused("(module (global i32 (i32.const 0)) (global (mut funcref) (ref.null func)))");
    assert_eq!(refusal, Refusal::ReferenceGlobal { global: 1 });
}

#[test]
fn segments_are_constant_and_inside() {
    accepted(r#"(module (memory 1) (data (i32.const 65535) "x"))"#);
    accepted("(module (table 2 funcref) (elem (i32.const 1) func 0) (func))");
    let refusal = refused(r#"(module (memory 1) (data "") (data (i32.const 65535) "xy"))"#);
    let outside = |kind, segment, end, limit| Refusal::SegmentOutside {
        kind,
        segment,
        end,
        limit,
    };
    assert_eq!(refusal, outside("data", 1, 65537, 65536));
    let refusal = refused(r#"(module (memory 1) (data (i32.const -1) ""))"#);
    assert_eq!(refusal, outside("data", 0, 4_294_967_295, 65536));
    let refusal = refused("(module (table 2 funcref) (elem (i32.const 1) func 0 0) (func))");
    assert_eq!(refusal, outside("element", 0, 3, 2));
    let refusal = refused(
        r#"(module (import "env" "base" (global i32)) (memory 1)
             (data (global.get 0) "x"))"#,
    );
    let offset = Refusal::SegmentOffset {
        kind: "data",
        segment: 0,
    };
    assert_eq!(refusal, offset);
}

#[test]
fn entry_points_are_known_and_take_nothing() {
    for name in [
        "canister_init",
        "canister_pre_upgrade",
        "canister_post_upgrade",
        "canister_inspect_message",
        "canister_heartbeat",
        "canister_global_timer",
        "canister_on_low_wasm_memory",
        "canister_update a b",
        "canister_query ",
        "canister_composite_query x",
        "not_canister_foo",
        "__heap_base",
        "memory",
    ] {
        accepted(&format!(r#"(module (func (export "{name}")))"#));
    }
    for name in [
        "canister_",
        "canister_foo",
        "canister_update",
        "canister_updates a",
        "canister_init x",
        "canister_queries",
    ] {
        let refusal = refused(&format!(r#"(module (func (export "{name}")))"#));
        assert!(
            matches!(refusal, Refusal::UnknownExport { .. }),
            "{refusal}"
        );
    }
    let refusal = refused(r#"(module (func (export "canister_init") (param i32)))"#);
    let text = "the entry point `canister_init` is (i32) -> (), and has to be () -> ()";
    assert!(refusal.to_string().starts_with(text), "{refusal}");
    let refusal =
        refused(r#"(module (func (export "canister_query q") (result i64) i64.const 1))"#);
    assert!(matches!(refusal, Refusal::EntryType { .. }), "{refusal}");
    let refusal = refused(r#"(module (memory (export "canister_init") 1))"#);
    assert!(
        matches!(refusal, Refusal::EntryKind { kind: "memory", .. }),
        "{refusal}"
    );
}

#[test]
fn names_of_the_walls_own_exports_are_taken() {
    for name in [
        "__heap",
        "__stable",
        "__touched",
        "__instructions",
        "__stable_reads_left",
        "__stable_writes_left",
        "__table",
        "__global_0",
        "__global_x",
        "canister_start",
    ] {
        let refusal = refused(&format!(r#"(module (func (export "{name}")))"#));
        assert!(
            matches!(refusal, Refusal::ReservedExport { .. }),
            "{refusal}"
        );
    }
}

#[test]
fn methods_are_distinct_and_few() {
    let exports = |names: &[&str]| {
        let export = |name: &&str| format!(r#"(export "canister_{name}" (func 0))"#);
        let exports: String = names.iter().map(export).collect();
        format!("(module (func) {exports})")
    };
    accepted(&exports(&["update aaaaa", "query bbbbb"]));
    let refusal = refused(&exports(&["update a", "query a"]));
    assert!(
        matches!(refusal, Refusal::DuplicateMethod { .. }),
        "{refusal}"
    );
    let methods = too_many(&exports(&["update a", "query b", "query c"]));
    assert_eq!(methods, (Counted::Methods, 3, 2));
    let bytes = too_many(&exports(&["update aaaaa", "query bbbbbb"]));
    assert_eq!(bytes, (Counted::MethodNameBytes, 11, 10));
}

#[test]
fn metadata_is_public_or_private_and_small() {
    let sections = |sections: &[(&str, &str)]| {
        let section = |(name, text): &(&str, &str)| format!(r#"(@custom "{name}" "{text}")"#);
        let sections: String = sections.iter().map(section).collect();
        format!("(module {sections})")
    };
    let producers = ("producers", "anything at all");
    accepted(&sections(&[
        ("icp:public a", "12345"),
        ("icp:private b", "12345"),
        producers,
    ]));
    let three = [
        ("icp:public a", ""),
        ("icp:public b", ""),
        ("icp:public c", ""),
    ];
    assert_eq!(too_many(&sections(&three)), (Counted::Metadata, 3, 2));
    let long = [("icp:public a", "123456"), ("icp:private b", "12345")];
    assert_eq!(too_many(&sections(&long)), (Counted::MetadataBytes, 11, 10));
    for name in ["icp:secret a", "icp:public", "icp:"] {
        let refusal = refused(&sections(&[(name, "")]));
        assert!(matches!(refusal, Refusal::MetadataName { .. }), "{refusal}");
    }
    let refusal = refused(&sections(&[("icp:public a", ""), ("icp:private a", "")]));
    assert!(
        matches!(refusal, Refusal::DuplicateMetadata { .. }),
        "{refusal}"
    );
}

#[test]
fn hostile_names_are_shown_short_and_on_one_line() {
    let long = "x".repeat(5000);
    let refusal = refused(&format!(
        r#"(module (func (export "canister_\n\1b[2J{long}")))"#
    ));
    let text = refusal.to_string();
    assert!(
        text.contains(r"canister_\n\u{1b}[2Jxxx") && text.len() < 400,
        "{text}"
    );
    // Messages of the parser and the validator quote names, too.
    let twice = r#"(export "\1b[2J" (func 0))"#.repeat(2);
    let text = refused(&format!("(module (func) {twice})")).to_string();
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let text = refused(r#"(module (func (call $"\1b[2J")))"#).to_string();
    assert!(!text.contains('\u{1b}'), "{text:?}");
}
