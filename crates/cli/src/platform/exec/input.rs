//! Standard input, on its way to a command.
//!
//! A thread reads it, since a read can't be given up. Each piece is acknowledged before the next
//! is sent: a connection that breaks leaves one piece in doubt. At a terminal that is a key, which
//! is dropped. In a pipe it would be a gap, or something twice, so it is an error.

use super::super::agent::Agent;
use super::super::http::{Failed, Line, soon};
use super::attendant::tagged;
use super::session::Patience;
use casemate_core::error::{Error, Result};
use casemate_proto::oneof::Input;
use casemate_proto::process::{
    CloseStdinRequest, CloseStdinResponse, ProcessInput, SendInputRequest, SendInputResponse,
};
use rustix::stdio::stdin;
use tokio::sync::mpsc;

/// Bytes that are read at once, and sent.
const PIECE: usize = 64 << 10;
/// Pieces that wait to be sent.
const PIECES: usize = 4;

/// Sends all of it, then its end. Returns early if the command takes no more.
pub(super) async fn feed(
    agent: &Agent,
    tag: &str,
    tty: bool,
    mut pieces: mpsc::Receiver<Vec<u8>>,
) -> Result<()> {
    let mut line = None;
    while let Some(piece) = pieces.recv().await {
        let request = SendInputRequest {
            process: tagged(tag).into(),
            input: ProcessInput {
                input: Some(match tty {
                    true => Input::Pty(piece),
                    false => Input::Stdin(piece),
                }),
                ..ProcessInput::default()
            }
            .into(),
            ..SendInputRequest::default()
        };
        let own = connection(agent, &mut line).await?;
        // A program that doesn't read may take its time.
        let method = "/process.Process/SendInput";
        match agent
            .call_on::<SendInputResponse>(own, method, &request)
            .await
        {
            Ok(_) => {}
            // It closed its side, or ended, which its output tells.
            Err(Failed::Refused { .. }) => return Ok(()),
            Err(Failed::Lost(_)) if tty => line = None,
            Err(Failed::Lost(error)) => {
                let hint = "the command goes on inside, and waits for more";
                return Err(Error::rule(
                    "pass standard input on",
                    format!("how much of it arrived isn't known: {error}"),
                )
                .hint(hint));
            }
        }
    }
    match tty {
        // Its end is typed.
        true => Ok(()),
        false => close(agent, tag).await,
    }
}

/// A connection that is ready; while none is used, a broken one is no loss.
async fn connection<'a>(agent: &Agent, line: &'a mut Option<Line>) -> Result<&'a mut Line> {
    let mut patience = Patience::new();
    let mut kept = line.take();
    loop {
        if let Some(mut own) = kept.take()
            && own.ready().await
        {
            return Ok(line.insert(own));
        }
        match soon(agent.site.connect()).await {
            Ok(new) => kept = Some(new),
            Err(failed) => patience.wait(failed).await?,
        }
    }
}

/// Ends it; once more is no mistake.
async fn close(agent: &Agent, tag: &str) -> Result<()> {
    let request = CloseStdinRequest {
        process: tagged(tag).into(),
        ..CloseStdinRequest::default()
    };
    let mut patience = Patience::new();
    let method = "/process.Process/CloseStdin";
    loop {
        match agent.call::<CloseStdinResponse>(method, &request).await {
            Ok(_) | Err(Failed::Refused { .. }) => return Ok(()),
            Err(failed) => patience.wait(failed).await?,
        }
    }
}

/// What is read, piece by piece; nothing more at its end.
pub(super) fn read() -> Result<mpsc::Receiver<Vec<u8>>> {
    let (pieces, read) = mpsc::channel(PIECES);
    let work = move || {
        let mut buffer = vec![0; PIECE];
        // An error is an end: nobody could do anything about it.
        while let Ok(count @ 1..) =
            rustix::io::retry_on_intr(|| rustix::io::read(stdin(), &mut buffer[..]))
        {
            if pieces.blocking_send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("input".into());
    thread
        .spawn(work)
        .map_err(|error| Error::io("start a thread", &error))?;
    Ok(read)
}
