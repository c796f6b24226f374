//! `casemate port`: a port of a sandbox, on this machine.
//!
//! Each connection to the local port is a stream of its own through the server, byte by byte, so
//! that programs which don't speak HTTP are reached, too.

use super::api::Detail;
use super::http::{Answer, Failed, accepted, empty, json, soon};
use super::server::{Server, ServerArgs};
use super::{run, say};
use ::http::header::{CONNECTION, UPGRADE};
use ::http::{Method, Request};
use casemate_core::error::{Error, Result};
use clap::Args;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const STEP: &str = "forward a port";
/// What the server calls such a stream.
const PROTOCOL: &str = "casemate-tcp";
/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 256;

// The arguments of `casemate port`.
#[derive(Args)]
pub(crate) struct PortArgs {
    /// The sandbox: its id, the beginning of it, or its name
    #[arg(value_name = "ID")]
    id: String,
    /// The port inside, and the one here if it is another; 0 is any that is free
    #[arg(value_name = "[LOCAL:]PORT", value_parser = ports)]
    ports: (u16, u16),
    /// The address here
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// Print the URL at which the server has the port, and forward nothing
    #[arg(long)]
    print_url: bool,
    #[command(flatten)]
    server: ServerArgs,
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    const FORM: &str = "expected PORT or LOCAL:PORT, numbers up to 65535";
    let (local, port) = text.split_once(':').unwrap_or((text, text));
    let (local, port) = (local.parse(), port.parse());
    match (local, port) {
        (Ok(local), Ok(port @ 1..)) => Ok((local, port)),
        _ => Err(FORM.into()),
    }
}

/// Forwards until it is ended, or the sandbox is.
pub(crate) fn port(args: PortArgs) -> anyhow::Result<ExitCode> {
    run(async move {
        let server = args.server.server()?;
        let detail = server.detail(STEP, &args.id).await?.awake(STEP)?;
        let (local, inside) = args.ports;
        if args.print_url {
            say(&format!("{}\n", url(&server, &detail, inside)))?;
            return Ok(ExitCode::SUCCESS);
        }
        let way = Way {
            traffic_token: traffic_token(&server, &detail).await?,
            server,
            id: detail.id,
            port: inside,
        };
        let fail = |error: &std::io::Error| {
            Error::io("listen", error)
                .on(format!("{}, port {local}", args.address))
                .hint(format!(
                    "casemate port ID 0:{inside} takes a port that is free"
                ))
        };
        let listener = TcpListener::bind((args.address, local)).await;
        let listener = listener.map_err(|error| fail(&error))?;
        let here = listener.local_addr().map_err(|error| fail(&error))?;
        say(&format!("{here} -> {}:{inside}\n", way.id))?;
        way.serve(&listener).await
    })
}

/// Where a browser finds the port.
fn url(server: &Server, detail: &Detail, port: u16) -> String {
    match &detail.domain {
        Some(domain) => server
            .sandboxes
            .below(&format!("{port}-{}.{domain}", detail.id)),
        None => format!("{}/proxy/{}/{port}/", server.sandboxes, detail.id),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Opened {
    traffic_access_token: Option<String>,
}

/// The token for private ports, which is told only to who connects to a sandbox.
async fn traffic_token(server: &Server, detail: &Detail) -> Result<Option<String>> {
    if detail.network.allow_public_traffic != Some(false) {
        return Ok(None);
    }
    // Moves no end: it is never moved nearer.
    let path = format!("/v2/sandboxes/{}/connect", detail.id);
    let fail = |failed: Failed| failed.during(STEP, &detail.id);
    let opened = server
        .ask(Method::POST, &path, Some(&json!({ "timeout": 0 })))
        .await;
    let opened: Opened = soon(json(opened.map_err(fail)?)).await.map_err(fail)?;
    Ok(opened.traffic_access_token)
}

/// The way to the port.
struct Way {
    server: Server,
    id: String,
    port: u16,
    traffic_token: Option<String>,
}

impl Way {
    async fn serve(self, listener: &TcpListener) -> Result<ExitCode> {
        let way = Arc::new(self);
        let mut streams = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept(), if streams.len() < CONNECTIONS => {
                    let (socket, _) = accepted.map_err(|error| Error::io("accept", &error))?;
                    let way = Arc::clone(&way);
                    streams.spawn(async move { way.carry(socket).await });
                }
                Some(carried) = streams.join_next() => match carried {
                    Ok(Ok(())) | Err(_) => {}
                    Ok(Err(failed)) => way.explain(failed).await?,
                },
            }
        }
    }

    /// One connection, from its first byte to its last.
    async fn carry(&self, mut socket: TcpStream) -> Answer<()> {
        let mut request = Request::builder()
            .uri("/")
            .header("e2b-sandbox-id", &self.id)
            .header("e2b-sandbox-port", self.port.to_string())
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, PROTOCOL);
        if let Some(token) = &self.traffic_token {
            request = request.header("e2b-traffic-access-token", token);
        }
        let lost = |why: &dyn std::fmt::Display| {
            Failed::Lost(Error::rule(STEP, why.to_string()).on(&self.id))
        };
        let request = request.body(empty()).map_err(|error| lost(&error))?;
        let response = soon(async { accepted(self.server.sandboxes.send(request).await?).await });
        let response = response.await?;
        if response.status().as_u16() != 101 {
            return Err(lost(&"the server doesn't know this kind of stream"));
        }
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|error| lost(&error))?;
        let _ = socket.set_nodelay(true);
        // How it ends is the two programs' affair.
        let _ = tokio::io::copy_bidirectional(&mut socket, &mut TokioIo::new(upgraded)).await;
        Ok(())
    }

    /// Says why a connection failed; an error if every other one will, too.
    async fn explain(&self, failed: Failed) -> Result<()> {
        let found = self
            .server
            .get::<Value>(&format!("/sandboxes/{}", self.id))
            .await;
        match found {
            Err(missing) if missing.is_missing() => Err(missing.during(STEP, &self.id)),
            _ => {
                let error = failed.during(STEP, format!("{} of {}", self.port, self.id));
                crate::printer::note(&error.to_string());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ports;

    #[test]
    fn two_ports_or_one_that_is_both() {
        assert_eq!(ports("80"), Ok((80, 80)));
        assert_eq!(ports("0:80"), Ok((0, 80)));
        for bad in ["", "0", "80:0", "x", "1:2:3", "65536"] {
            assert!(ports(bad).is_err(), "{bad}");
        }
    }
}
