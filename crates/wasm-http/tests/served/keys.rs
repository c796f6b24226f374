//! Quotas.

use crate::stand::{Stand, replied};
use casemate_wasm_http::Quotas;
use std::sync::{Arc, Mutex, mpsc};

#[tokio::test]
async fn calls_and_bytes_of_a_minute_are_bounded() {
    let stand = Stand::new();
    *stand.keys.quotas.lock().unwrap() = Quotas {
        calls_per_minute: Some(3),
        bytes_per_minute: Some(10),
        ..Quotas::default()
    };
    let call = async |bytes: usize, key| {
        let headers = [("x-api-key", key)];
        let call = stand.send("POST", "/wasm/c/call/echo", &headers, vec![1; bytes]);
        call.await
    };
    assert_eq!(call(8, "run").await.status.as_u16(), 200);
    let bytes = call(3, "run").await;
    assert_eq!(bytes.fault(429), "quota");
    let after: u64 = bytes.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
    assert_eq!(call(2, "run").await.status.as_u16(), 200);
    let calls = call(0, "run").await;
    assert_eq!(calls.fault(429), "quota");
    assert!(
        calls.json()["message"]
            .as_str()
            .unwrap()
            .contains("3 calls a minute")
    );
    // Each key has its own.
    assert_eq!(call(8, "other").await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_call_counts_as_long_as_it_runs_and_not_as_long_as_somebody_waits() {
    let stand = Arc::new(Stand::new());
    *stand.keys.quotas.lock().unwrap() = Quotas {
        concurrent: Some(1),
        ..Quotas::default()
    };
    let (go_on, goes_on) = mpsc::sync_channel::<()>(1);
    let (goes_on, (ended, ends)) = (Mutex::new(goes_on), mpsc::sync_channel::<()>(1));
    stand.fake.method("slow", move |_| {
        let _ = goes_on.lock().unwrap().recv();
        let _ = ended.send(());
        Ok(replied(b""))
    });
    let late = stand
        .send("POST", "/wasm/c/call/slow?deadline=30", &[], "")
        .await;
    assert_eq!(late.fault(504), "late");
    let second = stand.send("POST", "/wasm/c/call/echo", &[], "").await;
    assert_eq!(second.fault(429), "quota");
    drop(go_on);
    tokio::task::spawn_blocking(move || ends.recv())
        .await
        .unwrap()
        .unwrap();
    // It is counted off a moment after its method has ended.
    while stand
        .send("POST", "/wasm/c/call/echo", &[], "")
        .await
        .status
        .as_u16()
        != 200
    {
        tokio::task::yield_now().await;
    }
}
