//! A store that is locked, damaged, or newer; routes and methods that aren't there.

use crate::sim::{Hands, Rig, Sim};
use casemate_control::store::Sqlite;
use casemate_control::{Control, Settings};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions as _, Executor as _};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

async fn other(settings: &Settings) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&settings.store);
    options.connect().await.unwrap()
}

#[tokio::test]
async fn a_locked_store_stops_what_must_be_written_first() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({"timeout": 60})).await;
    let doomed = rig.sandbox(json!({"timeout": 60})).await;
    let mut thief = other(&rig.settings).await;
    thief.execute("BEGIN EXCLUSIVE").await.unwrap();
    // Those who only look notice nothing.
    assert_eq!(
        rig.get("/v2/sandboxes")
            .await
            .ok(200)
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let made = rig.post("/v2/sandboxes", json!({"templateID": "base"}));
    let paths = ["timeout", "connect"].map(|action| format!("/sandboxes/{name}/{action}"));
    let moved = rig.post(&paths[0], json!({"timeout": 500}));
    let connected = rig.post(&paths[1], json!({"timeout": 500}));
    let key = rig.post("/api-keys", json!({"name": "k"}));
    let (made, moved, connected, key) = tokio::join!(made, moved, connected, key);
    for answer in [made, moved, connected, key] {
        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
        let text = answer.problem(503);
        assert!(text.contains("store is not available"), "{text}");
    }
    assert_eq!(
        rig.end(&name).await,
        "2026-01-01T00:01:00Z",
        "nothing was changed"
    );
    assert_eq!(rig.sim.ids().len(), 2);
    // What a node has done is done, and written down later.
    rig.delete(&format!("/sandboxes/{doomed}")).await.ok(204);
    assert_eq!(rig.sim.ids(), [name.as_str()]);
    thief.execute("ROLLBACK").await.unwrap();
    rig.post(
        &format!("/sandboxes/{name}/timeout"),
        json!({"timeout": 500}),
    )
    .await
    .ok(204);
    rig.journal(&doomed, &["sandbox.create", "sandbox.kill"])
        .await;
    let mut rig = rig;
    rig.restart().await;
    assert_eq!(rig.state(&doomed).await, "stopped");
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_recorded_is_taken_down() {
    let rig = Rig::new().await;
    let door = rig.sim.hold("create").await;
    let control = Arc::clone(rig.control());
    let request = rig.prepare("POST", "/v2/sandboxes", json!({"templateID": "base"}));
    let making = tokio::spawn(async move { crate::sim::ask(&control, request).await });
    rig.sim.reached("create", 1).await;
    let mut thief = other(&rig.settings).await;
    thief.execute("BEGIN EXCLUSIVE").await.unwrap();
    rig.sim
        .refuse("kill", casemate_core::error::Error::errno("kill", 5).into());
    drop(door);
    making.await.unwrap().problem(503);
    // Nobody knows of it, and it is tried again until it is gone.
    assert_eq!(rig.get("/v2/sandboxes").await.ok(200), json!([]));
    assert_eq!(rig.sim.ids().len(), 1);
    thief.execute("ROLLBACK").await.unwrap();
    rig.pass(10).await;
    while !rig.sim.ids().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_store_that_is_no_store_is_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let settings = Settings::new(folder.path().join("control.db"));
    let open = async || {
        let opened = Control::open(
            settings.clone(),
            Arc::<Sim>::default(),
            Arc::<Hands>::default(),
        )
        .await;
        opened.map(drop).map_err(|error| error.to_string())
    };
    std::fs::write(
        &settings.store,
        "this is not a database, and it is long enough to be read as one.".repeat(99),
    )
    .unwrap();
    let error = open().await.unwrap_err();
    assert!(
        error.starts_with("open the store") && error.contains("hint: it is damaged"),
        "{error}"
    );
    std::fs::remove_file(&settings.store).unwrap();
    open().await.unwrap();
    let mode = std::fs::metadata(&settings.store)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let first = Sqlite::open(&settings.store).await.unwrap();
    let error = open().await.unwrap_err();
    assert!(error.contains("another daemon uses it"), "{error}");
    drop(first);
    other(&settings)
        .await
        .execute("PRAGMA user_version = 99")
        .await
        .unwrap();
    let error = open().await.unwrap_err();
    assert!(error.contains("it has version 99"), "{error}");
}

#[tokio::test]
async fn what_is_not_there_has_the_shape_of_a_problem() {
    let rig = Rig::new().await;
    rig.get("/nowhere").await.problem(404);
    rig.send("PUT", "/sandboxes", Value::Null)
        .await
        .problem(405);
    rig.get("/health").await.ok(204);
    let long = "i".repeat(60_000);
    for id in [
        "i0123456789abcdefghij",
        "x",
        "%2e%2e",
        "%00",
        "i0123456789abcdefghi%C3%A9",
        &long,
    ] {
        let path = format!("/sandboxes/{id}");
        rig.get(&path).await.problem(404);
        rig.delete(&path).await.problem(404);
        for action in [
            "pause",
            "resume",
            "connect",
            "timeout",
            "refreshes",
            "fork",
            "snapshots",
        ] {
            rig.post(&format!("{path}/{action}"), json!({"timeout": 1}))
                .await
                .problem(404);
        }
        rig.send("PUT", &format!("{path}/network"), json!({}))
            .await
            .problem(404);
        for part in ["metrics", "logs"] {
            rig.get(&format!("{path}/{part}")).await.problem(404);
        }
        rig.get(&format!("/v2/sandboxes/{id}/logs"))
            .await
            .problem(404);
        rig.get(&format!("/casemate/sandboxes/{id}"))
            .await
            .problem(404);
    }
    rig.get("/sandboxes/%FF").await.problem(400);
}

#[tokio::test]
async fn older_clients_put_their_own_id_behind_the_sandboxs() {
    let rig = Rig::new().await;
    let name = rig.sandbox(json!({})).await;
    rig.get(&format!("/sandboxes/{name}-6532622b"))
        .await
        .ok(200);
}

#[tokio::test]
async fn only_an_administrator_reads_what_failed_inside() {
    let rig = Rig::new().await;
    let run = rig.post("/api-keys", json!({"name": "r"})).await.ok(201);
    let run = run["key"].as_str().unwrap();
    let secret = || {
        casemate_core::error::Error::errno("open", 13)
            .on("/run/user/1000/x")
            .into()
    };
    rig.sim.refuse("create", secret());
    let text = rig
        .post("/v2/sandboxes", json!({"templateID": "base"}))
        .await
        .problem(500);
    assert!(text.contains("/run/user/1000/x"), "{text}");
    rig.sim.refuse("create", secret());
    let request = crate::sim::prepare(run, "POST", "/v2/sandboxes", json!({"templateID": "base"}));
    let text = rig.request(request).await.problem(500);
    assert_eq!(text, "create the sandbox: the node failed");
}
