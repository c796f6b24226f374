//! A machine, from its kernel to its agent, in an emulator.
//!
//! What a test needs and this system doesn't have is said, and the test is skipped.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod client;
mod machine;
mod parts;

use casemate_core::guest::{Answer, Request};
use casemate_mux::{Code, Door};
use casemate_vm::guest::initramfs;
use casemate_vm::guest::modules::Module;
use machine::{Kind, Machine};
use parts::Parts;
use std::os::unix::fs::symlink;
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn a_machine_without_an_agent_says_so_and_ends() {
    let Some(parts) = Parts::gather() else { return };
    let machine = Machine::boot(Kind::Q35, &parts, &parts.empty_tools());
    let console = machine.wait_for_end();
    let expected = "casemate: first: execute /.casemate/agent: errno 2\n";
    assert!(console.contains(expected), "{console}");
    assert!(!console.contains("Kernel panic"), "{console}");
}

#[test]
fn a_module_that_is_none_is_named() {
    let Some(parts) = Parts::gather() else { return };
    let module = Module {
        name: "odd".to_owned(),
        contents: b"neither compressed nor a module".to_vec(),
    };
    std::fs::write(&parts.initramfs, initramfs::archive(&[module]).unwrap()).unwrap();
    let machine = Machine::boot(Kind::Q35, &parts, &parts.empty_tools());
    let console = machine.wait_for_end();
    assert!(
        console.contains("casemate: first: load /lib/00-odd.ko: errno 8\n"),
        "{console}"
    );
}

#[test]
fn a_link_on_the_root_disk_is_not_followed() {
    let Some(parts) = Parts::gather() else { return };
    let parts = parts.with_root(|root| symlink("/", root.join(".casemate")).unwrap());
    let machine = Machine::boot(Kind::Q35, &parts, &parts.empty_tools());
    let console = machine.wait_for_end();
    assert!(
        console.contains("casemate: first: open /.casemate: errno 20\n"),
        "{console}"
    );
}

#[tokio::test]
async fn a_machine_serves_its_host_until_it_is_switched_off() {
    let Some(parts) = Parts::gather() else { return };
    let Some(tools) = parts.tools() else { return };
    let machine = Machine::boot(Kind::Q35, &parts, &tools);

    let session = machine.connect().await;
    let Answer::Status(first) = client::control(&session, &Request::Status).await else {
        panic!("it doesn't say who it is");
    };
    assert_eq!(first.boot_id.len(), 36, "{first:?}");
    let health = client::get(&session, "/health").await;
    assert!(health.starts_with("HTTP/1.1 204"), "{health}");
    let nobody = session.open(Door::Port(9)).unwrap().opened().await;
    assert_eq!(Code::of(&nobody.unwrap_err()), Some(Code::Closed));

    // What a command finds is a system: the root disk, its mounts, a name, a clock.
    let name = "machine-7".to_owned();
    let done = client::control(&session, &Request::SetHostName { name }).await;
    assert_eq!(done, Answer::Done);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let clock = Request::SetClock {
        seconds: now.as_secs().cast_signed() + 1_000_000_000,
        nanoseconds: 0,
    };
    assert_eq!(client::control(&session, &clock).await, Answer::Done);
    let hex = "00ff".repeat(16);
    assert_eq!(
        client::control(&session, &Request::AddEntropy { hex }).await,
        Answer::Done
    );
    let script =
        "uname -n; date +%s; cat /proc/mounts; echo kept > /root/file; echo $$ > /dev/shm/a";
    let said = client::run(&session, script).await;
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("machine-7"), "{said}");
    let time: u64 = lines.next().unwrap().parse().unwrap();
    assert!(time >= now.as_secs() + 1_000_000_000, "{said}");
    assert!(
        said.contains("/dev/vdb /.casemate ext4 ro,nosuid,nodev,"),
        "{said}"
    );
    assert!(said.contains("devpts /dev/pts devpts "), "{said}");

    // The host's end is closed in the middle of something, and another one opened.
    let _cut = session.open(Door::Agent).unwrap();
    drop(session);
    let session = machine.connect().await;
    let Answer::Status(again) = client::control(&session, &Request::Status).await else {
        panic!("it doesn't say who it is");
    };
    assert_eq!(
        again, first,
        "neither the machine nor the agent was started again"
    );

    // The agent is killed and process 1 can't be: another agent takes the place of the first, and
    // connections wait for it.
    let killed = client::run(&session, "kill -9 $(pidof agent); echo alive").await;
    assert_eq!(killed, "", "it ends with its agent");
    let health = client::get(&session, "/health").await;
    assert!(health.starts_with("HTTP/1.1 204"), "{health}");
    let Answer::Status(later) = client::control(&session, &Request::Status).await else {
        panic!("it doesn't say who it is");
    };
    assert_eq!((later.boot_id, later.agent_starts), (first.boot_id, 2));
    assert_eq!(client::run(&session, "cat /root/file").await, "kept\n");

    assert_eq!(
        client::control(&session, &Request::PowerOff).await,
        Answer::Done
    );
    let console = machine.wait_for_end();
    assert!(
        console.contains("casemate: guest: the agent has ended"),
        "{console}"
    );
    assert!(!console.contains("Kernel panic"), "{console}");
}

#[tokio::test]
async fn a_machine_without_pci_serves_its_host() {
    let Some(parts) = Parts::gather() else { return };
    let Some(tools) = parts.tools() else { return };
    let machine = Machine::boot(Kind::Microvm, &parts, &tools);
    let session = machine.connect().await;
    let health = client::get(&session, "/health").await;
    assert!(health.starts_with("HTTP/1.1 204"), "{health}");
    let mounts = client::run(&session, "cat /proc/mounts").await;
    assert!(mounts.contains("/.casemate ext4 ro,"), "{mounts}");
    // There is no agent, and can be none, nor any other new process: process 1 still does what its
    // host asks.
    let full = "agent=$(pidof agent); echo 20 > /proc/sys/kernel/threads-max; kill -9 $agent";
    client::run(&session, full).await;
    machine
        .wait_for("casemate: guest: start the agent /.casemate/agent: Resource")
        .await;
    assert_eq!(
        client::control(&session, &Request::Sync).await,
        Answer::Done
    );
    let done = client::control(&session, &Request::PowerOff).await;
    assert_eq!(done, Answer::Done);
    let console = machine.wait_for_end();
    assert!(!console.contains("Kernel panic"), "{console}");
}
