//! Calls, queries and modules.

use crate::stand::{Stand, line, replied};
use casemate_wasm_http::{Fault, Kind, Mode, Outcome, Settings};
use serde_json::json;
use std::time::{Duration, Instant};

const JSON: (&str, &str) = ("content-type", "application/json");
const OUTCOME: (&str, &str) = ("accept", "application/vnd.casemate.outcome+json");

#[tokio::test]
async fn bytes_go_in_and_come_out() {
    let stand = Stand::new();
    for kind in ["call", "query"] {
        let uri = format!("/wasm/c/{kind}/echo");
        let answer = stand.send("POST", &uri, &[], vec![0, 255, 7]).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body[..]),
            (200, &[0, 255, 7][..])
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/octet-stream")
        );
        assert_eq!(answer.header("casemate-instructions"), Some("42"));
        let (asked, ask) = stand.fake.asked.lock().unwrap().pop().unwrap();
        assert_eq!((asked, ask.caller.as_deref()), (kind, Some("run")));
    }
}

#[tokio::test]
async fn what_may_be_lost_is_said_in_each_form() {
    let stand = Stand::new();
    stand.fake.method("soon", |_| {
        Ok(Outcome {
            unwritten: true,
            ..replied(b"x")
        })
    });
    for (method, unwritten) in [("soon", true), ("echo", false)] {
        let uri = format!("/wasm/c/call/{method}");
        for form in [("accept", "*/*"), ("accept", "application/json"), OUTCOME] {
            let answer = stand.send("POST", &uri, &[form], "").await;
            let said = answer.header("casemate-unwritten");
            assert_eq!(said, unwritten.then_some("true"), "{method} {form:?}");
        }
        let whole = stand.send("POST", &uri, &[OUTCOME], "").await;
        assert_eq!(whole.json()["unwritten"], unwritten);
    }
}

#[tokio::test]
async fn json_goes_through_the_interface() {
    let stand = Stand::new();
    let uri = "/wasm/c/call/echo";
    let answer = stand.send("POST", uri, &[JSON], "[1, \"a\"]").await;
    assert_eq!(answer.json(), json!({ "decoded": "encoded [1,\"a\"]" }));
    let raw = [JSON, ("accept", "application/octet-stream")];
    let answer = stand.send("POST", uri, &raw, "").await;
    assert_eq!(answer.body, b"encoded []");
    let bad = stand.send("POST", uri, &[JSON], "[1").await;
    assert_eq!(bad.fault(400), "bad");
    let text = [("content-type", "text/plain")];
    assert_eq!(
        stand.send("POST", uri, &text, "1").await.fault(415),
        "media"
    );
}

#[tokio::test]
async fn a_method_may_have_any_name() {
    let stand = Stand::new();
    stand.fake.method("a/b é?", |_| Ok(replied(b"odd")));
    let uri = "/wasm/c/query/a%2Fb%20%C3%A9%3F";
    assert_eq!(stand.send("POST", uri, &[], "").await.body, b"odd");
}

#[tokio::test]
async fn deadline_and_name_of_a_call_reach_the_canister() {
    let stand = Stand::new();
    let headers = [("casemate-deadline", "30000"), ("idempotency-key", "once")];
    let before = Instant::now();
    stand.send("POST", "/wasm/c/call/echo", &headers, "").await;
    let other = [("x-api-key", "other"), ("idempotency-key", "once")];
    stand.send("POST", "/wasm/c/call/echo", &other, "").await;
    let asked = stand.fake.asked.lock().unwrap().clone();
    let left = asked[0].1.deadline.unwrap() - before;
    assert!(
        left >= Duration::from_secs(30) && left < Duration::from_secs(60),
        "{left:?}"
    );
    // The same name of two keys is two names.
    let keys: Vec<_> = asked
        .iter()
        .map(|(_, ask)| ask.key.clone().unwrap())
        .collect();
    assert_eq!(keys, ["run/once", "other/once"]);
}

