//! Programs that know that there is a proxy, and connect to it: CONNECT (RFC 9110, section 9.3.6),
//! absolute-form HTTP (RFC 9112, section 3.2.2), SOCKS5 with names or addresses (RFC 1928).
//!
//! What they ask for is decided like a connection of their own, except that the name is theirs to
//! say: it is resolved here, and the addresses that were judged are dialled.

use super::accept::{World, carry, fail, refuse, reset, say};
use super::decide::Permit;
use super::dial::Failed;
use super::phases::Phase;
use super::shared::Shared;
use super::{decide, inspect};
use crate::denial::{Denial, ErrorCode, RuleMissing, failure};
use crate::host::Host;
use crate::http1::{HeadScanner, Limits, RequestHead, RequestTarget};
use casemate_identity::Identity;
use casemate_identity::Shown;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For a program to say what it wants.
const PATIENCE: Duration = Duration::from_secs(30);

const SOCKS5: u8 = 5;
const CONNECT: u8 = 1;
const NO_AUTHENTICATION: u8 = 0;
const SUCCEEDED: u8 = 0;
const GENERAL_FAILURE: u8 = 1;
const NOT_ALLOWED: u8 = 2;
const HOST_UNREACHABLE: u8 = 4;
const COMMAND_NOT_SUPPORTED: u8 = 7;
const ADDRESS_NOT_SUPPORTED: u8 = 8;

/// Serves one connection to the proxy itself.
pub(super) async fn serve(shared: &Arc<Shared>, mut program: TcpStream, identity: Arc<Identity>) {
    let Ok(turn) = shared.asking.enter(&identity, 0) else {
        return reset(program);
    };
    let mut first = [0u8; 1];
    match timeout(PATIENCE, program.peek(&mut first)).await {
        Ok(Ok(1)) if first[0] == SOCKS5 => {
            let asked = timeout(PATIENCE, socks_request(&mut program)).await;
            drop(turn);
            match asked {
                Ok(Ok(asked)) => socks(shared, program, identity, asked).await,
                _ => reset(program),
            }
        }
        Ok(Ok(1)) => {
            let asked = timeout(PATIENCE, http_request(&mut program)).await;
            drop(turn);
            match asked {
                Ok(Some((head, said))) => http(shared, program, identity, head, said).await,
                _ => reset(program),
            }
        }
        _ => {}
    }
}

/// Reads a head; what is wrong with it is answered. With what follows it.
async fn http_request(program: &mut TcpStream) -> Option<(RequestHead, Vec<u8>)> {
    let limits = Limits::default();
    let (mut scanner, mut read) = (HeadScanner::default(), Vec::new());
    let mut buffer = [0u8; 4096];
    loop {
        let count = program
            .read(&mut buffer)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        read.extend_from_slice(&buffer[..count]);
        let parsed = match scanner.scan(&read, &limits) {
            Ok(None) => continue,
            Ok(Some(length)) => {
                RequestHead::parse(&read[..length], &limits).map(|head| (head, length))
            }
            Err(malformed) => Err(malformed),
        };
        return match parsed {
            Ok((head, length)) => Some((head, read.split_off(length))),
            Err(malformed) => {
                say(
                    program,
                    &failure(ErrorCode::MalformedRequest, malformed.why()),
                )
                .await;
                None
            }
        };
    }
}

async fn http(
    shared: &Arc<Shared>,
    mut program: TcpStream,
    identity: Arc<Identity>,
    head: RequestHead,
    said: Vec<u8>,
) {
    let permit = match decide_request(shared, &identity, &head) {
        Ok(permit) => permit,
        Err(Refused(answer)) => return say(&mut program, &answer).await,
    };
    if !matches!(head.target, RequestTarget::Connect(_)) {
        return inspect::forward(shared, program, permit, head, said).await;
    }
    let world = match reach(shared, &permit).await {
        Ok(world) => world,
        Err(failed) => {
            fail(shared, &permit, &failed);
            return say(&mut program, &failure(failed.code(), &failed.reason())).await;
        }
    };
    let established = program.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n");
    if established.await.is_ok() {
        carry(shared, program, world, permit, said).await;
    }
}

/// What a program is told whose request isn't served.
pub(super) struct Refused(pub(super) Vec<u8>);

/// Decides about the place that a request names.
pub(super) fn decide_request(
    shared: &Shared,
    identity: &Arc<Identity>,
    head: &RequestHead,
) -> Result<Permit, Refused> {
    let (host, port) = asked(head).map_err(|(code, why)| Refused(failure(code, why)))?;
    let begun = shared.phases.begin();
    let decision = decide::host(shared, identity, host.clone(), port);
    shared.phases.end(Phase::EvaluationTotal, begun);
    decision.map_err(|denial| {
        let to = (&*host.to_string(), port);
        refuse(shared, identity, to, "policy", &denial.reason);
        let mut told = denied(identity, &host, port, &denial.reason, head);
        if shared.policy.load().open.is_some() {
            // There is no entry to add.
            told.rule_missing = None;
            told.next_steps = vec![format!("add {host} to network.allowOut of the sandbox")];
        }
        Refused(told.response())
    })
}

