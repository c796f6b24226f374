//! What clients put on the wire, byte for byte: names in JSON, numbers in binary.

use casemate_proto::buffa::Message;
use casemate_proto::filesystem::EntryInfo;
use casemate_proto::process::{StartRequest, StartResponse};

#[test]
fn a_start_request_as_the_python_client_sends_it() {
    let json = r#"{"process":{"cmd":"/bin/bash","args":["-l","-c","echo hi"]},"stdin":false}"#;
    let request: StartRequest = serde_json::from_str(json).unwrap();
    assert_eq!(request.process.cmd, "/bin/bash");
    assert_eq!(request.process.args, ["-l", "-c", "echo hi"]);
    assert_eq!(request.stdin, Some(false));
    assert!(request.tag.is_none() && request.process.cwd.is_none());
}

#[test]
fn an_end_event_has_the_numbers_of_the_contract() {
    // event(1) { end(3) { exit_code(1): sint32 -1, exited(2), status(3) } }
    let binary = b"\x0a\x0a\x1a\x08\x08\x01\x10\x01\x1a\x02ok";
    let response = StartResponse::decode_from_slice(binary).unwrap();
    let json = serde_json::to_value(&response).unwrap();
    let expected = serde_json::json!({
        "event": {"end": {"exitCode": -1, "exited": true, "status": "ok"}}
    });
    assert_eq!(json, expected);
    assert_eq!(response.encode_to_vec(), binary);
}

#[test]
fn an_entry_says_its_size_as_text_and_its_kind_by_name() {
    let json = r#"{"name":"a","type":"FILE_TYPE_FILE","size":"7","isSymlink":true,
        "modifiedTime":"2026-01-02T03:04:05Z"}"#;
    let entry: EntryInfo = serde_json::from_str(json).unwrap();
    assert_eq!((entry.size, entry.is_symlink), (7, true));
    let back = serde_json::to_value(&entry).unwrap();
    assert_eq!(back["size"], "7");
    assert_eq!(back["type"], "FILE_TYPE_FILE");
    assert_eq!(back["modifiedTime"], "2026-01-02T03:04:05Z");
    let snake: EntryInfo = serde_json::from_str(r#"{"symlink_target":"/b"}"#).unwrap();
    assert_eq!(snake.symlink_target.as_deref(), Some("/b"));
}
