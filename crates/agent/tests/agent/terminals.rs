//! What the process service does with terminals.

use crate::support::{Agent, Events, encoded, of};
use serde_json::{Value, json};

async fn terminal(agent: &Agent, script: &str) -> Events {
    let process = json!({"cmd": "/bin/sh", "args": ["-c", script], "envs": {"TERM": "dumb"}});
    let size = json!({"size": {"cols": 80, "rows": 24}});
    agent
        .stream("Start", json!({"process": process, "pty": size}))
        .await
}

fn keys(pid: u64, text: &str) -> Value {
    json!({"process": of(pid), "input": {"pty": encoded(text)}})
}

#[tokio::test]
async fn a_terminal_is_one_and_controls_its_session() {
    let agent = Agent::start();
    let mut events = terminal(
        &agent,
        "test -t 0 && test -t 2 && stty size && : >/dev/tty && tty",
    )
    .await;
    events.pid().await;
    let said = events.rest().await;
    let text = String::from_utf8(said.terminal).unwrap();
    assert!(text.starts_with("24 80\r\n/dev/pts/"), "{text}");
    assert_eq!(said.end["status"], "exit status 0");
    assert!(said.stdout.is_empty() && said.stderr.is_empty());
}

#[tokio::test]
async fn a_new_size_is_told_to_the_program() {
    let agent = Agent::start();
    let script = "trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.02; done";
    let mut events = terminal(&agent, script).await;
    let pid = events.pid().await;
    events.until("ready").await;
    let size = json!({"process": of(pid), "pty": {"size": {"cols": 132, "rows": 50}}});
    assert_eq!(agent.call("Update", size).await.ok(), json!({}));
    let said = events.rest().await;
    assert_eq!(String::from_utf8(said.terminal).unwrap(), "50 132\r\n");
    assert_eq!(said.end["exitCode"], 4);
}

#[tokio::test]
async fn a_size_that_no_terminal_has_is_the_largest() {
    let agent = Agent::start();
    let mut events = terminal(&agent, "read x; stty size").await;
    let pid = events.pid().await;
    let size = json!({"process": of(pid), "pty": {"size": {"cols": u32::MAX, "rows": 0}}});
    agent.call("Update", size).await.ok();
    agent.call("SendInput", keys(pid, "\n")).await.ok();
    events.until("0 65535").await;
}

#[tokio::test]
async fn keys_arrive_in_order_and_interrupt() {
    let agent = Agent::start();
    let mut events = terminal(&agent, "trap 'echo caught; exit 7' INT; echo ready; cat").await;
    let pid = events.pid().await;
    events.until("ready").await;
    for key in "in order\n".chars() {
        agent
            .call("SendInput", keys(pid, &key.to_string()))
            .await
            .ok();
    }
    // Once as the terminal's echo, once from the program.
    let text = events.until("in order\r\nin order\r\n").await;
    assert!(text.ends_with("in order\r\n"), "{text}");
    agent.call("SendInput", keys(pid, "\u{3}")).await.ok();
    let said = events.rest().await;
    assert!(String::from_utf8_lossy(&said.terminal).contains("caught"));
    assert_eq!(said.end["exitCode"], 7);
}

#[tokio::test]
async fn a_terminal_has_no_standard_input_to_close() {
    let agent = Agent::start();
    let mut events = terminal(&agent, "cat").await;
    let pid = events.pid().await;
    let which = json!({"process": of(pid)});
    assert_eq!(
        agent.call("CloseStdin", which).await.code(),
        "failed_precondition"
    );
    let stdin = json!({"process": of(pid), "input": {"stdin": encoded("x")}});
    assert_eq!(
        agent.call("SendInput", stdin).await.code(),
        "failed_precondition"
    );
    agent.call("SendInput", keys(pid, "\u{4}")).await.ok();
    assert_eq!(events.rest().await.end["status"], "exit status 0");
}

#[tokio::test]
async fn only_terminals_have_a_size() {
    let agent = Agent::start();
    let mut events = agent.shell("exec sleep 1000").await;
    let pid = events.pid().await;
    let size = json!({"process": of(pid), "pty": {"size": {"cols": 1, "rows": 1}}});
    assert_eq!(
        agent.call("Update", size).await.code(),
        "failed_precondition"
    );
    assert_eq!(
        agent.call("Update", json!({"process": of(pid)})).await.ok(),
        json!({})
    );
}

#[tokio::test]
async fn two_clients_see_the_same_terminal() {
    let agent = Agent::start();
    let mut first = terminal(&agent, "echo ready; read x; echo \"got $x\"").await;
    let pid = first.pid().await;
    first.until("ready").await;
    let mut second = agent.stream("Connect", json!({"process": of(pid)})).await;
    assert_eq!(second.pid().await, pid);
    agent.call("SendInput", keys(pid, "it\n")).await.ok();
    for events in [&mut first, &mut second] {
        let said = events.rest().await;
        assert!(String::from_utf8_lossy(&said.terminal).ends_with("got it\r\n"));
        assert_eq!(said.end["status"], "exit status 0");
    }
}
