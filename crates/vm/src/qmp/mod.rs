//! QEMU's control protocol, QMP: one JSON object a line, both ways
//! (`docs/interop/qmp-spec` of QEMU).
//!
//! A guest that takes QEMU over speaks here, so that a line, the number of commands under way and
//! what is repeated of an error are bounded, and each command has a deadline.
//!
//! - [`lines`]: lines of a bounded length
//! - [`message`]: what one says

mod lines;
mod message;

pub(crate) use message::short;
pub use message::{Event, Version};

use casemate_core::error::{Error, Result};
use lines::Lines;
use message::{Greeting, Reply};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A connection to one QEMU.
#[derive(Debug)]
pub struct Qmp {
    shared: Arc<Shared>,
    version: Version,
    next: AtomicU64,
    /// Commands are sent one after another, as each is sent in pieces.
    sending: tokio::sync::Mutex<()>,
    reader: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    socket: UnixStream,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    replies: HashMap<u64, oneshot::Sender<Reply>>,
    /// Why there is no more to come.
    over: Option<String>,
}

/// What is to be done.
#[derive(Debug)]
pub struct Command<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its arguments, an object.
    pub arguments: Value,
    /// A descriptor that goes with it (`getfd`).
    pub descriptor: Option<BorrowedFd<'a>>,
}

impl<'a> Command<'a> {
    /// One with these arguments.
    pub fn new(name: &'a str, arguments: Value) -> Self {
        Self {
            name,
            arguments,
            descriptor: None,
        }
    }

    /// One without arguments.
    pub fn plain(name: &'a str) -> Self {
        Self::new(name, json!({}))
    }
}

impl Qmp {
    /// Reads the greeting and begins. Events are handed on as they come, and mustn't be waited over.
    ///
    /// # Errors
    /// What is there isn't QEMU, or says nothing in time.
    pub async fn connect(
        socket: UnixStream,
        patience: Duration,
        events: impl Fn(Event) + Send + 'static,
    ) -> Result<Self> {
        let fail = |why: String| Error::rule("begin to speak with QEMU", why);
        let shared = Arc::new(Shared {
            socket,
            waiting: Mutex::default(),
        });
        let mut lines = Lines::default();
        let greeting = timeout(patience, lines.next(&shared.socket)).await;
        let line = greeting
            .map_err(|_| fail("it says nothing in time".to_owned()))?
            .map_err(&fail)?;
        let greeting: Greeting = serde_json::from_slice(&line)
            .map_err(|_| fail("what it says first is no greeting".to_owned()))?;
        let reading = Arc::clone(&shared);
        let reader = tokio::spawn(async move { reading.read(lines, events).await });
        let qmp = Self {
            shared,
            version: greeting.version(),
            next: AtomicU64::new(1),
            sending: tokio::sync::Mutex::default(),
            reader,
        };
        qmp.ask(Command::plain("qmp_capabilities"), patience)
            .await?;
        Ok(qmp)
    }

    /// Which QEMU it is.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Has something done, and returns what came of it.
    ///
    /// # Errors
    /// QEMU refuses, is gone, or doesn't answer in time.
    pub async fn ask(&self, command: Command<'_>, patience: Duration) -> Result<Value> {
        let fail = |why: String| Error::rule(format!("have QEMU do `{}`", command.name), why);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let answer = self.shared.expect(id).map_err(&fail)?;
        let line = json!({ "execute": command.name, "arguments": command.arguments, "id": id });
        let line = format!("{line}\n");
        let asked = async {
            let turn = self.sending.lock().await;
            self.shared
                .send(line.as_bytes(), command.descriptor)
                .await?;
            drop(turn);
            answer.await.map_err(|_| self.shared.over())
        };
        let reply = match timeout(patience, asked).await {
            Ok(reply) => reply.map_err(&fail)?,
            Err(_) => {
                self.shared.lock().replies.remove(&id);
                return Err(fail(format!("no answer in {} s", patience.as_secs_f32())));
            }
        };
        reply.result().map_err(fail)
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, id: u64) -> Result<oneshot::Receiver<Reply>, String> {
        let mut waiting = self.lock();
        if let Some(why) = &waiting.over {
            return Err(why.clone());
        }
        let (reply, answer) = oneshot::channel();
        waiting.replies.insert(id, reply);
        Ok(answer)
    }

    fn over(&self) -> String {
        let over = self.lock().over.clone();
        over.unwrap_or_else(|| "the connection is closed".to_owned())
    }

    /// Sends all of it, the descriptor with its first byte.
    async fn send(
        &self,
        mut bytes: &[u8],
        mut descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), String> {
        while !bytes.is_empty() {
            let some = || send_some(&self.socket, bytes, descriptor);
            let sent = self.socket.async_io(Interest::WRITABLE, some).await;
            let sent = sent.map_err(|error| error.to_string())?;
            descriptor = None;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    async fn read(&self, mut lines: Lines, events: impl Fn(Event)) {
        let why = loop {
            let line = match lines.next(&self.socket).await {
                Ok(line) => line,
                Err(why) => break why,
            };
            match message::read(&line) {
                Some(message::Message::Event(event)) => events(event),
                Some(message::Message::Reply(id, reply)) => {
                    if let Some(waiting) = self.lock().replies.remove(&id) {
                        // It may have been given up.
                        let _ = waiting.send(reply);
                    }
                }
                None => break "what it says makes no sense".to_owned(),
            }
        };
        // One that raves is not to wait until somebody listens.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let mut waiting = self.lock();
        waiting.over = Some(why);
        // Whoever waits is told.
        waiting.replies.clear();
    }
}

fn send_some(
    socket: &UnixStream,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let bytes = [IoSlice::new(bytes)];
    Ok(sendmsg(socket, &bytes, &mut control, SendFlags::NOSIGNAL)?)
}

#[cfg(test)]
mod tests;
