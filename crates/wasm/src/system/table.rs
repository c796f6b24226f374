//! The rows of the System API.
//!
//! Order and grouping follow the specification. `I` stands for the guest's pointer.

use super::Category::{Argument, Debug, Effect, Metering, Native, Static};
use super::Context::{
    Cleanup, CompositeCleanup, CompositeQuery, CompositeReject, CompositeReply, Init, Inspect,
    PreUpgrade, Query, Reject, ReplicatedQuery, Reply, Start, System, Transform, Update,
};
use super::Value::{I32, I64, Pointer as I};
use super::{Category, Contexts, Function, Value};

const BUT_START: Contexts = Contexts::of(&[
    Init,
    PreUpgrade,
    Update,
    ReplicatedQuery,
    Query,
    Transform,
    CompositeQuery,
    Reply,
    Reject,
    CompositeReply,
    CompositeReject,
    Cleanup,
    CompositeCleanup,
    Inspect,
    System,
]);
const ALWAYS: Contexts = BUT_START.and(Contexts::of(&[Start]));
const ARGUMENT: Contexts = Contexts::of(&[
    Init,
    Update,
    ReplicatedQuery,
    Query,
    Transform,
    CompositeQuery,
    Reply,
    CompositeReply,
    Inspect,
]);
const CALLER_INFO: Contexts = Contexts::of(&[
    Update,
    ReplicatedQuery,
    Query,
    CompositeQuery,
    Reply,
    Reject,
    CompositeReply,
    CompositeReject,
    Cleanup,
    CompositeCleanup,
    Inspect,
]);
const REJECT_CODE: Contexts =
    Contexts::of(&[Reply, Reject, CompositeReply, CompositeReject, Cleanup]);
const REJECT_TEXT: Contexts = Contexts::of(&[Reject, CompositeReject]);
const DEADLINE: Contexts = Contexts::of(&[
    Update,
    ReplicatedQuery,
    Query,
    CompositeQuery,
    Reply,
    Reject,
    CompositeReply,
    CompositeReject,
]);
const ANSWERS: Contexts = DEADLINE.and(Contexts::of(&[Transform]));
const CYCLES_IN: Contexts = Contexts::of(&[Update, ReplicatedQuery, Reply, Reject]);
const CYCLES_BACK: Contexts = Contexts::of(&[Reply, Reject]);
const CYCLES_OUT: Contexts = Contexts::of(&[Update, Reply, Reject, System]);
const LASTING: Contexts = Contexts::of(&[Init, PreUpgrade, Update, Reply, Reject, Cleanup, System]);
const CERTIFIES: Contexts = Contexts::of(&[Init, PreUpgrade, Update, Reply, Reject, System]);
const REPLICATED: Contexts = LASTING.and(Contexts::of(&[ReplicatedQuery]));
const CERTIFICATE: Contexts = Contexts::of(&[Query, CompositeQuery]);
const INSPECT: Contexts = Contexts::of(&[Inspect]);
const CALLS: Contexts = Contexts::of(&[
    Update,
    CompositeQuery,
    Reply,
    Reject,
    CompositeReply,
    CompositeReject,
    System,
]);

const NOTHING: &[Value] = &[];
/// `(dst, offset, size)`.
const COPY: &[Value] = &[I, I, I];
/// `(src, size)`.
const BLOB: &[Value] = &[I, I];

const fn row(
    name: &'static str,
    params: &'static [Value],
    results: &'static [Value],
    category: Category,
    contexts: Contexts,
    overhead: u64,
) -> Function {
    Function {
        name,
        params,
        results,
        category,
        contexts,
        only32: false,
        overhead,
    }
}

/// A form that was there before 64-bit guests were.
const fn legacy(function: Function) -> Function {
    Function {
        only32: true,
        ..function
    }
}

