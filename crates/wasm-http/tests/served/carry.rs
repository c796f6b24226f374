//! Archives and replays.

use crate::stand::Stand;
use axum::body::{Body, Bytes};
use casemate_wasm_http::{Fault, Kind, Outcome, Quotas, Settings};
use futures_util::stream;
use http_body_util::BodyExt as _;
use serde_json::json;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// A stand whose archives pass through a folder of its own.
fn stand(settings: Settings) -> (Stand, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().to_owned();
    (Stand::with(Settings { spool, ..settings }), folder)
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

/// Several pieces of it, none like another.
fn archive() -> Vec<u8> {
    (0..5_000_000_u32).map(|at| (at >> 9) as u8).collect()
}

#[tokio::test]
async fn an_archive_goes_out_and_comes_in() {
    let (stand, folder) = stand(Settings::default());
    *stand.fake.archive.lock().unwrap() = archive();
    let answer = stand.send("GET", "/wasm/c/export", &[], "").await;
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(answer.header("content-length"), Some("5000000"));
    assert!(answer.body == archive());
    let pieces = answer.body.chunks(70_000).map(Bytes::copy_from_slice);
    let pieces: Vec<_> = pieces.map(Ok::<_, std::io::Error>).collect();
    let body = Body::from_stream(stream::iter(pieces));
    let answer = stand.send("POST", "/wasm/d/import", &[], body).await;
    assert_eq!(answer.status.as_u16(), 201, "{answer:?}");
    assert_eq!(answer.json()["canister"], "principal-of-d");
    {
        let names = stand.fake.names.lock().unwrap();
        assert!(names["d"].module == archive());
        assert_eq!(names["d"].caller.as_deref(), Some("run"));
    }
    let taken = stand.send("POST", "/wasm/d/import", &[], "x").await;
    assert_eq!(taken.fault(409), "taken");
    let missing = stand.send("GET", "/wasm/e/export", &[], "").await;
    assert_eq!(missing.fault(404), "no_canister");
    assert_eq!(
        *stand.keys.notes.lock().unwrap(),
        [
            "run wasm.export c: done",
            "run wasm.import d: done",
            "run wasm.export e: there is no canister \"e\"",
        ]
    );
    assert!(is_empty(folder.path()));
}

#[tokio::test]
async fn an_archive_that_could_not_be_written_is_none() {
    let (stand, folder) = stand(Settings::default());
    *stand.fake.archive.lock().unwrap() = archive();
    stand
        .fake
        .method("export", |_| Err(Fault::new(Kind::State, "it is busy")));
    let answer = stand.send("GET", "/wasm/c/export", &[], "").await;
    assert_eq!(answer.fault(409), "state");
    assert!(is_empty(folder.path()));
}

#[tokio::test]
async fn an_archive_that_is_too_long_is_refused() {
    let (stand, folder) = stand(Settings {
        archive: 2_000_000,
        ..Settings::default()
    });
    *stand.fake.archive.lock().unwrap() = archive();
    let out = stand.send("GET", "/wasm/c/export", &[], "").await;
    assert_eq!(out.fault(413), "too_long");
    let whole = stand.send("POST", "/wasm/d/import", &[], archive()).await;
    assert_eq!(whole.fault(413), "too_long");
    // One that doesn't say how long it is.
    let pieces = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![0; 9_000])));
    let endless = Body::from_stream(pieces);
    let answer = stand.send("POST", "/wasm/d/import", &[], endless).await;
    assert_eq!(answer.fault(413), "too_long");
    assert!(!stand.fake.names.lock().unwrap().contains_key("d"));
    assert!(is_empty(folder.path()));
    let fits = stand
        .send("POST", "/wasm/d/import", &[], vec![1; 2_000_000])
        .await;
    assert_eq!(fits.status.as_u16(), 201);
}

#[tokio::test]
async fn an_archive_that_breaks_off_is_none() {
    let (stand, folder) = stand(Settings {
        arrival: Duration::from_millis(50),
        ..Settings::default()
    });
    let beginning = || {
        let begins = Ok::<_, std::io::Error>(Bytes::from(vec![7; 3_000_000]));
        stream::iter([begins])
    };
    use futures_util::StreamExt as _;
    let gone = stream::iter([Err(std::io::Error::other("the client is gone"))]);
    let gone = Body::from_stream(beginning().chain(gone));
    let answer = stand.send("POST", "/wasm/d/import", &[], gone).await;
    assert_eq!(answer.fault(400), "bad");
    let silent = Body::from_stream(beginning().chain(stream::pending()));
    let answer = stand.send("POST", "/wasm/d/import", &[], silent).await;
    assert_eq!(answer.fault(408), "slow");
    let empty = stand.send("POST", "/wasm/d/import", &[], "").await;
    assert_eq!(empty.fault(400), "refused");
    assert!(!stand.fake.names.lock().unwrap().contains_key("d"));
    assert!(is_empty(folder.path()));
}

