//! Each function of the System API, called in each context.

use super::stand;
use casemate_wasm::call::{Call, Entry, Failure, Principal, RejectCode, Statics};
use casemate_wasm::executor::{CanisterMemory, Seat};
use casemate_wasm::guest::State;
use casemate_wasm::system::{Category, Context, FUNCTIONS, Function, Number};
use std::sync::Arc;

pub(crate) fn each_function_is_legal_exactly_where_its_row_says() {
    stand::executors(|executor| {
        for function in FUNCTIONS {
            if function.category == Category::Native {
                continue;
            }
            let code = executor.compile(module(function).as_bytes()).unwrap();
            let memory = CanisterMemory::new(&code.profile).unwrap();
            let mut seat = executor.seat(&code, &memory, &State::default()).unwrap();
            let ran = seat.initialise().unwrap();
            seat.commit(&ran).unwrap();
            for context in Context::ALL {
                let is_refused = is_refused(seat.as_mut(), context);
                let (name, place) = (function.name, context.name());
                assert_eq!(is_refused, !function.is_legal(context), "{name} in {place}");
            }
        }
    });
}

fn is_refused(seat: &mut dyn Seat, context: Context) -> bool {
    let mut call = Call::new(entry(context), Statics::of(Principal::of_canister(1)));
    call.rejected = Some((RejectCode::CanisterError, "no".to_owned()));
    call.limits.instructions = 10_000_000;
    let call = Arc::new(call);
    // Where each of them runs.
    let ran = match call.entry.is_composite() {
        true => seat.queries().converse(&call, None, &mut ()).unwrap().0,
        false => seat.run(&call, &mut ()).unwrap(),
    };
    if ran.result.is_ok() && call.entry.keeps() {
        seat.commit(&ran).unwrap();
    }
    match ran.result {
        Ok(_) | Err(Failure::Canister { .. }) => false,
        Err(Failure::Contract { why, .. }) => why.starts_with("it can't be called in"),
        Err(other) => panic!("{other} in {}", context.name()),
    }
}

fn entry(context: Context) -> Entry {
    match context {
        Context::Start => Entry::Start,
        Context::Init => Entry::Init,
        Context::PreUpgrade => Entry::PreUpgrade,
        Context::Update => Entry::Update("u".to_owned()),
        Context::ReplicatedQuery => Entry::ReplicatedQuery("q".to_owned()),
        Context::Query => Entry::Query("q".to_owned()),
        Context::CompositeQuery => Entry::CompositeQuery("c".to_owned()),
        Context::Inspect => Entry::Inspect,
        Context::System => Entry::Heartbeat,
        context => Entry::Callback {
            context,
            function: 0,
            environment: 0,
        },
    }
}

/// A module that calls it from wherever it is entered. Zeros are valid: empty strings, the place
/// where a number is to be written, the management canister.
fn module(function: &Function) -> String {
    let name = |number| match number {
        Number::I32 => "i32",
        Number::I64 => "i64",
    };
    let types = |kind: &str, numbers: Vec<Number>| match numbers.is_empty() {
        true => String::new(),
        false => {
            let names: Vec<_> = numbers.into_iter().map(name).collect();
            format!("({kind} {})", names.join(" "))
        }
    };
    let zeros: String = function
        .params(false)
        .map(|number| format!("({}.const 0) ", name(number)))
        .collect();
    let params = types("param", function.params(false).collect());
    let results = function.results(false).collect::<Vec<_>>();
    let drops = "drop ".repeat(results.len());
    let results = types("result", results);
    // Whatever adds to a call needs one that was begun.
    let adds = function.name.starts_with("call_") && function.name != "call_new";
    let (import, begin) = match adds {
        true => (
            r#"(import "ic0" "call_new" (func $new (param i32 i32 i32 i32 i32 i32 i32 i32)))"#,
            format!("(call $new {})", "(i32.const 0) ".repeat(8)),
        ),
        false => ("", String::new()),
    };
    let own = function.name;
    format!(
        r#"(module {import}
            (import "ic0" "{own}" (func $own {params} {results}))
            (memory 1)
            (table 1 funcref)
            (elem (i32.const 0) $callback)
            (func $body {begin} (call $own {zeros}) {drops})
            (func $callback (param i32) (call $body))
            (start $body)
            (export "canister_init" (func $body))
            (export "canister_pre_upgrade" (func $body))
            (export "canister_inspect_message" (func $body))
            (export "canister_heartbeat" (func $body))
            (export "canister_update u" (func $body))
            (export "canister_query q" (func $body))
            (export "canister_composite_query c" (func $body)))"#
    )
}
