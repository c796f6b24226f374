//! What the network would take, for canisters that ask.

use super::stand::{self, Stand};
use candid::{CandidType, Deserialize, Encode, Reserved};
use casemate_wasm::call::{Answer, Entry, Failure};

/// `cost` with the width's pointers: `(import, arguments, results)` of a function that is called with
/// its argument at 64 and answers with 16 bytes and its result.
fn module(name: &str, params: &str, arguments: &str, has_result: bool) -> String {
    let result = if has_result { "(result i32)" } else { "" };
    let call = format!("(call $cost {arguments})");
    let call = match has_result {
        true => format!("(i32.store (i32.const 16) {call})"),
        false => call,
    };
    format!(
        r#"(module
        (import "ic0" "msg_arg_data_size" (func $size (result i32)))
        (import "ic0" "msg_arg_data_copy" (func $copy (param i32 i32 i32)))
        (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
        (import "ic0" "msg_reply" (func $reply))
        (import "ic0" "{name}" (func $cost (param {params}) {result}))
        (memory 1)
        (func (export "canister_query cost")
          (call $copy (i32.const 64) (i32.const 0) (call $size))
          {call}
          (call $append (i32.const 0) (i32.const 20))
          (call $reply))
        (func (export "canister_init")))"#
    )
}

/// Cycles, and what the function returned.
fn cost(stand: &mut Stand, argument: &[u8]) -> Result<(u128, i32), Failure> {
    let mut call = Stand::call_of(Entry::Query("cost".to_owned()));
    call.argument = argument.to_vec();
    let Some(Answer::Reply(bytes)) = stand.ask_of(call).result? else {
        panic!("no answer");
    };
    let (cycles, result) = bytes.split_at(16);
    Ok((
        u128::from_le_bytes(cycles.try_into().unwrap()),
        i32::from_le_bytes(result.try_into().unwrap()),
    ))
}

pub(crate) fn costs_are_those_of_a_subnet_of_13_nodes() {
    let call = module(
        "cost_call",
        "i64 i64 i32",
        "(i64.const 3) (i64.const 4) (i32.const 0)",
        false,
    );
    stand::each(&call, |stand| {
        assert_eq!(cost(stand, b"").unwrap(), (42_102_419_000, 0));
    });
    let creation = module("cost_create_canister", "i32", "(i32.const 0)", false);
    stand::each(&creation, |stand| {
        assert_eq!(cost(stand, b"").unwrap(), (500_000_000_000, 0));
    });
    let request = module(
        "cost_http_request",
        "i64 i64 i32",
        "(i64.const 10) (i64.const 100) (i32.const 0)",
        false,
    );
    stand::each(&request, |stand| {
        assert_eq!(cost(stand, b"").unwrap(), (50_232_000, 0));
    });
    for (name, curves) in [
        ("cost_sign_with_ecdsa", 1),
        ("cost_sign_with_schnorr", 2),
        ("cost_vetkd_derive_key", 1),
    ] {
        for curve in 0..3 {
            let arguments =
                format!("(i32.const 64) (call $size) (i32.const {curve}) (i32.const 0)");
            let module = module(name, "i32 i32 i32 i32", &arguments, true);
            stand::each(&module, |stand| {
                let expected = match curve < curves {
                    true => [(26_153_846_153, 0), (10_000_000_000, 0), (0, 2)],
                    false => [(0, 1); 3],
                };
                let found = ["key_1", "test_key_1", "nobody's"]
                    .map(|key| cost(stand, key.as_bytes()).unwrap());
                assert_eq!(found, expected, "{name} {curve}");
            });
        }
    }
}

#[derive(CandidType, Deserialize)]
struct Parameters {
    request_bytes: u64,
    http_roundtrip_time_ms: u64,
    raw_response_bytes: u64,
    transformed_response_bytes: u64,
    transform_instructions: u64,
    outcall_type: Option<Kind>,
}

#[derive(CandidType, Deserialize)]
enum Kind {
    #[serde(rename = "fully_replicated")]
    All,
    #[serde(rename = "non_replicated")]
    One(Reserved),
    #[serde(rename = "flexible")]
    Some(Option<Counts>),
}

#[derive(CandidType, Deserialize)]
struct Counts {
    min_responses: u32,
    max_responses: u32,
    total_requests: u32,
}

/// The five numbers that a caller of before knew nothing else of.
#[derive(CandidType, Deserialize)]
struct Numbers {
    request_bytes: u64,
    http_roundtrip_time_ms: u64,
    raw_response_bytes: u64,
    transformed_response_bytes: u64,
    transform_instructions: u64,
}

pub(crate) fn a_request_costs_what_it_is_said_to_take() {
    let with = |outcall_type| {
        Encode!(&Parameters {
            request_bytes: 100,
            http_roundtrip_time_ms: 2_000,
            raw_response_bytes: 1_000,
            transformed_response_bytes: 500,
            transform_instructions: 26,
            outcall_type,
        })
        .unwrap()
    };
    let counts = |min_responses, max_responses, total_requests| {
        Some(Kind::Some(Some(Counts {
            min_responses,
            max_responses,
            total_requests,
        })))
    };
    let short = Encode!(&Numbers {
        request_bytes: 100,
        http_roundtrip_time_ms: 2_000,
        raw_response_bytes: 1_000,
        transformed_response_bytes: 500,
        transform_instructions: 26,
    })
    .unwrap();
    let arguments = "(i32.const 64) (call $size) (i32.const 0)";
    let module = module("cost_http_request_v2", "i32 i32 i32", arguments, false);
    stand::each(&module, |stand| {
        for (parameters, expected) in [
            (short.clone(), 51_677_626),
            (with(None), 51_677_626),
            (with(Some(Kind::All)), 51_677_626),
            (with(Some(Kind::One(Reserved))), 35_633_002),
            (with(Some(Kind::Some(None))), 146_258_996),
            (with(counts(9, 13, 13)), 146_258_996),
        ] {
            assert_eq!(cost(stand, &parameters).unwrap(), (expected, 0));
        }
        let whole = with(None);
        for wrong in [&whole[..whole.len() - 1], b"", b"DIDL\0\0", &[0xff; 64]] {
            match cost(stand, wrong).unwrap_err() {
                Failure::Contract { function, .. } => {
                    assert_eq!(function, "ic0.cost_http_request_v2");
                }
                other => panic!("{other}"),
            }
        }
    });
}

/// Cycles out of nothing are for one canister of the network.
pub(crate) fn nobody_makes_cycles_here() {
    let module = r#"(module
        (import "ic0" "mint_cycles" (func $short (param i64) (result i64)))
        (import "ic0" "mint_cycles128" (func $long (param i64 i64 i32)))
        (memory 1)
        (func (export "canister_update mint_cycles") (drop (call $short (i64.const 1))))
        (func (export "canister_update mint_cycles128")
          (call $long (i64.const 0) (i64.const 1) (i32.const 0)))
        (func (export "canister_init")))"#;
    stand::each(module, |stand| {
        for name in ["mint_cycles", "mint_cycles128"] {
            match stand.update(name).unwrap_err() {
                Failure::Contract { function, why } => {
                    assert_eq!(function, format!("ic0.{name}"));
                    assert!(why.contains("cycles minting canister"), "{why}");
                }
                other => panic!("{other}"),
            }
        }
    });
}