#[tokio::test]
async fn who_waits_too_long_is_told_so() {
    let stand = Stand::new();
    let (go_on, goes_on) = std::sync::mpsc::sync_channel::<()>(1);
    let goes_on = std::sync::Mutex::new(goes_on);
    stand.fake.method("slow", move |_| {
        let _ = goes_on.lock().unwrap().recv();
        Ok(replied(b""))
    });
    let answer = stand
        .send("POST", "/wasm/c/call/slow?deadline=50", &[], "")
        .await;
    assert_eq!(answer.fault(504), "late");
    assert_eq!(answer.json()["reject_code"], 6);
    drop(go_on);
}

#[tokio::test]
async fn why_there_is_no_reply_is_told() {
    let stand = Stand::new();
    stand.fake.method("trap", |_| {
        Ok(Outcome {
            fault: Some(Fault::new(Kind::Trapped, "unreachable in f")),
            instructions: 9,
            logs: vec![line("last words")],
            ..Outcome::default()
        })
    });
    stand
        .fake
        .method("reject", |_| Err(Fault::new(Kind::Rejected, "no")));
    stand
        .fake
        .method("crash", |_| Err(Fault::new(Kind::Crashed, "signal 9")));
    let answer = stand.send("POST", "/wasm/c/call/trap", &[], "").await;
    assert_eq!(answer.fault(502), "trapped");
    assert_eq!(
        answer.json(),
        json!({
            "code": 502, "kind": "trapped", "message": "unreachable in f", "reject_code": 5,
            "hint": null, "instructions": 9, "logs": [{ "time": 1, "text": "last words" }],
        })
    );
    for (method, status, kind, code) in [
        ("reject", 422, "rejected", 4),
        ("crash", 503, "crashed", 2),
        ("none", 404, "no_method", 5),
    ] {
        let uri = format!("/wasm/c/call/{method}");
        let answer = stand.send("POST", &uri, &[], "").await;
        assert_eq!(answer.fault(status), kind);
        assert_eq!(answer.json()["reject_code"], code, "{method}");
    }
    let answer = stand.send("POST", "/wasm/d/call/echo", &[], "").await;
    assert_eq!(answer.fault(404), "no_canister");
    assert_eq!(answer.json()["hint"], "there are others");
    stand.fake.method("broken", |_| {
        Err(Fault::new(Kind::Broken, "write /home/me/x: no space"))
    });
    let broken = stand.send("POST", "/wasm/c/call/broken", &[], "").await;
    assert_eq!(broken.fault(500), "broken");
    assert!(
        !String::from_utf8_lossy(&broken.body).contains("/home"),
        "{broken:?}"
    );
    let whole = stand
        .send("POST", "/wasm/c/call/trap", &[OUTCOME], "")
        .await;
    assert_eq!(
        (whole.status.as_u16(), &whole.json()["fault"]["kind"]),
        (200, &json!("trapped"))
    );
}

#[tokio::test]
async fn what_is_too_long_is_refused() {
    let stand = Stand::with(Settings {
        argument: 10,
        module: 20,
        ..Settings::default()
    });
    let fits = stand
        .send("POST", "/wasm/c/call/echo", &[], vec![1; 10])
        .await;
    assert_eq!(fits.body.len(), 10);
    let long = stand
        .send("POST", "/wasm/c/call/echo", &[], vec![1; 11])
        .await;
    assert_eq!(long.fault(413), "too_long");
    let long = stand.send("POST", "/wasm/new", &[], vec![1; 21]).await;
    assert_eq!(long.fault(413), "too_long");
    for length in ["11", "-1", "x"] {
        let headers = [("casemate-argument-length", length)];
        let bad = stand.send("POST", "/wasm/new", &headers, vec![1; 20]).await;
        assert_eq!(bad.fault(400), "bad", "{length}");
    }
    let short = [("casemate-argument-length", "5")];
    assert_eq!(
        stand
            .send("POST", "/wasm/new", &short, "1234")
            .await
            .fault(400),
        "bad"
    );
}

