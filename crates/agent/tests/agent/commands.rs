//! What the process service does with commands.

use crate::support;
use crate::support::{Agent, encoded, of};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_command_starts_prints_and_ends() {
    let agent = Agent::start();
    let mut events = agent.shell("echo out; echo err >&2; exit 3").await;
    assert_eq!(events.status, 200);
    assert_eq!(events.headers["content-type"], "application/connect+json");
    assert!(events.pid().await > 1);
    let said = events.rest().await;
    assert_eq!(
        (said.text(), said.stderr.as_slice()),
        ("out\n", &b"err\n"[..])
    );
    let end = json!({
        "exitCode": 3, "exited": true, "status": "exit status 3", "error": "exit status 3"
    });
    assert_eq!(said.end, end);
    assert!(said.error.is_null());
}

#[tokio::test]
async fn success_has_no_error() {
    let agent = Agent::start();
    let said = agent.shell("true").await.rest().await;
    assert_eq!(said.end, json!({"exited": true, "status": "exit status 0"}));
}

#[tokio::test]
async fn a_command_has_its_folder_and_variables() {
    let agent = Agent::start();
    let script =
        "pwd; echo $USER-$LOGNAME-$A-$B; test -n \"$PATH\" && test -d \"$HOME\" && echo ok";
    let init = json!({"envVars": {"A": "init", "B": "init"}}).to_string();
    let init = http::Request::post("/init")
        .header("content-type", "application/json")
        .body(init.into())
        .unwrap();
    assert_eq!(agent.exchange(init).await.status, 204);
    let process = json!({"cmd": "sh", "args": ["-c", script], "envs": {"A": "own"}});
    let said = agent
        .stream("Start", json!({"process": process}))
        .await
        .rest()
        .await;
    let (user, folder) = (support::user(), agent.folder().display().to_string());
    assert_eq!(
        said.text(),
        format!("{folder}\n{user}-{user}-own-init\nok\n")
    );
    let process = json!({"cmd": "pwd", "cwd": "/etc"});
    let said = agent
        .stream("Start", json!({"process": process}))
        .await
        .rest()
        .await;
    assert_eq!(said.text(), "/etc\n");
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let agent = Agent::start();
    // From the first command on, there is a process in which they are born.
    let started = json!({"process": {"cmd": "true"}});
    agent.stream("Start", started).await.rest().await;
    let children = || {
        let path = format!("/proc/{0}/task/{0}/children", agent.pid());
        std::fs::read_to_string(path).ok()
    };
    let before = children();
    for (request, code, message) in [
        (
            json!({"process": {"cmd": "ls", "cwd": "/no/where"}}),
            "invalid_argument",
            "cwd '/no/where' does not exist",
        ),
        (
            json!({"process": {"cmd": "ls", "cwd": "/etc/passwd"}}),
            "invalid_argument",
            "cwd '/etc/passwd': Not a directory (os error 20)",
        ),
        (
            json!({"process": {"cmd": "ls", "cwd": "~root"}}),
            "invalid_argument",
            "cannot expand the home of another user: '~root'",
        ),
        (
            json!({"process": {"cmd": "no-such-program", "envs": {"PATH": "/usr/bin:/bin"}}}),
            "invalid_argument",
            "error starting process 'no-such-program': No such file or directory (os error 2)",
        ),
        (
            json!({"process": {"cmd": "/etc/passwd"}}),
            "invalid_argument",
            "error starting process '/etc/passwd': Permission denied (os error 13)",
        ),
        (
            json!({"process": {"cmd": "a\u{0}"}}),
            "invalid_argument",
            "cmd: has a NUL byte",
        ),
        (
            json!({"process": {"cmd": "ls", "args": ["\u{0}"]}}),
            "invalid_argument",
            "args: has a NUL byte",
        ),
        (
            json!({"process": {"cmd": "ls", "envs": {"A=": "x"}}}),
            "invalid_argument",
            "envs: 'A=' can't be a variable",
        ),
        (json!({}), "invalid_argument", "cmd is empty"),
    ] {
        let said = agent.stream("Start", request.clone()).await.rest().await;
        assert_eq!(
            said.error,
            json!({"code": code, "message": message}),
            "{request}"
        );
        assert!(said.end.is_null() && said.chunks == 0);
    }
    // None of them left anything behind.
    assert_eq!(agent.call("List", json!({})).await.ok(), json!({}));
    assert_eq!(children(), before);
}

