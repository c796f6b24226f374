//! A node whose sandboxes are servers on loopback, and a control plane that is a table.

use casemate_core::node::{Door, Ended, Kept, Node, Refusal, Reply};
use casemate_core::sandbox::lifecycle::State;
use casemate_core::sandbox::{Keep, Outward, SandboxId, SnapshotId, Usage, Wish};
use casemate_gateway::Traffic;
use casemate_gateway::{Gateway, Patience, Sandbox, Sandboxes, Settings, Signed, Soon};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// What stands behind a door.
#[derive(Clone)]
pub(crate) enum Behind {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// It refuses so often, and then is a server.
    Later(usize, SocketAddr),
    /// The sandbox is paused at the first dial, and then it's a server.
    Asleep(bool, SocketAddr),
}

#[derive(Default)]
pub(crate) struct Loopback {
    doors: Mutex<HashMap<(SandboxId, Door), Behind>>,
    pub(crate) dials: AtomicUsize,
}

impl Node for Loopback {
    fn stores(&self) -> bool {
        false
    }
    fn create<'a>(&'a self, _: &'a SandboxId, _: &'a Wish) -> Reply<'a, ()> {
        Box::pin(async { Err(Refusal::Unknown) })
    }
    fn kill<'a>(&'a self, _: &'a SandboxId) -> Reply<'a, ()> {
        Box::pin(async { Err(Refusal::Unknown) })
    }
    fn pause<'a>(&'a self, _: &'a SandboxId, _: Keep) -> Reply<'a, ()> {
        Box::pin(async { Err(Refusal::Unknown) })
    }
    fn resume<'a>(&'a self, _: &'a SandboxId, _: &'a Wish, _: Keep) -> Reply<'a, ()> {
        Box::pin(async { Err(Refusal::Unknown) })
    }
    fn greet<'a>(&'a self, _: &'a SandboxId) -> Reply<'a, ()> {
        Box::pin(async { Err(Refusal::Unknown) })
    }
    fn snapshot<'a>(&'a self, _: &'a SandboxId, _: &'a SnapshotId, _: Keep) -> Reply<'a, ()> {
        Box::pin(async { Err(Refusal::Unknown) })
    }
    fn discard<'a>(&'a self, _: &'a SnapshotId) -> Reply<'a, ()> {
        Box::pin(async { Err(Refusal::Unknown) })
    }
    fn snapshots(&self) -> Reply<'_, Vec<SnapshotId>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn restrict<'a>(&'a self, _: &'a SandboxId, _: &'a Outward) -> Reply<'a, ()> {
        Box::pin(async { Err(Refusal::Unknown) })
    }
    fn usage<'a>(&'a self, _: &'a SandboxId) -> Reply<'a, Usage> {
        Box::pin(async { Err(Refusal::Unknown) })
    }
    fn list(&self) -> Reply<'_, Vec<Kept>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn ended(&self) -> Reply<'_, Ended> {
        Box::pin(std::future::pending())
    }

    fn dial<'a>(&'a self, id: &'a SandboxId, to: Door) -> Reply<'a, OwnedFd> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        let behind = {
            let mut doors = self.doors.lock().unwrap();
            let behind = doors.get_mut(&(id.clone(), to));
            match behind {
                Some(Behind::Later(refusals @ 1.., _)) => {
                    *refusals -= 1;
                    None
                }
                Some(Behind::Later(_, address)) => Some(Behind::Tcp(*address)),
                Some(Behind::Asleep(asleep @ true, address)) => {
                    let behind = Behind::Asleep(true, *address);
                    *asleep = false;
                    Some(behind)
                }
                Some(Behind::Asleep(false, address)) => Some(Behind::Tcp(*address)),
                other => other.cloned(),
            }
        };
        Box::pin(async move {
            let closed = Refusal::Closed(match to {
                Door::Agent => 49983,
                Door::Port(port) => port,
            });
            match behind {
                Some(Behind::Tcp(address)) => {
                    let stream = std::net::TcpStream::connect(address).map_err(|_| closed)?;
                    Ok(stream.into())
                }
                Some(Behind::Unix(path)) => {
                    let stream = std::os::unix::net::UnixStream::connect(path);
                    Ok(stream.map_err(|_| closed)?.into())
                }
                Some(Behind::Asleep(..)) => Err(State::Paused.pause().unwrap_err().into()),
                Some(Behind::Later(..)) | None => Err(closed),
            }
        })
    }
}

/// A sandbox in the table.
struct Row {
    sandbox: Sandbox,
    gone: watch::Sender<bool>,
}

#[derive(Default)]
pub(crate) struct Table {
    rows: Mutex<HashMap<SandboxId, Row>>,
    pub(crate) wakes: AtomicUsize,
    pub(crate) touches: AtomicUsize,
    /// A wake has begun; and it may go on.
    pub(crate) waking: Notify,
    pub(crate) may_wake: Notify,
    pub(crate) wake_refused: Mutex<Option<Refusal>>,
    pub(crate) signed: Mutex<Option<(Signed, SandboxId)>>,
}

