//! The published Python SDK, unchanged, against the router on a loopback port.
//!
//! `CASEMATE_E2B_PYTHON` names interpreters (separated by colons) that have the package `e2b`; without
//! it these checks are skipped.

use crate::sim::Rig;
use std::process::{Command, Stdio};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_published_sdk_finds_nothing_unusual() {
    let Some(interpreters) = std::env::var_os("CASEMATE_E2B_PYTHON") else {
        println!("skipped: CASEMATE_E2B_PYTHON names no Python with the package e2b");
        return;
    };
    for python in std::env::split_paths(&interpreters) {
        let rig = Rig::new().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = rig.control().router();
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let mut command = Command::new(&python);
        command
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rest/sdk.py"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("E2B_API_URL", &url)
            .env("E2B_SANDBOX_URL", &url)
            .env("E2B_API_KEY", &rig.key)
            .stdin(Stdio::null());
        let done = tokio::task::spawn_blocking(move || command.output()).await;
        let done = done.unwrap().unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr),
        );
        assert!(done.status.success(), "{}\n{out}\n{err}", python.display());
        assert!(rig.sim.ids().is_empty(), "it killed all that it made");
        assert_eq!(rig.sim.overlaps(), 0);
        server.abort();
    }
}
