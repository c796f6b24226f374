//! A control plane to test: a node and a clock that are simulated, and a client of the router.

mod clock;
mod node;

pub(crate) use clock::Hands;
pub(crate) use node::Sim;

use axum::body::Body;
use casemate_control::{Control, Settings};
use casemate_core::sandbox::SandboxId;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// What the router answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body, if the status is the one that is expected.
    #[track_caller]
    pub(crate) fn ok(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        match self.text.is_empty() {
            true => Value::Null,
            false => self.json(),
        }
    }

    /// The message of a problem, which has E2B's shape.
    #[track_caller]
    pub(crate) fn problem(self, status: u16) -> String {
        let json = self.ok(status);
        assert_eq!(json["code"], status, "{json}");
        json["message"].as_str().expect("a message").to_owned()
    }
}

/// All of it.
pub(crate) struct Rig {
    /// Nothing while the daemon is down.
    control: Option<Arc<Control>>,
    pub(crate) sim: Arc<Sim>,
    pub(crate) clock: Arc<Hands>,
    pub(crate) key: String,
    pub(crate) settings: Settings,
    pub(crate) folder: TempDir,
    shutdown: CancellationToken,
    running: Option<JoinHandle<()>>,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = TempDir::new().unwrap();
        let mut settings = Settings::new(folder.path().join("state/control.db"));
        change(&mut settings);
        let (sim, clock) = (Arc::new(Sim::default()), Arc::new(Hands::default()));
        let control = Control::open(settings.clone(), sim.clone(), clock.clone()).await;
        let control = control.unwrap();
        let key = control.first_key().expect("the first start makes a key");
        let (shutdown, running) = run(&control);
        Self {
            control: Some(control),
            sim,
            clock,
            key,
            settings,
            folder,
            shutdown,
            running,
        }
    }

    /// Ends the daemon and begins it anew; the node goes on meanwhile.
    pub(crate) async fn restart(&mut self) {
        self.down().await;
        let control =
            Control::open(self.settings.clone(), self.sim.clone(), self.clock.clone()).await;
        let control = control.unwrap();
        (self.shutdown, self.running) = run(&control);
        self.control = Some(control);
    }

    /// Ends the daemon, and closes its store.
    pub(crate) async fn down(&mut self) {
        self.stop().await;
        self.control = None;
    }

    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        self.control.as_ref().unwrap()
    }

    pub(crate) async fn request(&self, request: Request<Body>) -> Answer {
        ask(self.control(), request).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        self.request(self.prepare(method, path, body)).await
    }

    pub(crate) fn prepare(&self, method: &str, path: &str, body: Value) -> Request<Body> {
        prepare(&self.key, method, path, body)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, Value::Null).await
    }

    /// A sandbox with these fields beside the template.
    pub(crate) async fn sandbox(&self, mut fields: Value) -> String {
        fields["templateID"] = json!("base");
        let made = self.post("/v2/sandboxes", fields).await.ok(201);
        made["sandboxID"].as_str().unwrap().to_owned()
    }

    /// `creating` … `failed`, of ended ones too.
    pub(crate) async fn state(&self, id: &str) -> String {
        let told = self.get(&format!("/casemate/sandboxes/{id}")).await;
        told.ok(200)["state"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn pass(&self, seconds: u64) {
        self.clock.pass(Duration::from_secs(seconds));
    }

    /// Comes back when the sandbox is in that state.
    pub(crate) async fn until(&self, id: &str, state: &str) {
        while self.state(id).await != state {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn end(&self, id: &str) -> String {
        let told = self.get(&format!("/sandboxes/{id}")).await.ok(200);
        told["endAt"].as_str().unwrap().to_owned()
    }

    /// Comes back when the journal has so many actions on this sandbox or key: these, the oldest
    /// first; a failed one has a `!`.
    #[track_caller]
    pub(crate) fn journal(
        &self,
        target: &str,
        expected: &[impl AsRef<str>],
    ) -> impl Future<Output = ()> {
        let path = format!("/casemate/audit?target={target}");
        let expected: Vec<_> = expected
            .iter()
            .map(|action| action.as_ref().to_owned())
            .collect();
        let name = |entry: &Value| {
            let failed = if entry.get("error").is_some() {
                "!"
            } else {
                ""
            };
            format!("{}{failed}", entry["action"].as_str().expect("an action"))
        };
        async move {
            loop {
                let entries = self.get(&path).await.ok(200);
                let entries = entries.as_array().expect("a list");
                if entries.len() >= expected.len() {
                    let actions: Vec<_> = entries.iter().rev().map(name).collect();
                    break assert_eq!(actions, expected);
                }
                tokio::task::yield_now().await;
            }
        }
    }
}

fn run(control: &Arc<Control>) -> (CancellationToken, Option<JoinHandle<()>>) {
    let (control, shutdown) = (Arc::clone(control), CancellationToken::new());
    let until = shutdown.clone();
    let running = tokio::spawn(async move { control.run(until).await });
    (shutdown, Some(running))
}

pub(crate) async fn ask(control: &Arc<Control>, request: Request<Body>) -> Answer {
    let response = control.router().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

pub(crate) fn prepare(key: &str, method: &str, path: &str, body: Value) -> Request<Body> {
    let body = match body {
        Value::Null => Body::empty(),
        body => Body::from(body.to_string()),
    };
    let request = Request::builder().method(method).uri(path);
    request.header("X-API-KEY", key).body(body).unwrap()
}

pub(crate) fn id(text: &str) -> SandboxId {
    text.parse().unwrap()
}
