//! Telling what changes in a folder.

use crate::client::{Agent, told};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;

/// A stream of events, from its start on.
fn watch(agent: &Agent, more: &Value) -> crate::client::Events {
    let mut message = json!({"path": agent.folder.path()});
    message
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let mut events = agent.watch(&message);
    assert_eq!(events.message(), (false, json!({"start": {}})));
    events
}

fn expect(events: &mut crate::client::Events, expected: &[(&str, &str)]) {
    for (name, kind) in expected {
        assert_eq!(events.event(), ((*name).to_owned(), (*kind).to_owned()));
    }
}

#[test]
fn a_stream_tells_what_happens() {
    let agent = Agent::start();
    let mut events = watch(&agent, &json!({}));
    fs::write(agent.path("a"), "x").unwrap();
    expect(&mut events, &[("a", "CREATE"), ("a", "WRITE")]);
    fs::rename(agent.path("a"), agent.path("b")).unwrap();
    expect(&mut events, &[("a", "RENAME"), ("b", "CREATE")]);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(agent.path("b"), mode).unwrap();
    fs::remove_file(agent.path("b")).unwrap();
    expect(&mut events, &[("b", "CHMOD"), ("b", "REMOVE")]);
    // What is below isn't told unless asked for.
    fs::create_dir(agent.path("d")).unwrap();
    fs::write(agent.path("d/x"), "").unwrap();
    fs::write(agent.path("last"), "").unwrap();
    expect(&mut events, &[("d", "CREATE"), ("last", "CREATE")]);
}

#[test]
fn folders_below_with_entries() {
    let agent = Agent::start();
    let mut events = watch(&agent, &json!({"recursive": true, "includeEntry": true}));
    fs::create_dir_all(agent.path("a/b")).unwrap();
    expect(&mut events, &[("a", "CREATE"), ("a/b", "CREATE")]);
    fs::write(agent.path("a/b/c"), "four").unwrap();
    let (_, created) = events.message();
    let entry = &created["filesystem"]["entry"];
    assert_eq!(entry["path"], json!(agent.path("a/b/c")));
    assert_eq!(entry["type"], "FILE_TYPE_FILE");
    expect(&mut events, &[("a/b/c", "WRITE")]);
    fs::remove_file(agent.path("a/b/c")).unwrap();
    let (_, removed) = events.message();
    assert_eq!(told(&removed["filesystem"]).1, "REMOVE");
    assert!(removed["filesystem"]["entry"].is_null());
}

#[test]
fn an_upload_over_a_file_is_told_as_writing() {
    let agent = Agent::start();
    agent.put(&agent.file("a"), &[], b"old");
    let mut events = watch(&agent, &json!({}));
    agent.put(&agent.file("a"), &[], b"new");
    expect(&mut events, &[("a", "WRITE")]);
}

#[test]
fn a_quiet_stream_shows_that_it_lives() {
    let agent = Agent::start();
    let message = json!({"path": agent.folder.path()});
    let mut events = agent.watch_at("Keepalive-Ping-Interval: 1\r\n", &message);
    assert_eq!(events.message().1, json!({"start": {}}));
    assert_eq!(events.message(), (false, json!({"keepalive": {}})));
}

#[test]
fn a_watcher_is_asked() {
    let agent = Agent::start();
    let wanted = json!({"path": agent.folder.path(), "recursive": true});
    let id = agent.call("CreateWatcher", wanted).unwrap()["watcherId"].clone();
    // A stream of the same folder tells when there is something to ask for.
    let mut events = watch(&agent, &json!({}));
    fs::write(agent.path("a"), "").unwrap();
    expect(&mut events, &[("a", "CREATE")]);
    let ask = || {
        let answer = agent
            .call("GetWatcherEvents", json!({"watcherId": id}))
            .unwrap();
        answer["events"].as_array().cloned().unwrap_or_default()
    };
    // The two watches are told by the kernel one after the other, in no order.
    let first = loop {
        if let Some(first) = ask().first() {
            break first.clone();
        }
    };
    assert_eq!(told(&first), ("a".into(), "CREATE".into()));
    assert!(ask().is_empty());
    agent
        .call("RemoveWatcher", json!({"watcherId": id}))
        .unwrap();
    for method in ["GetWatcherEvents", "RemoveWatcher"] {
        assert_eq!(agent.refused(method, json!({"watcherId": id})), "not_found");
    }
}

#[test]
fn what_cannot_be_watched() {
    let agent = Agent::start();
    fs::write(agent.path("file"), "").unwrap();
    for (name, code) in [
        ("none", "not_found"),
        ("file", "invalid_argument"),
        ("nul\0", "invalid_argument"),
    ] {
        let wanted = json!({"path": agent.path(name).to_str().unwrap()});
        assert_eq!(agent.refused("CreateWatcher", wanted.clone()), code);
        let (ended, end) = agent.watch(&wanted).message();
        assert!(ended);
        assert_eq!(end["error"]["code"], code);
    }
}

#[test]
fn watchers_have_a_bound() {
    let agent = Agent::start();
    let wanted = json!({"path": agent.folder.path()});
    let error = (0..=64)
        .find_map(|_| agent.call("CreateWatcher", wanted.clone()).err())
        .unwrap();
    assert_eq!(error.0, "resource_exhausted", "{}", error.1);
}

#[test]
fn a_client_that_does_not_read_is_told_what_it_missed() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > 100_000 {
        eprintln!("skipped: the kernel keeps {limit} events");
        return;
    }
    let agent = Agent::start();
    let mut files = ["a", "b"].map(|name| fs::File::create(agent.path(name)).unwrap());
    let wanted = json!({"path": agent.folder.path()});
    let id = agent.call("CreateWatcher", wanted).unwrap()["watcherId"].clone();
    // More than the kernel and the agent keep together, none like the one before.
    for _ in 0..limit / 2 + 6000 {
        for file in &mut files {
            file.write_all(b"x").unwrap();
        }
    }
    let ask = || agent.call("GetWatcherEvents", json!({"watcherId": id}));
    let (code, text) = loop {
        if let Err(error) = ask() {
            break error;
        }
    };
    assert_eq!(code, "data_loss", "{text}");
    // And it goes on. The kernel's queue may have been found full as well, later: then that is told,
    // and what came before it is lost.
    let after = |answer: &Value| {
        let events = answer["events"].as_array().cloned().unwrap_or_default();
        events.iter().any(|event| event["name"] == "after")
    };
    fs::write(agent.path("after"), "").unwrap();
    loop {
        match ask() {
            Ok(answer) if after(&answer) => break,
            Ok(_) => {}
            Err((code, text)) => {
                assert_eq!(code, "data_loss", "{text}");
                fs::write(agent.path("after"), "").unwrap();
            }
        }
    }
}
