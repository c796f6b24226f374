//! Canisters that are made up, a server of them, and a client of its router.

use axum::Router;
use axum::body::{Body, Bytes};
use casemate_wasm_http::{
    Ask, Caller, Callers, Fault, Installation, Kind, Line, Mode, Outcome, Owner, Quotas, Replayed,
    Scope, Server, Settings, Status,
};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use tower::ServiceExt as _;

/// What a method of a canister that is made up does.
pub(crate) type Method = Arc<dyn Fn(&Ask) -> Result<Outcome, Fault> + Send + Sync>;

/// Canisters by their names, and the methods that each of them has.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) names: Mutex<BTreeMap<String, Installation>>,
    pub(crate) methods: Mutex<BTreeMap<String, Method>>,
    /// What was asked, the newest last.
    pub(crate) asked: Mutex<Vec<(&'static str, Ask)>>,
    /// What the principal of each is said to be, if it isn't made of the name.
    pub(crate) principal: Mutex<Option<String>>,
    /// What is written as the archive of each.
    pub(crate) archive: Mutex<Vec<u8>>,
}

pub(crate) fn replied(reply: &[u8]) -> Outcome {
    Outcome {
        reply: Some(reply.to_vec()),
        instructions: 42,
        ..Outcome::default()
    }
}

impl Fake {
    pub(crate) fn method(
        &self,
        name: &str,
        does: impl Fn(&Ask) -> Result<Outcome, Fault> + Send + Sync + 'static,
    ) {
        let mut methods = self.methods.lock().unwrap();
        methods.insert(name.to_owned(), Arc::new(does));
    }

    fn known(&self, name: &str) -> Result<(), Fault> {
        match self.names.lock().unwrap().contains_key(name) {
            true => Ok(()),
            false => Err(Fault::new(
                Kind::NoCanister,
                format!("there is no canister {name:?}\nhint: there are others"),
            )),
        }
    }

    fn run(&self, kind: &'static str, name: &str, ask: &Ask) -> Result<Outcome, Fault> {
        self.known(name)?;
        self.asked.lock().unwrap().push((kind, ask.clone()));
        let method = self.methods.lock().unwrap().get(&ask.method).cloned();
        let none = || Fault::new(Kind::NoMethod, format!("no method {:?}", ask.method));
        method.ok_or_else(none)?(ask)
    }
}

impl Owner for Fake {
    fn names(&self) -> Result<Vec<String>, Fault> {
        Ok(self.names.lock().unwrap().keys().cloned().collect())
    }

    fn call(&self, name: &str, ask: Ask) -> Result<Outcome, Fault> {
        self.run("call", name, &ask)
    }

    fn query(&self, name: &str, ask: Ask) -> Result<Outcome, Fault> {
        self.run("query", name, &ask)
    }

    fn install(&self, name: &str, how: Installation) -> Result<Outcome, Fault> {
        let is_there = self.known(name).is_ok();
        match (how.mode, is_there) {
            (Mode::Install, true) => return Err(Fault::new(Kind::Taken, "there is one already")),
            (Mode::Upgrade | Mode::Reinstall, false) => self.known(name)?,
            _ => {}
        }
        self.names.lock().unwrap().insert(name.to_owned(), how);
        Ok(Outcome {
            canister: Some(format!("principal-of-{name}")),
            instructions: 7,
            logs: vec![line("made")],
            ..Outcome::default()
        })
    }

    fn start(&self, name: &str) -> Result<(), Fault> {
        self.known(name)
    }

    fn stop(&self, name: &str) -> Result<(), Fault> {
        self.known(name)
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        self.known(name)?;
        self.names.lock().unwrap().remove(name);
        Ok(())
    }

    fn status(&self, name: &str) -> Result<Status, Fault> {
        self.known(name)?;
        let principal = self.principal.lock().unwrap().clone();
        Ok(Status {
            name: name.to_owned(),
            canister: principal.unwrap_or_else(|| format!("principal-of-{name}")),
            heap: 1 << 33,
            cycles: u128::MAX.to_string(),
            ..Status::default()
        })
    }

    fn logs(&self, name: &str) -> Result<Vec<Line>, Fault> {
        self.known(name)?;
        Ok(vec![line("one"), line("two")])
    }

    fn interface(&self, name: &str, method: Option<&str>) -> Result<Option<String>, Fault> {
        self.known(name)?;
        if method.is_some_and(|method| method != "a/b") {
            return Err(Fault::new(Kind::NoMethod, "there is none"));
        }
        Ok((name != "untyped").then(|| "service : {}".to_owned()))
    }

    fn encode(&self, _: &str, _: &str, argument: &Value) -> Result<Vec<u8>, Fault> {
        Ok(format!("encoded {argument}").into_bytes())
    }

    fn decode(&self, _: &str, _: &str, reply: &[u8]) -> Result<Value, Fault> {
        Ok(json!({ "decoded": String::from_utf8_lossy(reply) }))
    }

    fn inspect(&self, module: Bytes) -> Result<Option<String>, Fault> {
        Ok((!module.is_empty()).then(|| String::from_utf8(module.to_vec()).unwrap()))
    }

