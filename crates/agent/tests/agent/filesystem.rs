//! `filesystem.Filesystem`, but for watching.

use crate::client::Agent;
use crate::support::is_root;
use casemate_proto::buffa::Message;
use casemate_proto::filesystem::{FileType, StatRequest, StatResponse};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

#[test]
fn an_entry_says_everything_about_a_file() {
    let agent = Agent::start();
    fs::write(agent.path("a.txt"), "four").unwrap();
    let entry = &agent
        .call("Stat", json!({"path": agent.path("a.txt")}))
        .unwrap()["entry"];
    assert_eq!(entry["name"], "a.txt");
    assert_eq!(entry["type"], "FILE_TYPE_FILE");
    assert_eq!(entry["path"], json!(agent.path("a.txt")));
    assert_eq!(entry["size"], "4");
    assert_eq!(entry["mode"], 0o644);
    assert_eq!(entry["permissions"], "-rw-r--r--");
    assert_eq!(entry["owner"], crate::support::user());
    assert!(entry["group"].is_string());
    assert!(entry["modifiedTime"].as_str().unwrap().ends_with('Z'));
    assert!(entry["symlinkTarget"].is_null());
    symlink("a.txt", agent.path("link")).unwrap();
    let entry = &agent
        .call("Stat", json!({"path": agent.path("link")}))
        .unwrap()["entry"];
    assert_eq!(entry["type"], "FILE_TYPE_FILE");
    assert_eq!(entry["isSymlink"], true);
    let real = agent.path("a.txt").canonicalize().unwrap();
    assert_eq!(entry["symlinkTarget"], json!(real));
}

