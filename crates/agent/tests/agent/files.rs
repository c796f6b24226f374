//! The contents of files over HTTP.

use crate::client::{Agent, with_small_disk};
use crate::support::is_root;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    GzEncoder::new(bytes, Compression::fast())
        .read_to_end(&mut packed)
        .unwrap();
    packed
}

#[test]
fn a_file_comes_back_as_it_was_sent() {
    let agent = Agent::start();
    let reply = agent.put(&agent.file("a/b.txt"), &[], b"content");
    assert_eq!(reply.status, 200);
    let path = agent.path("a/b.txt");
    let expected = json!([{"path": path, "name": "b.txt", "type": "file"}]);
    assert_eq!(reply.json(), expected);
    let reply = agent.get(&agent.file("a/b.txt"), &[]);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-length"), "7");
    assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(
        reply.header("content-disposition"),
        "inline; filename=\"b.txt\""
    );
    assert_eq!(reply.header("accept-ranges"), "bytes");
    assert_eq!(reply.header("vary"), "Accept-Encoding");
    assert_eq!(reply.bytes(), b"content");
    let reply = agent.send("HEAD", &agent.file("a/b.txt"), &[], b"");
    assert_eq!((reply.status, reply.header("content-length")), (200, "7"));
}

#[test]
fn a_form_carries_several_files() {
    let agent = Agent::start();
    let (first, second) = (agent.path("x/1"), agent.path("2"));
    let files = [
        (first.to_str().unwrap(), "one"),
        (second.to_str().unwrap(), ""),
    ];
    let reply = agent.form("/files", &files);
    assert_eq!(reply.json().as_array().unwrap().len(), 2);
    assert_eq!(fs::read(first).unwrap(), b"one");
    assert_eq!(fs::read(second).unwrap(), b"");
    // With a path, the name in the form says nothing.
    agent.form(&agent.file("3"), &[("ignored", "three")]);
    assert_eq!(fs::read(agent.path("3")).unwrap(), b"three");
}

#[test]
fn files_belong_to_the_user_they_are_sent_for() {
    if !is_root() {
        eprintln!("skipped: only root makes files for others");
        return;
    }
    let agent = Agent::start();
    agent.put(&format!("{}&username=nobody", agent.file("a/b")), &[], b"");
    for name in ["a", "a/b"] {
        assert_eq!(
            fs::metadata(agent.path(name)).unwrap().uid(),
            65534,
            "{name}"
        );
    }
    // Where everybody is one user, so is this one.
    let alone = Agent::with(&["--alone"]);
    alone.put(&format!("{}&username=nobody", alone.file("a")), &[], b"");
    assert_eq!(fs::metadata(alone.path("a")).unwrap().uid(), 0);
}

#[test]
fn parts_of_a_file() {
    let agent = Agent::start();
    fs::write(agent.path("a"), "0123456789").unwrap();
    for (range, status, told, body) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=0-1,2-3", 206, "bytes 0-3/10", "0123"),
        ("bytes=0-1,8-9", 200, "", "0123456789"),
        ("bytes=10-", 416, "bytes */10", ""),
        ("bytes=x", 416, "bytes */10", ""),
    ] {
        let headers = [("Range", range), ("Accept-Encoding", "gzip")];
        let reply = agent.get(&agent.file("a"), &headers);
        assert_eq!(
            (reply.status, reply.header("content-range")),
            (status, told),
            "{range}"
        );
        assert_eq!(reply.bytes(), body.as_bytes(), "{range}");
    }
}

#[test]
fn a_part_of_another_version_is_no_use() {
    let agent = Agent::start();
    fs::write(agent.path("a"), "0123456789").unwrap();
    let seen = agent
        .get(&agent.file("a"), &[])
        .header("last-modified")
        .to_owned();
    let old = "Sun, 06 Nov 1994 08:49:37 GMT";
    let range = ("Range", "bytes=0-1");
    for (headers, status) in [
        (vec![("If-Modified-Since", seen.as_str())], 304),
        (vec![("If-Modified-Since", old)], 200),
        (vec![range, ("If-Range", &seen)], 206),
        (vec![range, ("If-Range", old)], 200),
        (vec![range, ("If-Range", "\"tag\"")], 200),
    ] {
        assert_eq!(
            agent.get(&agent.file("a"), &headers).status,
            status,
            "{headers:?}"
        );
    }
}