    /// A method of the name `export` is asked when all of it has been written.
    fn export(&self, name: &str, archive: &mut dyn Write) -> Result<(), Fault> {
        self.known(name)?;
        let bytes = self.archive.lock().unwrap().clone();
        let written = archive.write_all(&bytes);
        written.map_err(|why| Fault::new(Kind::Broken, why.to_string()))?;
        let last = self.methods.lock().unwrap().get("export").cloned();
        last.map_or(Ok(()), |last| last(&Ask::default()).map(drop))
    }

    fn import(
        &self,
        name: &str,
        archive: &mut dyn Read,
        caller: Option<&str>,
    ) -> Result<String, Fault> {
        let mut bytes = Vec::new();
        archive.read_to_end(&mut bytes).unwrap();
        if bytes.is_empty() {
            return Err(Fault::new(Kind::Refused, "it ends too early"));
        }
        let how = Installation {
            mode: Mode::Install,
            module: bytes.into(),
            argument: Vec::new(),
            caller: caller.map(str::to_owned),
        };
        self.names.lock().unwrap().insert(name.to_owned(), how);
        Ok(format!("principal-of-{name}"))
    }

    fn replay(&self, name: &str, from: Option<u64>) -> Result<Replayed, Fault> {
        self.known(name)?;
        match from {
            Some(13) => Err(Fault::new(Kind::Differs, "call 3 after checkpoint 13")),
            from => Ok(Replayed {
                from: from.unwrap_or(1),
                calls: 7,
                state: "00".to_owned(),
                ..Replayed::default()
            }),
        }
    }

    fn tick(&self) -> Result<(), Fault> {
        self.asked.lock().unwrap().push(("tick", Ask::default()));
        Ok(())
    }
}

pub(crate) fn line(text: &str) -> Line {
    Line {
        time: 1,
        text: text.to_owned(),
    }
}

/// Keys that are made up, and what was noted of those who have them.
#[derive(Default)]
pub(crate) struct Keys {
    pub(crate) quotas: Mutex<Quotas>,
    pub(crate) notes: Mutex<Vec<String>>,
}

impl Callers for Keys {
    fn recognise(&self, headers: &HeaderMap) -> Result<Caller, Fault> {
        let key = headers.get("x-api-key").and_then(|key| key.to_str().ok());
        let scope = match key {
            Some("run" | "other") => Scope::Run,
            Some("read") => Scope::Read,
            _ => return Err(Fault::new(Kind::NoKey, "no API key")),
        };
        Ok(Caller {
            id: key.map(str::to_owned),
            scope,
            quotas: *self.quotas.lock().unwrap(),
        })
    }

    fn note(&self, caller: &Caller, action: &'static str, target: &str, outcome: Option<&Fault>) {
        let by = caller.id.as_deref().unwrap_or("the user");
        let how = outcome.map_or("done", |fault| fault.message.as_str());
        let note = format!("{by} {action} {target}: {how}");
        self.notes.lock().unwrap().push(note);
    }
}

/// All of it.
pub(crate) struct Stand {
    pub(crate) fake: Arc<Fake>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) server: Server,
    router: Router,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    /// The kind of a fault, whose status and code say the same.
    #[track_caller]
    pub(crate) fn fault(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        let json = self.json();
        assert_eq!(json["code"], status, "{json}");
        json["kind"].as_str().unwrap().to_owned()
    }
}

impl Stand {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    /// With a canister `c` that has a method `echo`.
    pub(crate) fn with(settings: Settings) -> Self {
        let (fake, keys) = (Arc::new(Fake::default()), Arc::new(Keys::default()));
        let nothing = Installation {
            mode: Mode::Install,
            module: Default::default(),
            argument: Vec::new(),
            caller: None,
        };
        fake.names.lock().unwrap().insert("c".to_owned(), nothing);
        fake.method("echo", |ask| Ok(replied(&ask.argument)));
        let server = Server::new(fake.clone(), settings);
        let other = Router::new().fallback(async || "the platform");
        let router = other.merge(server.router(keys.clone()));
        let router = server.with_sites(router, keys.clone());
        Self {
            fake,
            keys,
            server,
            router,
        }
    }

    /// Sends a request with a key, and leaves the answer's body to whoever asks.
    pub(crate) async fn begin(&self, method: &str, uri: &str) -> http::Response<Body> {
        let request = Request::builder().method(method).uri(uri);
        let request = request.header("x-api-key", "run").body(Body::empty());
        let sent = self.router.clone().oneshot(request.unwrap());
        sent.await.unwrap()
    }

    /// Sends a request; of `headers`, the API key may be left out, and `-` takes it away.
    pub(crate) async fn send(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        if !headers.iter().any(|(name, _)| *name == "x-api-key") {
            request = request.header("x-api-key", "run");
        }
        for (name, value) in headers.iter().filter(|(_, value)| *value != "-") {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes().to_vec());
        Answer {
            status: head.status,
            headers: head.headers,
            // One that broke off is told apart from each that came to its end.
            body: body.unwrap_or_else(|why| format!("broken off: {why}").into_bytes()),
        }
    }
}
