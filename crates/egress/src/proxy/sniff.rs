//! What a program says first, before any of it goes out.
//!
//! A connection that is only relayed may still say where it goes: TLS carries a server name. It
//! must be a host that the same program may reach at that port, or the connection would be to a
//! server in front of many sites, meaning another one (domain fronting). Until the program's
//! first bytes tell whether they are TLS, they are held; the other direction flows, so protocols
//! in which the server speaks first work.

use super::decide;
use super::decide::Permit;
use super::shared::Shared;
use crate::hello::{ClientHello, Ech, HelloReader, Progress};
use crate::open::Basis;
use std::io;
use tokio::net::TcpStream;

/// The first byte of a TLS record with a handshake in it (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// The major version that every TLS record has in its second byte.
const MAJOR: u8 = 3;

/// The beginning of what a program says.
#[derive(Debug)]
pub(super) enum Start {
    /// It is TLS to this host: everything read so far is to be handed on.
    Tls(Box<ClientHello>, Vec<u8>),
    /// It is something else.
    Other(Vec<u8>),
}

/// Reads until it is clear what is spoken, if `said` doesn't tell already. Waits as long as the
/// program says nothing.
pub(super) async fn start(program: &TcpStream, said: Vec<u8>) -> io::Result<Start> {
    let mut reader = HelloReader::default();
    let mut buffer = vec![0u8; 4096];
    let mut said = Some(said).filter(|said| !said.is_empty());
    loop {
        let (count, first) = match said.take() {
            Some(said) => (said.len(), said),
            None => {
                program.readable().await?;
                match program.try_read(&mut buffer) {
                    Ok(count) => (count, buffer[..count].to_vec()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error),
                }
            }
        };
        let new = &first[..];
        if count == 0 || !may_be_tls(reader.bytes(), new) {
            let mut read = reader.into_bytes();
            read.extend_from_slice(new);
            return Ok(Start::Other(read));
        }
        match reader.push(new) {
            Ok(Progress::NeedMore) => {}
            Ok(Progress::Complete(hello)) => {
                return Ok(Start::Tls(Box::new(hello), reader.into_bytes()));
            }
            Err(invalid) => return Err(io::Error::new(io::ErrorKind::InvalidData, invalid.0)),
        }
    }
}

/// Whether a server name fits the permit. Returns why not.
pub(super) fn check(shared: &Shared, permit: &Permit, hello: &ClientHello) -> Result<(), String> {
    if hello.ech == Ech::Inner {
        return Err("the TLS hello claims to be an encrypted one's inside".to_owned());
    }
    let Some(name) = &hello.server_name else {
        // No name is what the address alone means.
        return Ok(());
    };
    if *name == permit.host {
        return Ok(());
    }
    // Whoever is at an address that is allowed as such may be called anything.
    if permit.basis() == Some(Basis::Address) {
        return Ok(());
    }
    // Another name of the same address is fine if the policy allows that, too.
    match decide::host(shared, &permit.identity, name.clone(), permit.port) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!(
            "TLS asks for {name}, and the connection is to {}",
            permit.host
        )),
    }
}

fn may_be_tls(read: &[u8], new: &[u8]) -> bool {
    let at = |index: usize| {
        read.get(index)
            .or_else(|| new.get(index.checked_sub(read.len())?))
    };
    at(0).is_none_or(|byte| *byte == HANDSHAKE) && at(1).is_none_or(|byte| *byte == MAJOR)
}
