//! The processes of the Wasm wall, for real, as root and as an unprivileged user.
//!
//! This program is a controller and all that it starts, so it asks for its role first. It speaks the
//! few words of the test harness that runners use.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(unsafe_code, reason = "a hostile worker makes plain system calls")]

mod deaths;
mod guest;
mod harness;
mod hostile;
mod missing;
mod shape;

fn main() {
    casemate_wasm::process::role(&guest::Probe);
    harness::main(&[
        ("tree_and_parents", shape::tree_and_parents),
        ("descriptors", shape::descriptors),
        (
            "memory_is_read_by_the_controller",
            shape::memory_is_read_by_the_controller,
        ),
        (
            "a_worker_lives_behind_its_filter",
            shape::a_worker_lives_behind_its_filter,
        ),
        ("cgroup", shape::cgroup),
        ("pool", shape::pool),
        ("a_hundred_workers", shape::a_hundred_workers),
        ("times", shape::times),
        ("hostile_worker", hostile::worker),
        ("hostile_compiler", hostile::compiler),
        ("garbage", hostile::garbage),
        ("dead_worker", deaths::worker),
        ("dead_launcher", deaths::launcher),
        ("dead_keeper", deaths::keeper),
        ("dead_controller", deaths::controller),
        ("dead_thread", deaths::thread),
        ("dead_compiler", deaths::compiler),
        ("compiler_done_at_once", deaths::compiler_done_at_once),
        ("compiler_limits", deaths::compiler_limits),
        ("stale", deaths::stale),
        ("forgotten", deaths::forgotten),
        ("mute", deaths::mute),
        ("unready", deaths::unready),
        ("storm", deaths::storm),
        ("missing", missing::named),
    ]);
}