#[test]
fn packed_both_ways() {
    let agent = Agent::start();
    let content = b"again and ".repeat(300_000);
    let gzip = ("Content-Encoding", "gzip");
    let reply = agent.put(&agent.file("a"), &[gzip], &packed(&content));
    assert_eq!(reply.status, 200);
    assert_eq!(fs::read(agent.path("a")).unwrap(), content);
    let reply = agent.get(&agent.file("a"), &[("Accept-Encoding", "gzip")]);
    assert_eq!(reply.header("content-encoding"), "gzip");
    assert!(!reply.headers.contains_key("content-length"));
    let mut unpacked = Vec::new();
    GzDecoder::new(&reply.bytes()[..])
        .read_to_end(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, content);
    // What is packed already, and long, travels as it is.
    let mut noise = Vec::new();
    let random = fs::File::open("/dev/urandom").unwrap();
    random.take(2_000_000).read_to_end(&mut noise).unwrap();
    fs::write(agent.path("b"), &noise).unwrap();
    let reply = agent.get(&agent.file("b"), &[("Accept-Encoding", "gzip")]);
    assert_eq!(reply.header("content-encoding"), "");
    assert_eq!(reply.bytes(), noise);
}

#[test]
fn what_cannot_be_read() {
    let agent = Agent::start();
    fs::write(agent.path("a"), "").unwrap();
    let pipe = agent.path("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    for (target, status, text) in [
        (agent.file("none"), 404, "does not exist"),
        (agent.file(""), 400, "is a directory"),
        (agent.file("pipe"), 400, "not a regular file"),
        (agent.file("a/below"), 400, "leads through a file"),
        (agent.file("nul%00"), 400, "NUL"),
        ("/files?path=~other/x".into(), 400, "another user"),
        (format!("/files?path=/{}", "a/".repeat(3000)), 400, "longer"),
        (
            format!("{}&username=nobody-knows", agent.file("a")),
            401,
            "invalid username",
        ),
        (
            format!("{}&signature_expiration=soon", agent.file("a")),
            400,
            "signature_expiration",
        ),
    ] {
        let (got, message) = agent.get(&target, &[]).refusal();
        assert_eq!(got, status, "{target}: {message}");
        assert!(message.contains(text), "{target}: {message}");
    }
    let reply = agent.get(&agent.file("a"), &[("Accept-Encoding", "br, identity;q=0")]);
    assert_eq!(reply.refusal().0, 406);
    // Going up is no trick: it is where the sandbox's own kernel says.
    let up = format!("{}/x/../a", agent.folder.path().display());
    fs::create_dir(agent.path("x")).unwrap();
    assert_eq!(agent.get(&format!("/files?path={up}"), &[]).status, 200);
}

#[test]
fn what_the_kernel_writes_as_it_is_read() {
    let agent = Agent::start();
    let version = fs::read("/proc/version").unwrap();
    assert_eq!(agent.get("/files?path=/proc/version", &[]).bytes(), version);
    fs::write(agent.path("empty"), "").unwrap();
    let reply = agent.get(&agent.file("empty"), &[]);
    assert_eq!(reply.header("content-length"), "0");
}

#[test]
fn what_cannot_be_written() {
    let agent = Agent::start();
    fs::create_dir(agent.path("folder")).unwrap();
    fs::write(agent.path("file"), "").unwrap();
    let long = "v".repeat(5000);
    for (name, headers, text) in [
        ("folder", vec![], "is a directory"),
        ("file/below", vec![], "leads through a file"),
        (
            "a",
            vec![("Content-Encoding", "br")],
            "unsupported Content-Encoding",
        ),
        (
            "a",
            vec![("Content-Encoding", "gzip")],
            "Content-Encoding gzip",
        ),
        ("a", vec![("X-Metadata-K", long.as_str())], "at most 4096"),
        ("nul%00", vec![], "NUL"),
    ] {
        let (status, message) = agent
            .put(&agent.file(name), &headers, b"not gzip")
            .refusal();
        assert_eq!(status, 400, "{message}");
        assert!(message.contains(text), "{message}");
    }
    let kinds = [
        ("text/plain", "unsupported content type"),
        ("multipart/form-data", "no boundary"),
        ("multipart/form-data; boundary=XX", "ends in the middle"),
    ];
    for (kind, text) in kinds {
        let reply = agent.send(
            "POST",
            &agent.file("a"),
            &[("Content-Type", kind)],
            b"--XX\r\n",
        );
        let (status, message) = reply.refusal();
        assert_eq!(status, 400);
        assert!(message.contains(text), "{message}");
    }
    assert!(
        agent
            .put("/files", &[], b"")
            .refusal()
            .1
            .contains("path query parameter")
    );
    assert!(!agent.path("a").exists());
}

