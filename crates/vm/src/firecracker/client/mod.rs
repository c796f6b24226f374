//! A client of Firecracker's API: HTTP over the Unix socket of one machine.
//!
//! ```text
//!   Client<Fresh> ── start ─┐
//!        │                  ├──▶ Client<Started> ── pause ⇄ resume ── snapshot
//!        └───────── load ───┘
//! ```
//!
//! What can be configured before a machine starts can't be afterwards, and the other way round:
//!
//! ```no_run
//! # use casemate_vm::firecracker::client::{Client, Fresh, model::Vsock};
//! # async fn right(client: Client<Fresh>, vsock: Vsock) -> casemate_core::error::Result<()> {
//! client.vsock(&vsock).await?;
//! let client = client.start().await?;
//! client.pause().await
//! # }
//! ```
//!
//! ```compile_fail,E0599
//! # use casemate_vm::firecracker::client::{Client, Fresh, model::Vsock};
//! # async fn late(client: Client<Fresh>, vsock: Vsock) -> casemate_core::error::Result<()> {
//! let client = client.start().await?;
//! client.vsock(&vsock).await
//! # }
//! ```
//!
//! ```compile_fail,E0599
//! # use casemate_vm::firecracker::client::{Client, Fresh};
//! # async fn early(client: Client<Fresh>) -> casemate_core::error::Result<()> {
//! client.pause().await
//! # }
//! ```
//!
//! ```compile_fail,E0382
//! # use casemate_vm::firecracker::client::{Client, Fresh, model::Vsock};
//! # async fn again(client: Client<Fresh>, vsock: Vsock) -> casemate_core::error::Result<()> {
//! let started = client.start().await?;
//! client.vsock(&vsock).await
//! # }
//! ```
//!
//! Each call has a deadline. One that passes it, or whose answer can't be understood, may or may not
//! have been followed, so that nobody knows what the machine does: the client is *over*, each later
//! call fails and says why, and its VMM is to be ended. A call that is refused changes nothing. One
//! whose caller has gone is brought to its end all the same.
//!
//! A guest that has taken Firecracker over answers here, so that an answer's length, and what is
//! repeated of it, is bounded.
//!
//! - [`model`]: what is said
//! - `call`: a request; `connection`: the way there
//! - `before`, `after`, `ever`: the calls, by when they can be made

mod after;
mod before;
mod call;
mod connection;
mod ever;
pub mod model;

use call::Call;
use casemate_core::error::Result;
use connection::Connection;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::time::Duration;
use tokio::net::UnixStream;

/// How long a call may take that moves no memory.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long one may take that moves so much of it: slow disks and busy machines are to pass.
pub fn patience(mem_size_mib: u32) -> Duration {
    PATIENCE + Duration::from_millis(u64::from(mem_size_mib) * 40)
}

/// No machine has been started yet.
#[derive(Debug)]
pub enum Fresh {}

/// There is one.
#[derive(Debug)]
pub enum Started {}

/// A way to one Firecracker.
#[derive(Debug)]
pub struct Client<Phase> {
    connection: Connection,
    /// How long calls may take that move no memory.
    patience: Duration,
    phase: PhantomData<fn() -> Phase>,
}

impl Client<Fresh> {
    /// Of a Firecracker that was just started.
    ///
    /// # Errors
    /// HTTP can't be begun.
    pub async fn connect(socket: UnixStream) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(socket).await?,
            patience: PATIENCE,
            phase: PhantomData,
        })
    }

    fn started(self) -> Client<Started> {
        Client {
            connection: self.connection,
            patience: self.patience,
            phase: PhantomData,
        }
    }
}

impl<Phase> Client<Phase> {
    /// Lets calls that move no memory take so long.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Why no call can be made any more, if so: the VMM is to be ended.
    pub fn over(&self) -> Option<String> {
        self.connection.over()
    }

    async fn tell(&self, call: Call) -> Result<()> {
        let patience = self.patience;
        self.connection.call(call, patience).await.map(drop)
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let call = Call::get(path);
        let name = call.name();
        let answer = self.connection.call(call, self.patience).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| call::failed(&name, format!("its answer makes no sense: {error}")))
    }
}
