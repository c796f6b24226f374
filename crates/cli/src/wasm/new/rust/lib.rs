//! A counter: what is in memory after a call is there for the next one.

use std::cell::Cell;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

#[ic_cdk::update]
fn increment(by: u64) -> u64 {
    let count = COUNT.get().checked_add(by).expect("the counter is full");
    COUNT.set(count);
    ic_cdk::api::debug_print("counted");
    count
}

#[ic_cdk::query]
fn get() -> u64 {
    COUNT.get()
}

/// An upgrade begins with an empty memory; stable memory is what stays.
#[ic_cdk::pre_upgrade]
fn keep() {
    ic_cdk::storage::stable_save((COUNT.get(),)).expect("the counter can't be kept");
}

#[ic_cdk::post_upgrade]
fn take_up() {
    let (count,) = ic_cdk::storage::stable_restore().expect("nothing was kept");
    COUNT.set(count);
}

/// What the canister says of its methods: a custom section of the module.
#[used]
#[unsafe(link_section = "icp:public candid:service")]
static INTERFACE: [u8; include_bytes!("../counter.did").len()] = *include_bytes!("../counter.did");