#[test]
fn a_refusal_is_read_by_a_client_that_is_still_sending() {
    let agent = Agent::start();
    fs::create_dir(agent.path("folder")).unwrap();
    let reply = agent.put(&agent.file("folder"), &[], &vec![0; 4 * 1024 * 1024]);
    assert_eq!(reply.refusal().0, 400);
}

#[test]
fn ten_thousand_files_in_one_form_and_no_more() {
    let agent = Agent::start();
    let names: Vec<String> = (0..=10_000)
        .map(|n| format!("{}", agent.path(&n.to_string()).display()))
        .collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let (status, message) = agent.form("/files", &files).refusal();
    assert_eq!(status, 400);
    assert!(message.contains("more than 10000 parts"), "{message}");
    files.pop();
    let written = agent.form("/files", &files).json();
    assert_eq!(written.as_array().unwrap().len(), 10_000);
}

#[test]
fn an_upload_that_breaks_off_leaves_no_new_file_and_no_changed_one() {
    let agent = Agent::start();
    fs::write(agent.path("old"), "old").unwrap();
    let mut events = agent.watch(&json!({"path": agent.folder.path()}));
    assert!(events.message().1["start"].is_object());
    for name in ["old", "new"] {
        let mut stream = agent.connect();
        write!(
            stream,
            "POST {} HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n\
             Content-Length: 1000000\r\n\r\nhalf",
            agent.file(name)
        )
        .unwrap();
        if name == "new" {
            assert_eq!(events.event(), ("new".into(), "CREATE".into()));
        }
        drop(stream);
    }
    // The last change, so all of it has happened.
    while events.event() != ("new".into(), "REMOVE".into()) {}
    assert!(!agent.path("new").exists());
    assert_eq!(fs::read(agent.path("old")).unwrap(), b"old");
}

#[test]
fn notes_stay_with_a_file_until_it_is_sent_anew() {
    let agent = Agent::start();
    let notes = [
        ("X-Metadata-Author", "me"),
        ("x-metadata-purpose", "a test"),
    ];
    let reply = agent.put(&agent.file("a"), &notes, b"");
    let expected = json!({"author": "me", "purpose": "a test"});
    assert_eq!(reply.json()[0]["metadata"], expected);
    let stat = |agent: &Agent| {
        agent
            .call("Stat", json!({"path": agent.path("a")}))
            .unwrap()
    };
    let kept = stat(&agent)["entry"]["metadata"].clone();
    if kept.is_null() {
        eprintln!("skipped: the file system keeps no extended attributes");
        return;
    }
    assert_eq!(kept, expected);
    agent.put(&agent.file("a"), &[], b"");
    assert!(stat(&agent)["entry"]["metadata"].is_null());
}

#[test]
fn a_signed_address_is_as_good_as_the_token() {
    use base64::Engine;
    use sha2::Digest;
    let agent = Agent::start();
    let init = agent.send(
        "POST",
        "/init",
        &[("Content-Type", "application/json")],
        br#"{"accessToken":"secret"}"#,
    );
    assert_eq!(init.status, 204);
    let path = agent.path("a").display().to_string();
    let sign = |operation: &str, user: &str, end: &str| {
        let text = format!("{path}:{operation}:{user}:secret{end}");
        let digest = sha2::Sha256::digest(text);
        let signature = base64::engine::general_purpose::STANDARD_NO_PAD.encode(digest);
        format!("v1_{}", signature.replace('+', "%2B").replace('/', "%2F"))
    };
    let target = agent.file("a");
    let write = format!("{target}&signature={}", sign("write", "", ""));
    assert_eq!(agent.put(&write, &[], b"x").status, 200);
    let later = "9999999999";
    let read = format!(
        "{target}&signature_expiration={later}&signature={}",
        sign("read", "", &format!(":{later}"))
    );
    assert_eq!(agent.get(&read, &[]).bytes(), b"x");
    assert_eq!(agent.send("HEAD", &read, &[], b"").status, 200);
    assert_eq!(
        agent.get(&target, &[("X-Access-Token", "secret")]).status,
        200
    );
    let expired = format!(
        "{target}&signature_expiration=1&signature={}",
        sign("read", "", ":1")
    );
    for (target, text) in [
        (target.clone(), "missing signature query parameter"),
        (write, "invalid signature"),
        (format!("{target}&signature=v1_x"), "invalid signature"),
        (format!("{read}&username=root"), "invalid signature"),
        (expired, "signature is already expired"),
    ] {
        assert_eq!(
            agent.get(&target, &[]).refusal(),
            (401, text.to_owned()),
            "{target}"
        );
    }
    let (status, text) = agent.get(&read, &[("X-Access-Token", "wrong")]).refusal();
    assert_eq!(
        (status, text.as_str()),
        (401, "access token present in header but does not match")
    );
    // Composing has no signature.
    let kind = [("Content-Type", "application/json")];
    assert_eq!(
        agent.send("POST", "/files/compose", &kind, b"{}").status,
        401
    );
}

