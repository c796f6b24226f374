//! What a worker says, compared with what can be.
//!
//! A worker may have been taken over by its guest. It can then answer anything that its guest could
//! have answered, and write anything to its own canister's memory; nothing else. What is looked at
//! here is whatever reaches further: limits, sizes, types, and what the effects take from others.

use crate::call::{Answer, Call, Effects, Ran, Value};
use crate::guest::{PER_WASM_PAGE, State};
use crate::module::{GlobalType, Profile};
use crate::system;
use casemate_sys::pages::Runs;

/// What can be certified, bytes.
const MOST_CERTIFIED: usize = 32;
/// The longest text of a rejection, bytes.
const LONGEST_REASON: usize = 8 << 10;
/// What is printed in one call, and a little for its form, bytes.
const MOST_LOGGED: usize = (1 << 20) + (32 << 10);
/// Lines that are printed in one call.
const MOST_LINES: usize = 1 << 20;
/// Calls that one call makes.
const MOST_CALLS: usize = 500;

/// What is wrong with what a worker says came of a call; nothing, if it could be so. A query's that
/// [goes on](Call::goes_on) may leave what it wrote.
pub(crate) fn review(
    profile: &Profile,
    before: &State,
    call: Option<&Call>,
    ran: &Ran,
    [heap, stable]: [&Runs; 2],
    goes_on: bool,
) -> Result<(), &'static str> {
    let keeps = goes_on || ran.result.is_ok() && call.is_none_or(|call| call.entry.keeps());
    let pages = (heap.pages() as u64).saturating_add(stable.pages() as u64);
    let rules = [
        (
            !goes_on || call.is_some_and(|call| pages <= call.limits.dirty),
            "more pages than a query may keep",
        ),
        (
            keeps || heap.is_empty() && stable.is_empty(),
            "pages of a call that keeps none",
        ),
        (
            keeps || ran.globals.is_empty(),
            "globals of a call that keeps none",
        ),
        (
            !keeps || has_types(&ran.globals, profile),
            "globals of other types",
        ),
        (sizes(profile, before, ran, keeps), "sizes that can't be"),
        (within(heap, ran.heap_pages), "pages beyond the heap"),
        (
            within(stable, ran.stable_pages),
            "pages beyond stable memory",
        ),
    ];
    let broken = rules.into_iter().find(|(holds, _)| !holds);
    if let Some((_, what)) = broken {
        return Err(what);
    }
    match call {
        Some(call) => answer(call, before, ran, stable),
        None => first(profile, before, ran),
    }
}

/// Of putting data into the heap: no code of the guest ran. An upgrade begins with what another
/// module left.
fn first(profile: &Profile, before: &State, ran: &Ran) -> Result<(), &'static str> {
    let is_quiet = ran.result == Ok(None) && ran.instructions == 0;
    let heap_pages = profile.heap.minimum.max(before.heap_pages);
    let is_size = (ran.heap_pages, ran.stable_pages) == (heap_pages, before.stable_pages);
    match is_quiet && is_size && ran.effects == Effects::default() {
        true => Ok(()),
        false => Err("more than its module begins with"),
    }
}

fn has_types(globals: &[Value], profile: &Profile) -> bool {
    let same = |(value, kind): (&Value, &GlobalType)| {
        matches!(
            (value, kind),
            (Value::I32(_), GlobalType::I32)
                | (Value::I64(_), GlobalType::I64)
                | (Value::F32(_), GlobalType::F32)
                | (Value::F64(_), GlobalType::F64)
                | (Value::V128(_), GlobalType::V128)
        )
    };
    globals.len() == profile.globals.len() && globals.iter().zip(&profile.globals).all(same)
}

fn sizes(profile: &Profile, before: &State, ran: &Ran, keeps: bool) -> bool {
    let grows = ran.heap_pages >= before.heap_pages && ran.stable_pages >= before.stable_pages;
    let same = ran.heap_pages == before.heap_pages && ran.stable_pages == before.stable_pages;
    grows
        && (keeps || same)
        && ran.heap_pages <= profile.heap.maximum
        && ran.stable_pages <= profile.stable_maximum
}

