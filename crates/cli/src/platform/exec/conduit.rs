//! A command in a sandbox whose streams are this program's own: `cp` runs tar(1) so.

use super::super::agent::Agent;
use super::super::server::Server;
use super::session::Session;
use super::{input, outcome};
use casemate_core::error::{Error, Result};
use casemate_proto::oneof::{Event, Output};
use casemate_proto::process::{ProcessConfig, StartRequest};
use tokio::sync::mpsc;

/// Bytes of what it says is wrong that are shown.
const SAID: usize = 4096;

/// See the module.
pub(in super::super) struct Conduit {
    /// The program and its arguments.
    pub(in super::super) command: Vec<String>,
    /// What it reads.
    pub(in super::super) input: Option<mpsc::Receiver<Vec<u8>>>,
    /// Where what it prints goes; one that is closed ends it.
    pub(in super::super) output: Option<mpsc::Sender<Vec<u8>>>,
}

/// Runs it to its end, which has to be a success.
pub(in super::super) async fn conduct(server: &Server, agent: &Agent, own: Conduit) -> Result<()> {
    let Conduit {
        mut command,
        input,
        output,
    } = own;
    let shown = command.join(" ");
    let program = command.remove(0);
    let order = |tag| StartRequest {
        process: ProcessConfig {
            cmd: program,
            args: command,
            ..ProcessConfig::default()
        }
        .into(),
        tag: Some(tag),
        stdin: Some(input.is_some()),
        ..StartRequest::default()
    };
    let begun = Session::start(Some(server), agent.clone(), order).await;
    let mut session = begun.map_err(|failure| failure.error)?;
    let tag = session.tag.clone();
    let feeding = async {
        match input {
            Some(pieces) => input::feed(agent, &tag, false, pieces).await,
            None => Ok(()),
        }
    };
    let mut feeding = Some(std::pin::pin!(feeding));
    let mut said = Vec::new();
    loop {
        match session.next_while(&mut feeding).await? {
            Event::Data(data) => match data.output {
                Some(Output::Stdout(bytes)) => {
                    let unread = match &output {
                        Some(output) => output.send(bytes).await.is_err(),
                        None => false,
                    };
                    if unread {
                        session.terminate().await;
                        return Ok(());
                    }
                }
                Some(Output::Stderr(bytes)) if said.len() < SAID => said.extend(bytes),
                _ => {}
            },
            Event::End(end) => match outcome::code(&end) {
                Some(0) => return Ok(()),
                _ => {
                    said.truncate(SAID);
                    let said = String::from_utf8_lossy(&said);
                    let why = format!("{}: {}", end.status, said.trim());
                    return Err(Error::rule("run in the sandbox", why).on(shown));
                }
            },
            Event::Start(_) | Event::Keepalive(_) => {}
        }
    }
}
