//! Who gets which output: subscribers, the ring, pushing back.

use crate::support;
use crate::support::{Agent, encoded, header, of};
use rustix::fs::{CWD, Mode};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

fn stdin(pid: u64, text: &str) -> Value {
    json!({"process": of(pid), "input": {"stdin": encoded(text)}})
}

/// A named pipe that a command writes to when it gets that far.
fn milestone(agent: &Agent) -> PathBuf {
    let path = agent.folder().join("milestone");
    rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    path
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed_if_it_asks() {
    let agent = Agent::start();
    let mut events = agent
        .stream("Start", json!({"process": {"cmd": "cat"}}))
        .await;
    let pid = events.pid().await;
    for piece in ["one.", "two.", "three."] {
        agent.call("SendInput", stdin(pid, piece)).await.ok();
        events.until(piece).await;
    }
    drop(events);
    let which = json!({"process": of(pid)});
    let from = [("casemate-replay-from", "1")];
    let mut missed = agent.stream_with("Connect", which.clone(), &from).await;
    assert_eq!(header(&missed.headers, "casemate-sequence"), Some("1"));
    assert_eq!(header(&missed.headers, "casemate-lost"), None);
    let mut plain = agent.stream("Connect", which.clone()).await;
    assert_eq!(header(&plain.headers, "casemate-sequence"), Some("3"));
    agent.call("SendInput", stdin(pid, "four.")).await.ok();
    agent.call("CloseStdin", which.clone()).await.ok();
    assert_eq!(missed.rest().await.text(), "two.three.four.");
    assert_eq!(plain.rest().await.text(), "four.");
    // After the end as well.
    let from = [("casemate-replay-from", "0")];
    let late = agent
        .stream_with("Connect", which.clone(), &from)
        .await
        .rest()
        .await;
    assert_eq!((late.text(), late.chunks), ("one.two.three.four.", 4));
    assert_eq!(late.end["status"], "exit status 0");
    let odd = [("casemate-replay-from", "x")];
    let said = agent.stream_with("Connect", which, &odd).await.rest().await;
    assert_eq!(said.error["code"], "invalid_argument");
}

#[tokio::test]
async fn what_is_lost_is_counted() {
    let agent = Agent::start();
    let process = json!({"cmd": "sh", "args": ["-c", "read x; head -c 3000000 /dev/zero"]});
    let mut events = agent.stream("Start", json!({"process": process})).await;
    let pid = events.pid().await;
    agent.call("SendInput", stdin(pid, "\n")).await.ok();
    let all = events.rest().await;
    assert_eq!(all.stdout.len(), 3_000_000);
    let from = [("casemate-replay-from", "0")];
    let mut late = agent
        .stream_with("Connect", json!({"process": of(pid)}), &from)
        .await;
    let first: u64 = header(&late.headers, "casemate-sequence")
        .unwrap()
        .parse()
        .unwrap();
    let lost: u64 = header(&late.headers, "casemate-lost")
        .unwrap()
        .parse()
        .unwrap();
    assert!(lost > 0 && lost == first);
    let rest = late.rest().await;
    assert_eq!(first + rest.chunks, all.chunks);
    assert!(rest.stdout.len() <= 1 << 20 && rest.stdout.len() > (1 << 20) - 4096);
}

#[tokio::test]
async fn a_program_does_not_wait_for_nobody() {
    let agent = Agent::start();
    let path = milestone(&agent);
    let script = format!(
        "read x; head -c 3000000 /dev/zero; echo there > {}",
        path.display()
    );
    let process = json!({"cmd": "sh", "args": ["-c", script]});
    let mut events = agent.stream("Start", json!({"process": process})).await;
    let pid = events.pid().await;
    drop(events);
    agent.call("SendInput", stdin(pid, "\n")).await.ok();
    let read = tokio::task::spawn_blocking(|| std::fs::read_to_string(path));
    assert_eq!(read.await.unwrap().unwrap(), "there\n");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_program_up_and_loses_nothing() {
    const BYTES: usize = 20_000_000;
    let agent = Agent::start();
    let path = milestone(&agent);
    let script = format!("head -c {BYTES} /dev/zero; echo there > {}", path.display());
    let mut idle = agent.shell(&script).await;
    let pid = idle.pid().await;
    let from = [("casemate-replay-from", "0")];
    let mut eager = agent
        .stream_with("Connect", json!({"process": of(pid)}), &from)
        .await;
    eager.pid().await;
    let mut got = 0;
    while let Ok(event) = tokio::time::timeout(Duration::from_secs(2), eager.event()).await {
        got += support::decoded(&event["data"]["stdout"]).len();
    }
    // A ring, and what is on its way to the one that doesn't read.
    assert!(got > 1 << 19 && got < 4 << 20, "{got}");
    drop(eager);
    let read = tokio::task::spawn_blocking(|| std::fs::read_to_string(path));
    assert!(!read.is_finished());
    assert_eq!(idle.rest().await.stdout.len(), BYTES);
    assert_eq!(read.await.unwrap().unwrap(), "there\n");
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let most = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 40 << 10, "the agent grew to {kib} KiB");
}

#[tokio::test]
async fn a_client_that_leaves_lets_the_program_go_on() {
    let agent = Agent::start();
    let path = milestone(&agent);
    let script = format!(
        "head -c 20000000 /dev/zero; echo there > {}",
        path.display()
    );
    let mut idle = agent.shell(&script).await;
    idle.pid().await;
    drop(idle);
    let read = tokio::task::spawn_blocking(|| std::fs::read_to_string(path));
    assert_eq!(read.await.unwrap().unwrap(), "there\n");
    agent.is_well().await;
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_lives() {
    let agent = Agent::start();
    let process = json!({"process": {"cmd": "cat"}});
    let pace = [("keepalive-ping-interval", "1")];
    let mut events = agent.stream_with("Start", process, &pace).await;
    let pid = events.pid().await;
    assert_eq!(events.event().await, json!({"keepalive": {}}));
    agent
        .call("CloseStdin", json!({"process": of(pid)}))
        .await
        .ok();
    assert_eq!(events.rest().await.end["status"], "exit status 0");
}

#[tokio::test]
async fn the_end_waits_for_whoever_still_prints() {
    let agent = Agent::start();
    let path = milestone(&agent);
    // The child prints after its parent has ended, when it is told to.
    let script = format!("(read x < {}; echo later) & echo now", path.display());
    let mut events = agent.shell(&script).await;
    events.pid().await;
    events.until("now").await;
    tokio::task::spawn_blocking(|| std::fs::write(path, "\n"))
        .await
        .unwrap()
        .unwrap();
    let said = events.rest().await;
    assert_eq!(
        (said.text(), &said.end["status"]),
        ("later\n", &json!("exit status 0"))
    );
}

#[tokio::test]
async fn many_processes_at_once_keep_their_output_apart() {
    let agent = Agent::start();
    let mut all = Vec::new();
    for number in 0..40 {
        let mut events = agent
            .shell(&format!(
                "i=0; while [ $i -lt 50 ]; do echo {number}; i=$((i+1)); done"
            ))
            .await;
        events.pid().await;
        all.push(events);
    }
    for (number, events) in all.iter_mut().enumerate() {
        assert_eq!(events.rest().await.text(), format!("{number}\n").repeat(50));
    }
}