#[tokio::test]
async fn a_user_is_named_by_basic_authorization() {
    let agent = Agent::start();
    let start = |name: String, script: &'static str| {
        let authorization = format!("Basic {}", encoded(format!("{name}:")));
        let process = json!({"cmd": "/bin/sh", "args": ["-c", script], "cwd": "/"});
        let agent = &agent;
        async move {
            let headers = [("authorization", authorization.as_str())];
            let request = json!({"process": process});
            agent
                .stream_with("Start", request, &headers)
                .await
                .rest()
                .await
        }
    };
    let said = start("no-such-user".into(), "true").await;
    let error = json!({"code": "unauthenticated", "message": "invalid username: 'no-such-user'"});
    assert_eq!(said.error, error);
    let said = start(support::user(), "echo $USER").await;
    assert_eq!(said.text(), format!("{}\n", support::user()));
    if support::is_root() {
        let said = start(
            "daemon".into(),
            "id -un; id -Gn; cat /etc/shadow || echo closed",
        )
        .await;
        assert_eq!(said.text(), "daemon\ndaemon\nclosed\n");
    } else {
        println!("skip: only root can become another user");
    }
}

#[tokio::test]
async fn standard_input_is_written_in_order_and_ends() {
    let agent = Agent::start();
    // Absent means that there is input.
    let mut events = agent
        .stream("Start", json!({"process": {"cmd": "cat"}}))
        .await;
    let pid = events.pid().await;
    for piece in ["one ", "two ", "three"] {
        let input = json!({"process": of(pid), "input": {"stdin": encoded(piece)}});
        assert_eq!(agent.call("SendInput", input).await.ok(), json!({}));
    }
    let pty = json!({"process": of(pid), "input": {"pty": encoded("x")}});
    assert_eq!(
        agent.call("SendInput", pty).await.code(),
        "failed_precondition"
    );
    let nothing = json!({"process": of(pid)});
    assert_eq!(
        agent.call("SendInput", nothing.clone()).await.code(),
        "invalid_argument"
    );
    assert_eq!(
        agent.call("CloseStdin", nothing.clone()).await.ok(),
        json!({})
    );
    let said = events.rest().await;
    assert_eq!(said.text(), "one two three");
    assert_eq!(agent.call("CloseStdin", nothing).await.code(), "not_found");
}

#[tokio::test]
async fn input_that_nobody_takes_is_refused() {
    let agent = Agent::start();
    let mut events = agent.shell("exec sleep 1000").await;
    let pid = events.pid().await;
    let input = json!({"process": of(pid), "input": {"stdin": encoded("x")}});
    assert_eq!(
        agent.call("SendInput", input).await.code(),
        "failed_precondition"
    );
    // Closing what is closed is no mistake.
    assert_eq!(
        agent
            .call("CloseStdin", json!({"process": of(pid)}))
            .await
            .ok(),
        json!({})
    );
}