/// Every function that a guest may import.
#[rustfmt::skip]
pub static FUNCTIONS: &[Function] = &[
    row("msg_arg_data_size", NOTHING, &[I], Argument, ARGUMENT, 500),
    row("msg_arg_data_copy", COPY, NOTHING, Argument, ARGUMENT, 500),
    row("msg_caller_size", NOTHING, &[I], Argument, BUT_START, 500),
    row("msg_caller_copy", COPY, NOTHING, Argument, BUT_START, 500),
    row("msg_caller_info_data_size", NOTHING, &[I], Argument, CALLER_INFO, 500),
    row("msg_caller_info_data_copy", COPY, NOTHING, Argument, CALLER_INFO, 500),
    row("msg_caller_info_signer_size", NOTHING, &[I], Argument, CALLER_INFO, 500),
    row("msg_caller_info_signer_copy", COPY, NOTHING, Argument, CALLER_INFO, 500),
    row("msg_reject_code", NOTHING, &[I32], Argument, REJECT_CODE, 500),
    row("msg_reject_msg_size", NOTHING, &[I], Argument, REJECT_TEXT, 500),
    row("msg_reject_msg_copy", COPY, NOTHING, Argument, REJECT_TEXT, 500),
    row("msg_deadline", NOTHING, &[I64], Argument, DEADLINE, 500),
    row("msg_reply_data_append", BLOB, NOTHING, Effect, ANSWERS, 500),
    row("msg_reply", NOTHING, NOTHING, Effect, ANSWERS, 500),
    row("msg_reject", BLOB, NOTHING, Effect, ANSWERS, 500),
    row("msg_cycles_available128", &[I], NOTHING, Argument, CYCLES_IN, 500),
    row("msg_cycles_refunded128", &[I], NOTHING, Argument, CYCLES_BACK, 500),
    row("msg_cycles_accept128", &[I64, I64, I], NOTHING, Effect, CYCLES_IN, 500),
    row("cycles_burn128", &[I64, I64, I], NOTHING, Effect, REPLICATED, 500),
    row("msg_method_name_size", NOTHING, &[I], Argument, INSPECT, 500),
    row("msg_method_name_copy", COPY, NOTHING, Argument, INSPECT, 500),
    row("accept_message", NOTHING, NOTHING, Effect, INSPECT, 500),

    row("canister_self_size", NOTHING, &[I], Static, BUT_START, 500),
    row("canister_self_copy", COPY, NOTHING, Static, BUT_START, 500),
    row("canister_cycle_balance128", &[I], NOTHING, Static, BUT_START, 500),
    row("canister_liquid_cycle_balance128", &[I], NOTHING, Static, BUT_START, 500),
    row("canister_status", NOTHING, &[I32], Static, BUT_START, 500),
    row("canister_version", NOTHING, &[I64], Static, BUT_START, 500),
    row("subnet_self_size", NOTHING, &[I], Static, BUT_START, 500),
    row("subnet_self_copy", COPY, NOTHING, Static, BUT_START, 500),
    row("subnet_self_node_count", NOTHING, &[I32], Static, BUT_START, 500),
    row("is_controller", BLOB, &[I32], Static, ALWAYS, 1000),
    row("in_replicated_execution", NOTHING, &[I32], Static, ALWAYS, 200),
    row("root_key_size", NOTHING, &[I], Static, REPLICATED, 500),
    row("root_key_copy", COPY, NOTHING, Static, REPLICATED, 500),
    row("env_var_count", NOTHING, &[I], Static, BUT_START, 500),
    row("env_var_name_size", &[I], &[I], Static, BUT_START, 500),
    row("env_var_name_copy", &[I, I, I, I], NOTHING, Static, BUT_START, 500),
    row("env_var_name_exists", BLOB, &[I32], Static, BUT_START, 500),
    row("env_var_value_size", BLOB, &[I], Static, BUT_START, 500),
    row("env_var_value_copy", &[I, I, I, I, I], NOTHING, Static, BUT_START, 500),

    row("call_new", &[I, I, I, I, I, I, I, I], NOTHING, Effect, CALLS, 1500),
    row("call_on_cleanup", &[I, I], NOTHING, Effect, CALLS, 500),
    row("call_data_append", BLOB, NOTHING, Effect, CALLS, 500),
    row("call_with_best_effort_response", &[I32], NOTHING, Effect, CALLS, 500),
    row("call_cycles_add128", &[I64, I64], NOTHING, Effect, CYCLES_OUT, 500),
    row("call_perform", NOTHING, &[I32], Effect, CALLS, 5000),

    row("stable64_size", NOTHING, &[I64], Native, ALWAYS, 20),
    row("stable64_grow", &[I64], &[I64], Native, ALWAYS, 100),
    row("stable64_read", &[I64, I64, I64], NOTHING, Native, ALWAYS, 20),
    row("stable64_write", &[I64, I64, I64], NOTHING, Native, ALWAYS, 20),

    row("certified_data_set", BLOB, NOTHING, Effect, CERTIFIES, 500),
    row("data_certificate_present", NOTHING, &[I32], Argument, BUT_START, 500),
    row("data_certificate_size", NOTHING, &[I], Argument, CERTIFICATE, 500),
    row("data_certificate_copy", COPY, NOTHING, Argument, CERTIFICATE, 500),

    row("time", NOTHING, &[I64], Argument, BUT_START, 500),
    row("global_timer_set", &[I64], &[I64], Effect, LASTING, 500),
    row("performance_counter", &[I32], &[I64], Metering, ALWAYS, 200),

    row("cost_call", &[I64, I64, I], NOTHING, Static, ALWAYS, 500),
    row("cost_create_canister", &[I], NOTHING, Static, ALWAYS, 500),
    row("cost_http_request", &[I64, I64, I], NOTHING, Static, ALWAYS, 500),
    row("cost_http_request_v2", &[I, I, I], NOTHING, Static, ALWAYS, 500),
    row("cost_sign_with_ecdsa", &[I, I, I32, I], &[I32], Static, ALWAYS, 500),
    row("cost_sign_with_schnorr", &[I, I, I32, I], &[I32], Static, ALWAYS, 500),
    row("cost_vetkd_derive_key", &[I, I, I32, I], &[I32], Static, ALWAYS, 500),

    row("debug_print", BLOB, NOTHING, Debug, ALWAYS, 100),
    row("trap", BLOB, NOTHING, Debug, ALWAYS, 500),

    row("mint_cycles128", &[I64, I64, I], NOTHING, Effect, CYCLES_OUT, 500),
    legacy(row("mint_cycles", &[I64], &[I64], Effect, CYCLES_OUT, 500)),
    legacy(row("msg_cycles_available", NOTHING, &[I64], Argument, CYCLES_IN, 500)),
    legacy(row("msg_cycles_refunded", NOTHING, &[I64], Argument, CYCLES_BACK, 500)),
    legacy(row("msg_cycles_accept", &[I64], &[I64], Effect, CYCLES_IN, 500)),
    legacy(row("canister_cycle_balance", NOTHING, &[I64], Static, BUT_START, 500)),
    legacy(row("call_cycles_add", &[I64], NOTHING, Effect, CYCLES_OUT, 500)),
    legacy(row("stable_size", NOTHING, &[I32], Native, ALWAYS, 20)),
    legacy(row("stable_grow", &[I32], &[I32], Native, ALWAYS, 100)),
    legacy(row("stable_read", &[I32, I32, I32], NOTHING, Native, ALWAYS, 20)),
    legacy(row("stable_write", &[I32, I32, I32], NOTHING, Native, ALWAYS, 20)),
];