#[tokio::test]
async fn modules_come_and_go() {
    let stand = Stand::new();
    let headers = [("casemate-argument-length", "3")];
    let made = stand.send("POST", "/wasm/new", &headers, "argmodule").await;
    assert_eq!(made.status.as_u16(), 201);
    assert_eq!(
        made.json(),
        json!({
            "canister": "principal-of-new", "instructions": 7,
            "logs": [{ "time": 1, "text": "made" }],
        })
    );
    let installed = || stand.fake.names.lock().unwrap()["new"].clone();
    let first = installed();
    assert_eq!(
        (&first.module[..], &first.argument[..]),
        (&b"module"[..], &b"arg"[..])
    );
    assert_eq!(
        (first.mode, first.caller.as_deref()),
        (Mode::Install, Some("run"))
    );
    assert_eq!(
        stand.send("POST", "/wasm/new", &[], "m").await.fault(409),
        "taken"
    );
    for (query, mode) in [
        ("", Mode::Upgrade),
        ("?mode=upgrade", Mode::Upgrade),
        ("?mode=reinstall", Mode::Reinstall),
    ] {
        let uri = format!("/wasm/new{query}");
        assert_eq!(
            stand.send("PUT", &uri, &[], "m2").await.status.as_u16(),
            200
        );
        assert_eq!(installed().mode, mode);
    }
    assert_eq!(
        stand
            .send("PUT", "/wasm/new?mode=x", &[], "m")
            .await
            .fault(400),
        "bad"
    );
    for (method, uri) in [
        ("POST", "/wasm/new/stop"),
        ("POST", "/wasm/new/start"),
        ("DELETE", "/wasm/new"),
    ] {
        assert_eq!(
            stand.send(method, uri, &[], "").await.status.as_u16(),
            204,
            "{uri}"
        );
    }
    assert_eq!(
        stand.send("DELETE", "/wasm/new", &[], "").await.fault(404),
        "no_canister"
    );
    let notes = stand.keys.notes.lock().unwrap().join("\n");
    assert_eq!(
        notes,
        "run wasm.install new: done\nrun wasm.install new: there is one already\n\
         run wasm.upgrade new: done\nrun wasm.upgrade new: done\nrun wasm.reinstall new: done\n\
         run wasm.stop new: done\nrun wasm.start new: done\nrun wasm.remove new: done\n\
         run wasm.remove new: there is no canister \"new\""
    );
}

#[tokio::test]
async fn what_is_there_is_told() {
    let stand = Stand::new();
    let get = async |uri| stand.send("GET", uri, &[], "").await;
    assert_eq!(get("/wasm").await.json(), json!({ "canisters": ["c"] }));
    let status = get("/wasm/c").await.json();
    assert_eq!(
        (&status["name"], &status["heap"]),
        (&json!("c"), &json!(1u64 << 33))
    );
    assert_eq!(status["cycles"], u128::MAX.to_string());
    assert_eq!(get("/wasm/c/logs").await.json()["logs"][1]["text"], "two");
    assert_eq!(get("/wasm/c/candid").await.body, b"service : {}");
    assert_eq!(
        get("/wasm/c/candid?method=a%2Fb").await.status.as_u16(),
        200
    );
    assert_eq!(get("/wasm/c/candid?method=b").await.fault(404), "no_method");
    assert_eq!(get("/wasm/d").await.fault(404), "no_canister");
    let inspected = stand.send("POST", "/wasm/-/inspect", &[], "a module").await;
    assert_eq!(inspected.body, b"a module");
    let none = stand.send("POST", "/wasm/-/inspect", &[], "").await;
    assert_eq!(none.fault(404), "no_interface");
    let ticked = stand.send("POST", "/wasm/-/tick", &[], "").await;
    assert_eq!(ticked.status.as_u16(), 204);
    assert_eq!(stand.fake.asked.lock().unwrap().pop().unwrap().0, "tick");
}