impl Sandboxes for Table {
    fn find<'a>(&'a self, id: &'a SandboxId) -> Soon<'a, Option<Sandbox>> {
        let rows = self.rows.lock().unwrap();
        let found = rows.get(id).map(|row| row.sandbox.clone());
        Box::pin(async move { found })
    }

    fn find_by_signature<'a>(&'a self, signed: &'a Signed) -> Soon<'a, Option<SandboxId>> {
        let known = self.signed.lock().unwrap().clone();
        let found = known.filter(|(known, _)| known == signed).map(|(_, id)| id);
        Box::pin(async move { found })
    }

    fn wake<'a>(&'a self, id: &'a SandboxId) -> Soon<'a, Result<(), Refusal>> {
        self.wakes.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            self.waking.notify_one();
            self.may_wake.notified().await;
            if let Some(refusal) = self.wake_refused.lock().unwrap().take() {
                return Err(refusal);
            }
            self.rows.lock().unwrap().get_mut(id).unwrap().sandbox.state = State::Running;
            Ok(())
        })
    }

    fn touch(&self, _: &SandboxId) {
        self.touches.fetch_add(1, Ordering::Relaxed);
    }

    fn ended<'a>(&'a self, id: &'a SandboxId) -> Soon<'a, ()> {
        let gone = self
            .rows
            .lock()
            .unwrap()
            .get(id)
            .map(|row| row.gone.subscribe());
        Box::pin(async move {
            if let Some(mut gone) = gone {
                let _ = gone.wait_for(|gone| *gone).await;
            }
        })
    }
}

/// All of it.
pub(crate) struct World {
    pub(crate) node: Arc<Loopback>,
    pub(crate) table: Arc<Table>,
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) settings: Settings,
    pub(crate) stop: Arc<Notify>,
    pub(crate) served: Served,
}

/// A server that ends with the test.
pub(crate) struct Served(JoinHandle<()>);

impl Served {
    /// Waits until it has ended by itself.
    pub(crate) async fn over(&mut self) {
        (&mut self.0).await.unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) fn id() -> SandboxId {
    "i0123456789abcdefghij".parse().unwrap()
}

pub(crate) fn public() -> Sandbox {
    Sandbox {
        state: State::Running,
        resumes: false,
        access_token: None,
        traffic: Traffic::Public,
        mask_host: None,
    }
}

/// Limits that only a broken gateway reaches.
pub(crate) fn patient() -> Patience {
    let long = std::time::Duration::from_secs(3600);
    Patience {
        head: long,
        idle: long,
        dial: long,
        expect: long,
        grief: std::time::Duration::from_millis(50),
        backoff: std::time::Duration::from_millis(1),
        parked: long,
        parked_port: long,
        drain: std::time::Duration::from_secs(1),
    }
}

pub(crate) fn settings(patience: Patience) -> Settings {
    Settings {
        domain: Some("sbx.test".into()),
        patience,
        ..Settings::default()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(settings(patient())).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        Self::with_tls(settings, None).await
    }

    pub(crate) async fn with_tls(
        settings: Settings,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let (node, table) = (Arc::new(Loopback::default()), Arc::new(Table::default()));
        let api = axum::Router::new().fallback(api);
        let gateway = Gateway::new(settings.clone(), node.clone(), table.clone(), api);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let served = tokio::spawn(async move {
            gateway.serve(listener, tls, stopped.notified()).await;
        });
        let world = Self {
            node,
            table,
            address,
            folder: tempfile::tempdir().unwrap(),
            settings,
            stop,
            served: Served(served),
        };
        world.put(public());
        world
    }

    /// Makes the sandbox be this.
    pub(crate) fn put(&self, sandbox: Sandbox) {
        let gone = watch::Sender::new(false);
        let row = Row { sandbox, gone };
        self.table.rows.lock().unwrap().insert(id(), row);
    }

    /// Ends it.
    pub(crate) fn end(&self) {
        let row = self.table.rows.lock().unwrap().remove(&id()).unwrap();
        row.gone.send_replace(true);
    }

    pub(crate) fn open(&self, door: Door, behind: Behind) {
        self.node.doors.lock().unwrap().insert((id(), door), behind);
    }

    pub(crate) fn port(&self, port: u16, address: SocketAddr) {
        self.open(Door::Port(port), Behind::Tcp(address));
    }

    pub(crate) async fn connect(&self) -> Wire {
        Wire::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends this and reads the one response.
    pub(crate) async fn ask(&self, request: &str) -> Heard {
        let mut wire = self.connect().await;
        wire.say(request).await;
        wire.hear().await
    }

    /// Sends a GET in host mode.
    pub(crate) async fn get(&self, port: u16, path: &str) -> Heard {
        self.ask(&get(port, path)).await
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Says what it was asked and by whom, or says back what comes after an upgrade.
async fn api(mut request: axum::extract::Request) -> axum::response::Response {
    if request.headers().contains_key("upgrade") {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let stream = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
            let (mut from, mut to) = tokio::io::split(stream);
            tokio::io::copy(&mut from, &mut to).await.unwrap();
        });
        let switching = http::Response::builder().status(101);
        let switching = switching
            .header("connection", "upgrade")
            .header("upgrade", "own");
        return switching.body(axum::body::Body::empty()).unwrap();
    }
    let client = request.extensions().get::<casemate_gateway::Client>();
    let loopback = client.is_some_and(|client| client.peer.ip().is_loopback());
    let (method, path) = (request.method(), request.uri().path());
    axum::response::Response::new(format!("api {method} {path} {loopback}").into())
}

pub(crate) fn host(port: u16) -> String {
    format!("{port}-{}.sbx.test", id())
}

pub(crate) fn get(port: u16, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", host(port))
}

/// A connection that is spoken byte by byte.
pub(crate) struct Wire<S = TcpStream>(pub(crate) BufReader<S>);

/// A message that was heard.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The head without its last empty line, as it came.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: String,
    /// It ended as it should.
    pub(crate) whole: bool,
}

impl Heard {
    pub(crate) fn status(&self) -> u16 {
        self.head
            .get(9..12)
            .and_then(|own| own.parse().ok())
            .unwrap_or(0)
    }

    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        let same = fields.filter(|(own, _)| own.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.trim()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }
}

impl<S: AsyncRead + tokio::io::AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    pub(crate) async fn say(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// A head, with its lines; empty at the stream's end.
    pub(crate) async fn head(&mut self) -> String {
        let mut head = String::new();
        while self.0.read_line(&mut head).await.unwrap_or(0) > 2 {}
        head
    }

    /// A whole message; of a response to HEAD, and of 101, only the head.
    pub(crate) async fn hear(&mut self) -> Heard {
        let head = self.head().await;
        self.body_of(head).await
    }

    pub(crate) async fn body_of(&mut self, head: String) -> Heard {
        let mut heard = Heard {
            head,
            ..Heard::default()
        };
        let bodiless = matches!(heard.status(), 100..=199 | 204 | 304) || heard.head.is_empty();
        let length = heard
            .header("content-length")
            .and_then(|own| own.parse().ok());
        if heard.header("transfer-encoding").is_some() {
            heard.whole = self.chunks(&mut heard).await.is_some();
        } else if let Some(length) = length {
            let mut body = vec![0; length];
            heard.whole = self.0.read_exact(&mut body).await.is_ok();
            heard.body = body;
        } else if !bodiless && heard.head.starts_with("HTTP/") {
            heard.whole = self.0.read_to_end(&mut heard.body).await.is_ok();
        } else {
            heard.whole = !heard.head.is_empty();
        }
        heard
    }

    async fn chunks(&mut self, heard: &mut Heard) -> Option<()> {
        while let Some(chunk) = self.chunk().await? {
            heard.body.extend(chunk);
        }
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await.ok()? <= 2 {
                return line.ends_with('\n').then_some(());
            }
            heard.trailers.push_str(&line);
        }
    }

