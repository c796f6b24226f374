//! The real program behind a Unix socket, and a client of few words.

mod exchange;
mod stream;

pub(crate) use exchange::Answer;
pub(crate) use stream::Events;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, Request};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An agent of its own for each test; ends with it.
pub(crate) struct Agent {
    program: Child,
    socket: PathBuf,
    folder: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl Agent {
    /// Commands run as whoever runs the test, found by name if that is root.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate-agent"));
        command.args(["--listener-fd", &listener.as_raw_fd().to_string()]);
        command.args(["--user", &user()]);
        if !is_root() {
            command.arg("--alone");
        }
        command.arg("--workdir").arg(folder.path()).args(more);
        let program = command.spawn().unwrap();
        Self {
            program,
            socket,
            folder,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.id()
    }

    /// An empty path means this folder.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// A connection, before anything is said.
    pub(crate) async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    /// One HTTP/1.1 request on a connection of its own.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> http::Response<Incoming> {
        let stream = TokioIo::new(self.connect().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        tokio::time::timeout(PATIENCE, sender.send_request(request))
            .await
            .unwrap()
            .unwrap()
    }

    /// A request whose whole answer is waited for.
    pub(crate) async fn exchange(&self, request: Request<Full<Bytes>>) -> Answer {
        Answer::read(self.send(request).await).await
    }

    /// Sends bytes and reads until the agent closes, which may be before the last byte.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(PATIENCE, read).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A unary call in JSON.
    pub(crate) async fn call(&self, method: &str, message: Value) -> Answer {
        self.exchange(call(method, message)).await
    }

    /// A streaming call in JSON.
    pub(crate) async fn stream(&self, method: &str, message: Value) -> Events {
        self.stream_with(method, message, &[]).await
    }

    pub(crate) async fn stream_with(
        &self,
        method: &str,
        message: Value,
        headers: &[(&'static str, &str)],
    ) -> Events {
        let mut request = streaming(method, &envelope(0, message.to_string().as_bytes()));
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        Events::new(self.send(request).await)
    }

    /// Starts a shell script without input.
    pub(crate) async fn shell(&self, script: &str) -> Events {
        let process = serde_json::json!({"cmd": "/bin/sh", "args": ["-c", script]});
        let request = serde_json::json!({"process": process, "stdin": false});
        self.stream("Start", request).await
    }

    /// It still serves.
    pub(crate) async fn is_well(&self) {
        let request = Request::get("/health").body(Full::default()).unwrap();
        assert_eq!(self.exchange(request).await.status, 204);
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The name of whoever runs the test.
pub(crate) fn user() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let own = passwd
        .lines()
        .map(fields)
        .find(|line| line.get(2) == Some(&uid));
    own.expect("whoever runs this has an account")[0].clone()
}

/// A unary call in JSON, to be changed.
pub(crate) fn call(method: &str, message: Value) -> Request<Full<Bytes>> {
    Request::post(format!("/process.Process/{method}"))
        .header("host", "agent")
        .header("content-type", "application/json")
        .header("connect-protocol-version", "1")
        .body(Full::from(message.to_string()))
        .unwrap()
}

/// A streaming call in JSON, with this body.
pub(crate) fn streaming(method: &str, body: &[u8]) -> Request<Full<Bytes>> {
    Request::post(format!("/process.Process/{method}"))
        .header("host", "agent")
        .header("content-type", "application/connect+json")
        .header("connect-protocol-version", "1")
        .body(Full::from(body.to_vec()))
        .unwrap()
}

/// A message of a stream: flags, length, bytes.
pub(crate) fn envelope(flags: u8, message: &[u8]) -> Vec<u8> {
    let mut framed = vec![flags];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed
}

pub(crate) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(bytes)
}

pub(crate) fn decoded(text: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap()
}

/// Which process: by number.
pub(crate) fn of(pid: u64) -> Value {
    serde_json::json!({"pid": pid})
}

/// A header of an answer.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}