/// Who takes nothing, or is gone, has a place no longer than another waits for one.
#[tokio::test]
async fn places_for_archives_come_back() {
    let (stand, _folder) = stand(Settings {
        archives: 1,
        arrival: Duration::from_millis(20),
        ..Settings::default()
    });
    *stand.fake.archive.lock().unwrap() = archive();
    let begun = || async {
        let answer = stand.begin("GET", "/wasm/c/export").await;
        (answer.status().as_u16(), answer.into_body())
    };
    for is_gone in [false, true] {
        let (status, mut body) = begun().await;
        assert_eq!(status, 200);
        let first = body.frame().await.unwrap().unwrap();
        assert!(!first.into_data().unwrap().is_empty());
        let held = (!is_gone).then_some(body);
        loop {
            match begun().await {
                (503, _) => continue,
                (200, next) => {
                    assert!(next.collect().await.unwrap().to_bytes() == archive());
                    break;
                }
                (other, _) => panic!("{other}"),
            }
        }
        if let Some(mut rest) = held {
            // What came short is told from what is whole by its length.
            let mut length = 0;
            while let Some(Ok(frame)) = rest.frame().await {
                length += frame.into_data().unwrap().len();
            }
            assert!(length < 4_000_000, "{length}");
        }
        // The last one's place is free a moment after its last byte.
        while begun().await.0 != 200 {}
    }
}

#[tokio::test]
async fn too_many_archives_are_turned_away() {
    let (stand, _folder) = stand(Settings {
        archives: 0,
        arrival: Duration::from_millis(20),
        ..Settings::default()
    });
    for (verb, uri) in [("GET", "/wasm/c/export"), ("POST", "/wasm/d/import")] {
        let answer = stand.send(verb, uri, &[], "x").await;
        assert_eq!(answer.fault(503), "busy", "{uri}");
    }
}

#[tokio::test]
async fn an_archive_counts_as_what_it_brings() {
    let (stand, folder) = stand(Settings::default());
    *stand.keys.quotas.lock().unwrap() = Quotas {
        bytes_per_minute: Some(1000),
        concurrent: Some(1),
        ..Quotas::default()
    };
    let answer = stand.send("POST", "/wasm/d/import", &[], vec![1; 1001]);
    assert_eq!(answer.await.fault(429), "quota");
    let answer = stand.send("POST", "/wasm/d/import", &[], vec![1; 1000]);
    assert_eq!(answer.await.status.as_u16(), 201);
    // A client has a call under way until it has its archive.
    *stand.fake.archive.lock().unwrap() = archive();
    let answer = stand.begin("GET", "/wasm/c/export").await;
    assert_eq!(answer.status().as_u16(), 200);
    let second = stand.send("POST", "/wasm/c/call/echo", &[], "").await;
    assert_eq!(second.fault(429), "quota");
    drop(answer);
    assert!(is_empty(folder.path()));
}

#[tokio::test]
async fn an_export_that_takes_long_holds_nobody_up() {
    let (stand, _folder) = stand(Settings::default());
    let stand = Arc::new(stand);
    let (go_on, goes_on) = mpsc::sync_channel::<()>(1);
    let (began, begins) = tokio::sync::oneshot::channel();
    let (goes_on, began) = (Mutex::new(goes_on), Mutex::new(Some(began)));
    stand.fake.method("export", move |_| {
        let _ = began.lock().unwrap().take().unwrap().send(());
        let _ = goes_on.lock().unwrap().recv();
        Ok(Outcome::default())
    });
    let exporting = tokio::spawn({
        let stand = stand.clone();
        async move { stand.send("GET", "/wasm/c/export", &[], "").await }
    });
    // There is one thread for all that is served, and it is free.
    begins.await.unwrap();
    let answer = stand.send("POST", "/wasm/c/call/echo", &[], "x").await;
    assert_eq!(answer.body, b"x");
    drop(go_on);
    assert_eq!(exporting.await.unwrap().status.as_u16(), 200);
}

#[tokio::test]
async fn a_past_is_proven() {
    let (stand, _folder) = stand(Settings::default());
    for (query, from) in [("", 1), ("?from=5", 5)] {
        let uri = format!("/wasm/c/replay{query}");
        let answer = stand.send("POST", &uri, &[], "").await;
        assert_eq!(
            answer.json(),
            json!({
                "from": from, "states": 0, "calls": 7, "instructions": 0, "state": "00", "runtime": "",
            })
        );
    }
    let differs = stand.send("POST", "/wasm/c/replay?from=13", &[], "").await;
    assert_eq!(differs.fault(409), "differs");
    for from in ["x", "-1", ""] {
        let uri = format!("/wasm/c/replay?from={from}");
        assert_eq!(stand.send("POST", &uri, &[], "").await.fault(400), "bad");
    }
}