fn within(runs: &Runs, wasm_pages: u64) -> bool {
    let end = runs.as_slice().last().map_or(0, |run| run.end as u64);
    end <= wasm_pages.saturating_mul(PER_WASM_PAGE as u64)
}

fn answer(call: &Call, before: &State, ran: &Ran, stable: &Runs) -> Result<(), &'static str> {
    let effects = &ran.effects;
    let reply = match &ran.result {
        Ok(Some(Answer::Reply(bytes))) => bytes.len() as u64 <= call.limits.reply,
        Ok(Some(Answer::Reject(reason))) => reason.len() <= LONGEST_REASON,
        Ok(None) | Err(_) => true,
    };
    let grown = (ran.heap_pages - before.heap_pages) + (ran.stable_pages - before.stable_pages);
    let grown = grown.saturating_mul(crate::module::abi::WASM_PAGE);
    let held = (ran.heap_pages + ran.stable_pages).saturating_mul(crate::module::abi::WASM_PAGE);
    let logged: usize = effects.logs.iter().map(|log| log.text.len()).sum();
    let certified = effects.certified.as_ref().map_or(0, Vec::len);
    let rules = [
        (reply, "an answer that is too long"),
        (
            !call.is_answered || !matches!(ran.result, Ok(Some(_))),
            "a second answer",
        ),
        (
            ran.instructions <= call.limits.most_instructions(),
            "more instructions than there were",
        ),
        (grown <= call.limits.grows_by, "more memory than there was"),
        (
            grown == 0 || held <= call.limits.memory,
            "more memory than it may have",
        ),
        (
            stable.pages() as u64 <= call.limits.stable_writes,
            "more pages of stable memory than it may write",
        ),
        (is_legal(call, ran), "what such a call can't do"),
        (
            certified <= MOST_CERTIFIED,
            "certified data that is too long",
        ),
        (
            logged <= MOST_LOGGED && effects.logs.len() <= MOST_LINES,
            "more lines than it may print",
        ),
        (
            effects.calls.len() <= MOST_CALLS,
            "more calls than it may make",
        ),
        (cycles(call, effects), "cycles that there aren't"),
        (
            ran.result.is_ok() || is_only_logs(effects),
            "effects of a call that failed",
        ),
    ];
    let broken = rules.into_iter().find(|(holds, _)| !holds);
    broken.map_or(Ok(()), |(_, what)| Err(what))
}

fn cycles(call: &Call, effects: &Effects) -> bool {
    let attached = effects
        .calls
        .iter()
        .try_fold(0_u128, |sum, call| sum.checked_add(call.cycles));
    let spent = attached.and_then(|attached| attached.checked_add(effects.burned));
    let has = call.statics.cycles.checked_add(effects.accepted);
    effects.accepted <= call.cycles && spent.zip(has).is_some_and(|(spent, has)| spent <= has)
}

/// Each effect is that of a system call, which not every kind of call may make.
fn is_legal(call: &Call, ran: &Ran) -> bool {
    let effects = &ran.effects;
    let context = call.entry.context();
    let done = [
        (
            matches!(ran.result, Ok(Some(Answer::Reply(_)))),
            "msg_reply",
        ),
        (
            matches!(ran.result, Ok(Some(Answer::Reject(_)))),
            "msg_reject",
        ),
        (effects.accepted > 0, "msg_cycles_accept128"),
        (effects.burned > 0, "cycles_burn128"),
        (effects.certified.is_some(), "certified_data_set"),
        (effects.timer.is_some(), "global_timer_set"),
        (effects.accepts_message, "accept_message"),
        (!effects.calls.is_empty(), "call_perform"),
        (
            effects.calls.iter().any(|call| call.cycles > 0),
            "call_cycles_add128",
        ),
    ];
    let may = |name| system::find(name).is_some_and(|function| function.is_legal(context));
    done.into_iter()
        .all(|(is_done, name)| !is_done || may(name))
}

fn is_only_logs(effects: &Effects) -> bool {
    let logs = effects.logs.clone();
    *effects
        == Effects {
            logs,
            ..Effects::default()
        }
}