#[test]
fn files_are_put_together() {
    let agent = Agent::start();
    for name in ["1", "2"] {
        agent.put(&agent.file(name), &[], name.as_bytes());
    }
    let compose = |body: serde_json::Value| {
        let kind = [("Content-Type", "application/json")];
        agent.send("POST", "/files/compose", &kind, body.to_string().as_bytes())
    };
    let sources = [agent.path("2"), agent.path("1")];
    let whole = agent.path("a/whole");
    let missing = json!({"source_paths": [agent.path("none")], "destination": whole});
    let (status, text) = compose(missing).refusal();
    assert_eq!(status, 404, "{text}");
    assert!(text.contains("source file not found"), "{text}");
    let reply = compose(json!({"source_paths": sources, "destination": whole}));
    assert_eq!(
        reply.json(),
        json!({"path": whole, "name": "whole", "type": "file"})
    );
    assert_eq!(fs::read(&whole).unwrap(), b"21");
    assert!(!agent.path("1").exists());
    for body in [
        json!({"source_paths": [], "destination": "x"}),
        json!({"source_paths": ["x"], "destination": ""}),
        json!({"source_paths": ["x"]}),
        json!({"source_paths": "x", "destination": "y"}),
    ] {
        assert!(matches!(compose(body.clone()).status, 400 | 422), "{body}");
    }
}

#[test]
fn memory_does_not_follow_the_length_of_a_file() {
    let agent = Agent::start();
    let large = vec![7; 128 << 20];
    assert_eq!(agent.put(&agent.file("a"), &[], &large).status, 200);
    let packed = agent.get(&agent.file("a"), &[("Accept-Encoding", "gzip")]);
    let packed = packed.bytes();
    let reply = agent.put(&agent.file("b"), &[("Content-Encoding", "gzip")], &packed);
    assert_eq!(reply.status, 200);
    assert!(agent.get(&agent.file("b"), &[]).bytes() == large);
    let peak = agent.peak();
    assert!(peak < 64 << 20, "{peak} bytes");
}

#[test]
fn a_full_disk() {
    let disk = tempfile::tempdir().unwrap();
    if let Err(why) = with_small_disk("files::on_a_full_disk", disk.path()) {
        eprintln!("skipped: {why}");
    }
}

#[test]
#[ignore = "run by a_full_disk, which mounts one"]
fn on_a_full_disk() {
    let disk = std::env::var("CASEMATE_SMALL_DISK").unwrap();
    let agent = Agent::start();
    let target = |name: &str| format!("/files?path={disk}/{name}");
    let large = vec![b'x'; 5 * 1024 * 1024];
    // What is known to have no place isn't begun.
    agent.put(&target("old"), &[], b"old");
    for name in ["new", "old"] {
        let (status, text) = agent.put(&target(name), &[], &large).refusal();
        assert_eq!(status, 507, "{text}");
        assert!(text.contains("not enough disk space available"), "{text}");
    }
    // What isn't known ends at the disk: packed, it is small.
    let bomb = packed(&vec![0; 8 * 1024 * 1024]);
    let reply = agent.put(&target("new"), &[("Content-Encoding", "gzip")], &bomb);
    assert_eq!(reply.refusal().0, 507);
    let names: Vec<String> = (0..100).map(|n| format!("{disk}/many/{n}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    assert_eq!(agent.form("/files", &files).refusal().0, 507);
    fs::remove_dir_all(format!("{disk}/many")).unwrap();
    let left: Vec<_> = fs::read_dir(&disk)
        .unwrap()
        .map(|item| item.unwrap().file_name())
        .collect();
    assert_eq!(left, ["old"]);
    assert_eq!(fs::read(format!("{disk}/old")).unwrap(), b"old");
    // And there is place again.
    assert_eq!(agent.put(&target("new"), &[], &large[..1024]).status, 200);
}
