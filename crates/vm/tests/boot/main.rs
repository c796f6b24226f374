//! A machine, from its kernel to its agent, in an emulator.
//!
//! What a test needs and this system doesn't have is said, and the test is skipped.

mod machine;
mod parts;

use machine::Machine;
use parts::Parts;

#[test]
fn a_machine_without_an_agent_says_so_and_ends() {
    let Some(parts) = Parts::gather() else { return };
    let machine = Machine::boot(&parts, &parts.empty_tools());
    let console = machine.wait_for_end();
    let expected = "casemate: first: execute /.casemate/agent: errno 2\n";
    assert!(console.contains(expected), "{console}");
    assert!(!console.contains("Kernel panic"), "{console}");
}