    /// A chunk; the last is `Some(None)`, and a stream that broke off is None.
    pub(crate) async fn chunk(&mut self) -> Option<Option<Vec<u8>>> {
        let mut size = String::new();
        self.0.read_line(&mut size).await.ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(None);
        }
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).await.ok()?;
        chunk.truncate(size);
        Some(Some(chunk))
    }

    /// Waits for the end of what comes, however it is.
    pub(crate) async fn ended(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest).await;
        rest
    }
}

/// A server that does this with each connection.
pub(crate) async fn server<F, T>(serve: F) -> (SocketAddr, Served)
where
    F: Fn(Wire) -> T + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = async move {
        let mut all = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            all.spawn(serve(Wire::new(stream)));
        }
    };
    (address, Served(tokio::spawn(accepting)))
}

/// The same behind a Unix socket.
pub(crate) async fn unix_server<F, T>(path: &Path, serve: F) -> Served
where
    F: Fn(Wire<tokio::net::UnixStream>) -> T + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = UnixListener::bind(path).unwrap();
    let accepting = async move {
        let mut all = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            all.spawn(serve(Wire::new(stream)));
        }
    };
    Served(tokio::spawn(accepting))
}

/// A server that says back what it heard: the head as the body, and the body after it.
pub(crate) async fn mirror() -> (SocketAddr, Served) {
    server(reflect).await
}

pub(crate) async fn reflect<S>(mut wire: Wire<S>)
where
    S: AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        let heard = wire.hear().await;
        if heard.head.is_empty() {
            return;
        }
        let body = [
            heard.head.as_bytes(),
            &heard.body,
            heard.trailers.as_bytes(),
        ]
        .concat();
        wire.say(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ))
        .await;
        wire.say(body).await;
    }
}

/// A server that says this to each request, and then closes.
pub(crate) async fn parrot(says: impl Into<Vec<u8>>) -> (SocketAddr, Served) {
    let says = says.into();
    server(move |mut wire| {
        let says = says.clone();
        async move {
            wire.head().await;
            let _ = wire.0.write_all(&says).await;
        }
    })
    .await
}