#[test]
fn the_binary_codec_says_the_same() {
    let agent = Agent::start();
    fs::create_dir(agent.path("folder")).unwrap();
    let request = StatRequest {
        path: agent.path("folder").display().to_string(),
        ..StatRequest::default()
    };
    let kind = [
        ("Content-Type", "application/proto"),
        ("Connect-Protocol-Version", "1"),
    ];
    let reply = agent.send(
        "POST",
        "/filesystem.Filesystem/Stat",
        &kind,
        &request.encode_to_vec(),
    );
    assert_eq!(reply.status, 200);
    let entry = StatResponse::decode_from_slice(&reply.bytes())
        .unwrap()
        .entry;
    assert_eq!(entry.name, "folder");
    assert_eq!(entry.r#type, FileType::Directory);
    assert_eq!(entry.permissions, "drwxr-xr-x");
}

#[test]
fn folders_are_made_once() {
    let agent = Agent::start();
    let path = json!({"path": agent.path("a/b")});
    let entry = agent.call("MakeDir", path.clone()).unwrap()["entry"].clone();
    assert_eq!(entry["type"], "FILE_TYPE_DIRECTORY");
    assert_eq!(entry["name"], "b");
    assert_eq!(
        fs::metadata(agent.path("a/b")).unwrap().mode() & 0o777,
        0o755
    );
    assert_eq!(agent.refused("MakeDir", path), "already_exists");
    fs::write(agent.path("file"), "").unwrap();
    for name in ["file", "file/below", &"n".repeat(300)] {
        let path = json!({"path": agent.path(name)});
        assert_eq!(agent.refused("MakeDir", path), "invalid_argument", "{name}");
    }
}

#[test]
fn moving_makes_the_way() {
    let agent = Agent::start();
    fs::write(agent.path("a"), "x").unwrap();
    let go =
        |from: &str, to: &str| json!({"source": agent.path(from), "destination": agent.path(to)});
    let moved = agent.call("Move", go("a", "b/c")).unwrap();
    assert_eq!(moved["entry"]["path"], json!(agent.path("b/c")));
    assert_eq!(agent.refused("Move", go("a", "d")), "not_found");
    assert_eq!(agent.refused("Move", go("b", "b/c/d")), "invalid_argument");
    // Over what is there, as rename(2) does.
    fs::write(agent.path("e"), "over").unwrap();
    agent.call("Move", go("e", "b/c")).unwrap();
    assert_eq!(fs::read(agent.path("b/c")).unwrap(), b"over");
}

#[test]
fn removing_takes_everything_and_nothing_is_fine() {
    let agent = Agent::start();
    fs::create_dir_all(agent.path("a/b/c")).unwrap();
    fs::write(agent.path("a/b/file"), "").unwrap();
    for _ in 0..2 {
        let answer = agent
            .call("Remove", json!({"path": agent.path("a")}))
            .unwrap();
        assert_eq!(answer, json!({}));
        assert!(!agent.path("a").exists());
    }
    assert_eq!(
        agent.refused("Remove", json!({"path": "/"})),
        "invalid_argument"
    );
}

#[test]
fn listings_go_as_deep_as_asked() {
    let agent = Agent::start();
    fs::create_dir_all(agent.path("a/b")).unwrap();
    fs::write(agent.path("a/b/c"), "").unwrap();
    let names = |depth: Value| -> Vec<String> {
        let answer = agent.call(
            "ListDir",
            json!({"path": agent.folder.path(), "depth": depth}),
        );
        let entries = answer.unwrap()["entries"].as_array().unwrap().clone();
        entries
            .iter()
            .map(|entry| entry["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(Value::Null), ["a"]);
    assert_eq!(names(json!(0)), ["a"]);
    assert_eq!(names(json!(2)), ["a", "b"]);
    assert_eq!(names(json!(4_294_967_295_u32)), ["a", "b", "c"]);
    // Nothing said is the folder that the agent was given.
    assert_eq!(
        agent.call("ListDir", json!({})).unwrap()["entries"][0]["name"],
        "a"
    );
}

#[test]
fn paths_that_lead_nowhere() {
    let agent = Agent::start();
    fs::write(agent.path("file"), "").unwrap();
    symlink("loop", agent.path("loop")).unwrap();
    for (method, name, code) in [
        ("Stat", "none", "not_found"),
        ("ListDir", "none", "not_found"),
        ("ListDir", "file", "invalid_argument"),
        ("ListDir", "loop", "failed_precondition"),
        ("Stat", "file/below", "invalid_argument"),
        ("Stat", "nul\0", "invalid_argument"),
        ("Remove", "nul\0", "invalid_argument"),
    ] {
        let path = agent.path(name);
        let path = path.to_str().unwrap();
        assert_eq!(
            agent.refused(method, json!({"path": path})),
            code,
            "{method} {name}"
        );
    }
    for path in ["~other", "~other/x", &"/a".repeat(3000)] {
        assert_eq!(
            agent.refused("Stat", json!({"path": path})),
            "invalid_argument"
        );
    }
    for message in [json!({"path": 7}), json!("x"), json!(null)] {
        assert_eq!(
            agent.refused("Stat", message.clone()),
            "invalid_argument",
            "{message}"
        );
    }
}

#[test]
fn whose_request_it_is_decides_whose_folders_they_are() {
    if !is_root() {
        eprintln!("skipped: only root makes files for others");
        return;
    }
    let agent = Agent::start();
    let body = json!({"path": agent.path("a/b")}).to_string();
    let headers = |user: &'static str| {
        [
            ("Content-Type", "application/json"),
            ("Authorization", user),
        ]
    };
    // nobody: and nosuchuser:
    let nobody = headers("Basic bm9ib2R5Og==");
    let target = "/filesystem.Filesystem/MakeDir";
    assert_eq!(
        agent.send("POST", target, &nobody, body.as_bytes()).status,
        200
    );
    assert_eq!(fs::metadata(agent.path("a")).unwrap().uid(), 65534);
    let unknown = headers("Basic bm9zdWNodXNlcjo=");
    let reply = agent.send("POST", target, &unknown, body.as_bytes());
    let (status, text) = reply.refusal();
    assert_eq!(
        (status, text.as_str()),
        (401, "invalid username: 'nosuchuser'")
    );
}