#[tokio::test]
async fn a_stream_of_input_takes_as_much_as_the_program_does() {
    let agent = Agent::start();
    let process = json!({"cmd": "sh", "args": ["-c", "wc -c"]});
    let mut events = agent.stream("Start", json!({"process": process})).await;
    let pid = events.pid().await;
    let mut body = support::envelope(
        0,
        json!({"start": {"process": of(pid)}})
            .to_string()
            .as_bytes(),
    );
    let data = json!({"data": {"input": {"stdin": encoded(vec![b'x'; 100_000])}}}).to_string();
    for _ in 0..10 {
        body.extend(support::envelope(0, data.as_bytes()));
        body.extend(support::envelope(0, br#"{"keepalive":{}}"#));
    }
    let response = agent.send(support::streaming("StreamInput", &body)).await;
    let mut answer = support::Events::new(response);
    assert_eq!(answer.frame().await.unwrap().bytes, b"{}");
    assert_eq!(answer.frame().await.unwrap().flags, 2);
    agent
        .call("CloseStdin", json!({"process": of(pid)}))
        .await
        .ok();
    assert_eq!(events.rest().await.text().trim(), "1000000");
}

#[tokio::test]
async fn signals_end_a_process() {
    let agent = Agent::start();
    for (signal, status) in [
        ("SIGNAL_SIGTERM", "terminated"),
        ("SIGNAL_SIGKILL", "killed"),
    ] {
        let mut events = agent.shell("exec sleep 1000").await;
        let pid = events.pid().await;
        let kill = json!({"process": of(pid), "signal": signal});
        assert_eq!(agent.call("SendSignal", kill.clone()).await.ok(), json!({}));
        let said = events.rest().await;
        let status = format!("signal: {status}");
        let end = json!({"exitCode": -1, "status": status, "error": status});
        assert_eq!(said.end, end);
        assert_eq!(agent.call("SendSignal", kill).await.code(), "not_found");
    }
    let mut events = agent.shell("exec sleep 1000").await;
    let none = json!({"process": of(events.pid().await)});
    assert_eq!(
        agent.call("SendSignal", none).await.code(),
        "invalid_argument"
    );
}

#[tokio::test]
async fn processes_are_listed_and_found_by_tag() {
    let agent = Agent::start();
    let config = json!({"cmd": "sleep", "args": ["1000"], "envs": {"A": "1"}, "cwd": "/"});
    let mut events = agent
        .stream("Start", json!({"process": config, "tag": "t"}))
        .await;
    let pid = events.pid().await;
    let listed = json!({"processes": [{"config": config, "pid": pid, "tag": "t"}]});
    assert_eq!(agent.call("List", json!({})).await.ok(), listed);
    let mut second = agent
        .stream("Connect", json!({"process": {"tag": "t"}}))
        .await;
    assert_eq!(second.pid().await, pid);
    for unknown in [json!({"pid": 4_000_000}), json!({"tag": "u"})] {
        let request = json!({"process": unknown});
        assert_eq!(
            agent.call("CloseStdin", request.clone()).await.code(),
            "not_found"
        );
        let said = agent.stream("Connect", request).await.rest().await;
        assert_eq!(said.error["code"], "not_found");
    }
    assert_eq!(
        agent.call("CloseStdin", json!({})).await.code(),
        "invalid_argument"
    );
    agent
        .call("SendSignal", json!({"process": {"tag": "t"}, "signal": 9}))
        .await
        .ok();
    for stream in [&mut events, &mut second] {
        assert_eq!(stream.rest().await.end["status"], "signal: killed");
    }
    assert_eq!(agent.call("List", json!({})).await.ok(), json!({}));
}

#[tokio::test]
async fn a_time_limit_kills_even_if_the_client_has_left() {
    let agent = Agent::start();
    let begun = Instant::now();
    let process = json!({"process": {"cmd": "sleep", "args": ["1000"]}});
    let limit = [("connect-timeout-ms", "1500")];
    let mut stays = agent.stream_with("Start", process.clone(), &limit).await;
    let mut leaves = agent.stream_with("Start", process, &limit).await;
    let (first, second) = (stays.pid().await, leaves.pid().await);
    drop(leaves);
    let said = stays.rest().await;
    assert_eq!(said.error["code"], "deadline_exceeded");
    assert!(begun.elapsed() >= Duration::from_millis(1500));
    for pid in [first, second] {
        let said = agent
            .stream("Connect", json!({"process": of(pid)}))
            .await
            .rest()
            .await;
        assert_eq!(said.end["status"], "signal: killed", "{said:?}");
    }
}

#[tokio::test]
async fn a_time_limit_of_zero_is_none() {
    let agent = Agent::start();
    let process = json!({"process": {"cmd": "echo", "args": ["here"]}});
    let mut events = agent
        .stream_with("Start", process, &[("connect-timeout-ms", "0")])
        .await;
    assert_eq!(events.rest().await.text(), "here\n");
}

#[tokio::test]
async fn a_command_outlives_the_client_that_started_it() {
    let agent = Agent::start();
    let mut events = agent
        .stream("Start", json!({"process": {"cmd": "cat"}}))
        .await;
    let pid = events.pid().await;
    drop(events);
    let mut again = agent.stream("Connect", json!({"process": of(pid)})).await;
    assert_eq!(again.pid().await, pid);
    let input = json!({"process": of(pid), "input": {"stdin": encoded("still here")}});
    agent.call("SendInput", input).await.ok();
    agent
        .call("CloseStdin", json!({"process": of(pid)}))
        .await
        .ok();
    assert_eq!(again.rest().await.text(), "still here");
    // The end is told for a while.
    let late = agent
        .stream("Connect", json!({"process": of(pid)}))
        .await
        .rest()
        .await;
    assert_eq!(
        (late.text(), late.end["status"].as_str()),
        ("", Some("exit status 0"))
    );
}

#[tokio::test]
async fn a_command_gets_no_descriptor_and_cannot_look_into_the_agent() {
    let agent = Agent::start();
    let mut script = "ls /proc/$$/fd; awk '/NoNewPrivs/ {print $2}' /proc/$$/status; ".to_owned();
    let pid = agent.pid();
    script += &format!("cat /proc/$$/oom_score_adj; ls /proc/{pid}/fd 2>&1; ");
    script += &format!("cat /proc/{pid}/environ 2>&1");
    let said = agent.shell(&script).await.rest().await;
    let text = said.text();
    assert!(text.starts_with("0\n1\n2\n1\n"), "{text}");
    if support::is_root() {
        assert!(text.starts_with("0\n1\n2\n1\n100\n"), "{text}");
        println!("skip: root looks into everything");
    } else {
        assert_eq!(text.matches("Permission denied").count(), 2, "{text}");
        println!("skip: a hidden process's place in line for memory is root's to set");
    }
}