/// Where a request wants to go.
fn asked(head: &RequestHead) -> Result<(Host, u16), (ErrorCode, &'static str)> {
    match &head.target {
        RequestTarget::Connect(authority) => match authority.port {
            Some(port) => Ok((authority.host.clone(), port)),
            None => Err((ErrorCode::InvalidRequestTarget, "CONNECT needs a port")),
        },
        RequestTarget::Absolute {
            scheme, authority, ..
        } if scheme == "http" => Ok((authority.host.clone(), authority.port_or(80))),
        RequestTarget::Absolute { .. } => Err((
            ErrorCode::UnsupportedProxyScheme,
            "only http has absolute targets: use CONNECT for everything else",
        )),
        RequestTarget::Origin(_) | RequestTarget::Asterisk => Err((
            ErrorCode::InvalidRequestTarget,
            "a request to a proxy names its host: use CONNECT or an absolute target",
        )),
    }
}

async fn reach(shared: &Shared, permit: &Permit) -> Result<World, Failed> {
    let way = shared.dialer.to_host(shared, permit).await?;
    World::open(shared, permit, way).await
}

/// What a program is told that may not go where it wants.
fn denied(identity: &Identity, host: &Host, port: u16, reason: &str, head: &RequestHead) -> Denial {
    let binary = Shown(&identity.executable.path).to_string();
    let (host, method) = (host.to_string(), Some(head.method.clone()));
    Denial {
        error: ErrorCode::PolicyDenied.as_str().to_owned(),
        policy: String::new(),
        rule: None,
        detail: reason.to_owned(),
        layer: "l4".to_owned(),
        protocol: "tcp".to_owned(),
        method,
        path: None,
        rule_missing: Some(RuleMissing {
            layer: "l4".to_owned(),
            host: host.clone(),
            port,
            binary: binary.clone(),
            method: None,
            path: None,
        }),
        next_steps: vec![format!(
            "allow {host}:{port} for {binary} in network_policies"
        )],
        agent_guidance: None,
        host,
        port,
        binary,
    }
}

/// Reads a SOCKS5 request, after the greeting; `Err` of a reply code if it can't be served.
async fn socks_request(program: &mut TcpStream) -> io::Result<(Host, u16)> {
    let refused = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut greeting = [0u8; 2];
    program.read_exact(&mut greeting).await?;
    let mut methods = vec![0u8; usize::from(greeting[1])];
    program.read_exact(&mut methods).await?;
    if !methods.contains(&NO_AUTHENTICATION) {
        program.write_all(&[SOCKS5, 0xff]).await?;
        return Err(refused("no method without a password is offered"));
    }
    program.write_all(&[SOCKS5, NO_AUTHENTICATION]).await?;
    let mut request = [0u8; 4];
    program.read_exact(&mut request).await?;
    let [version, command, _, kind] = request;
    if version != SOCKS5 || command != CONNECT {
        program.write_all(&reply(COMMAND_NOT_SUPPORTED)).await?;
        return Err(refused("only CONNECT is served"));
    }
    let host = match kind {
        1 => {
            let mut bytes = [0u8; 4];
            program.read_exact(&mut bytes).await?;
            Host::from(IpAddr::from(Ipv4Addr::from(bytes)))
        }
        4 => {
            let mut bytes = [0u8; 16];
            program.read_exact(&mut bytes).await?;
            Host::from(IpAddr::from(Ipv6Addr::from(bytes)))
        }
        3 => {
            let mut name = vec![0u8; usize::from(program.read_u8().await?)];
            program.read_exact(&mut name).await?;
            let name = std::str::from_utf8(&name)
                .ok()
                .and_then(|name| Host::parse(name).ok());
            match name {
                Some(host) => host,
                None => {
                    program.write_all(&reply(GENERAL_FAILURE)).await?;
                    return Err(refused("the name is not one"));
                }
            }
        }
        _ => {
            program.write_all(&reply(ADDRESS_NOT_SUPPORTED)).await?;
            return Err(refused("an unknown kind of address"));
        }
    };
    Ok((host, program.read_u16().await?))
}

async fn socks(
    shared: &Arc<Shared>,
    mut program: TcpStream,
    identity: Arc<Identity>,
    (host, port): (Host, u16),
) {
    let begun = shared.phases.begin();
    let decision = decide::host(shared, &identity, host.clone(), port);
    shared.phases.end(Phase::EvaluationTotal, begun);
    let permit = match decision {
        Ok(permit) => permit,
        Err(denial) => {
            refuse(
                shared,
                &identity,
                (&host.to_string(), port),
                "policy",
                &denial.reason,
            );
            return say(&mut program, &reply(NOT_ALLOWED)).await;
        }
    };
    match reach(shared, &permit).await {
        Ok(world) => {
            if program.write_all(&reply(SUCCEEDED)).await.is_ok() {
                carry(shared, program, world, permit, Vec::new()).await;
            }
        }
        Err(failed) => {
            fail(shared, &permit, &failed);
            let code = match failed {
                Failed::Guarded(_) | Failed::Unseen(..) => NOT_ALLOWED,
                Failed::Unresolved(_) | Failed::Unreachable(_) => HOST_UNREACHABLE,
            };
            say(&mut program, &reply(code)).await;
        }
    }
}

/// A reply without an address that would mean anything (RFC 1928, section 6).
fn reply(code: u8) -> [u8; 10] {
    [SOCKS5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}
