//! The published SDKs, unchanged, against the router on a loopback port.
//!
//! `CASEMATE_E2B_PYTHON` names interpreters (separated by colons) that have the package `e2b`, and
//! `CASEMATE_E2B_NODE` a folder where `e2b` and `@e2b/cli` are installed; what isn't named is skipped.

use crate::sim::Rig;
use std::path::Path;
use std::process::{Command, Stdio};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdk_finds_nothing_unusual() {
    let Some(interpreters) = std::env::var_os("CASEMATE_E2B_PYTHON") else {
        println!("skipped: CASEMATE_E2B_PYTHON names no Python with the package e2b");
        return;
    };
    for python in std::env::split_paths(&interpreters) {
        let mut command = Command::new(&python);
        command.arg(script("sdk.py"));
        check(command).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_sdk_finds_nothing_unusual() {
    let Some(folder) = std::env::var_os("CASEMATE_E2B_NODE") else {
        println!("skipped: CASEMATE_E2B_NODE names no folder with the packages e2b and @e2b/cli");
        return;
    };
    let mut command = Command::new("node");
    command.arg(script("sdk.mjs")).arg(folder);
    check(command).await;
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/rest")
        .join(name)
}

/// Runs a client, which kills all that it makes.
async fn check(mut command: Command) {
    let rig = Rig::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = rig.control().router();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", rig.folder.path())
        .env("E2B_API_URL", &url)
        .env("E2B_SANDBOX_URL", &url)
        .env("E2B_API_KEY", &rig.key)
        .stdin(Stdio::null());
    let what = format!("{command:?}");
    let done = tokio::task::spawn_blocking(move || command.output()).await;
    let done = done.unwrap().unwrap();
    let [out, err] = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(done.status.success(), "{what}\n{out}\n{err}");
    assert!(rig.sim.ids().is_empty(), "it killed all that it made");
    assert_eq!(rig.sim.overlaps(), 0);
    server.abort();
}
