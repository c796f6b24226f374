//! `casemate exec` and `casemate shell`: a command in a sandbox, as if it ran here.
//!
//! ```text
//!  standard input ──▶ input ──▶ SendInput ─┐
//!  signals, sizes ──▶ attendant ───────────┼──▶ the command, known by a tag of our own
//!  standard output ◀── output ◀── session ─┘
//! ```
//!
//! The command belongs to the sandbox, not to this process or to the server: if the connection
//! breaks, the [session] attaches again and asks for what it missed. What was typed is sent once
//! or not at all.

mod attendant;
mod conduit;
mod input;
mod outcome;
mod output;
mod session;
mod terminal;

use super::agent::Agent;
use super::create::variables;
use super::http::Direct;
use super::server::{Server, ServerArgs};
use super::{run, say};
use attendant::Attendant;
use casemate_core::error::{Error, Result};
use casemate_proto::oneof::{Event, Output as Printed};
use casemate_proto::process::{ProcessConfig, StartRequest};
use clap::Args;
pub(super) use conduit::{Conduit, conduct};
use output::{Output, To};
use session::Session;
use std::process::ExitCode;
use terminal::Raw;

/// What a command that writes to nobody gets (signal(7)): SIGPIPE.
const NOBODY_READS: u8 = 128 + 13;

// What both commands take.
#[derive(Args)]
struct Common {
    /// Run it as this user of the sandbox [default: user]
    #[arg(short, long, value_name = "NAME")]
    user: Option<String>,
    /// The folder that it starts in [default: the user's home]
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Set a variable, or pass the caller's
    #[arg(long, value_name = "K=V|K")]
    env: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

// The arguments of `casemate exec`.
#[derive(Args)]
pub(crate) struct ExecArgs {
    /// Pass standard input on
    #[arg(short)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short)]
    tty: bool,
    /// Leave it running and print its process id
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    detach: bool,
    #[command(flatten)]
    common: Common,
    /// The sandbox: its id, the beginning of it, or its name
    #[arg(value_name = "ID")]
    id: String,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

// The arguments of `casemate shell`.
#[derive(Args)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    common: Common,
    /// The sandbox: its id, the beginning of it, or its name
    #[arg(value_name = "ID")]
    id: String,
}

/// Runs a command; the exit code is its own.
pub(crate) fn exec(args: ExecArgs) -> anyhow::Result<ExitCode> {
    run(async move {
        let [program, arguments @ ..] = &args.command[..] else {
            return Err(Error::rule("run a command", "there is none"));
        };
        let config = ProcessConfig {
            cmd: program.clone(),
            args: arguments.to_vec(),
            ..ProcessConfig::default()
        };
        let order = Order {
            config,
            interactive: args.interactive,
            tty: args.tty,
        };
        let (server, agent, around) = place(&args.id, args.common, order.tty).await?;
        let order = order.with(around);
        match args.detach {
            true => detached(&server, agent, &order).await,
            false => attended(Some(&server), agent, &order).await,
        }
    })
}

/// Runs a login shell at a terminal.
pub(crate) fn shell(args: ShellArgs) -> anyhow::Result<ExitCode> {
    // Not every root file system has bash.
    const SHELL: &str = "command -v bash >/dev/null && exec bash -il; exec sh -il";
    run(async move {
        let config = ProcessConfig {
            cmd: "/bin/sh".into(),
            args: vec!["-c".into(), SHELL.into()],
            ..ProcessConfig::default()
        };
        let order = Order {
            config,
            interactive: true,
            tty: true,
        };
        let (server, agent, around) = place(&args.id, args.common, true).await?;
        attended(Some(&server), agent, &order.with(around)).await
    })
}

/// Runs a command in a sandbox that is reached without a server, with standard input and output as
/// its own; the exit code is the command's.
pub(crate) async fn directly(
    id: String,
    direct: Direct,
    command: &[String],
    tty: bool,
) -> Result<ExitCode> {
    let [program, arguments @ ..] = command else {
        return Err(Error::rule("run a command", "there is none"));
    };
    let term = tty.then(|| std::env::var("TERM").ok()).flatten();
    let term = term.map(|term| ("TERM".to_owned(), term));
    let order = Order {
        config: ProcessConfig {
            cmd: program.clone(),
            args: arguments.to_vec(),
            envs: term.into_iter().collect(),
            ..ProcessConfig::default()
        },
        interactive: true,
        tty,
    };
    attended(None, Agent::direct(id, None, direct), &order).await
}

/// What is to be run.
struct Order {
    config: ProcessConfig,
    interactive: bool,
    tty: bool,
}

impl Order {
    /// With this environment and folder.
    fn with(mut self, around: ProcessConfig) -> Self {
        self.config.envs = around.envs;
        self.config.cwd = around.cwd;
        self
    }

    fn request(&self, tag: String) -> StartRequest {
        StartRequest {
            process: self.config.clone().into(),
            pty: self.tty.then(terminal::size).into(),
            tag: Some(tag),
            stdin: Some(self.interactive),
            ..StartRequest::default()
        }
    }
}

/// The server, the sandbox's agent, and what surrounds the command.
async fn place(id: &str, common: Common, tty: bool) -> Result<(Server, Agent, ProcessConfig)> {
    let mut around = ProcessConfig {
        cwd: common.cwd,
        ..ProcessConfig::default()
    };
    // A program draws for the terminal that it is seen on.
    let term = tty.then(|| std::env::var("TERM").ok()).flatten();
    around
        .envs
        .extend(term.map(|term| ("TERM".to_owned(), term)));
    around.envs.extend(variables(&common.env)?);
    let server = common.server.server()?;
    let step = "run a command in a sandbox";
    let detail = server.detail(step, id).await?.awake(step)?;
    let agent = Agent::new(&server, &detail, common.user);
    Ok((server, agent, around))
}

async fn detached(server: &Server, agent: Agent, order: &Order) -> Result<ExitCode> {
    let begun = Session::start(Some(server), agent, |tag| order.request(tag)).await;
    let session = match begun {
        Ok(session) => session,
        Err(failure) => return refused(failure),
    };
    say(&format!("{}\n", session.pid))?;
    Ok(ExitCode::SUCCESS)
}

/// Says why nothing runs; the code is that of `casemate run` for it.
fn refused(failure: casemate_core::exit::Failure) -> Result<ExitCode> {
    crate::printer::error(&failure.error.to_string());
    Ok(ExitCode::from(failure.code))
}

async fn attended(server: Option<&Server>, agent: Agent, order: &Order) -> Result<ExitCode> {
    // Before the command runs: a signal meanwhile is for it.
    let signals = attendant::Signals::new()?;
    let begun = Session::start(server, agent.clone(), |tag| order.request(tag)).await;
    let mut session = match begun {
        Ok(session) => session,
        Err(failure) => return refused(failure),
    };
    let raw = match order.tty && order.interactive {
        true => Raw::enter(),
        false => None,
    };
    let attendant = Attendant {
        agent: agent.clone(),
        tag: session.tag.clone(),
        tty: order.tty,
    };
    let tag = session.tag.clone();
    let feeding = async {
        match order.interactive {
            true => input::feed(&agent, &tag, order.tty, input::read()?).await,
            false => Ok(()),
        }
    };
    let done = tokio::select! {
        done = follow(&mut session, feeding) => done,
        left = attendant.attend(signals) => Ok(left),
    };
    drop(raw);
    done.map(ExitCode::from)
}

/// Moves input and output until the command ends.
async fn follow(
    session: &mut Session<'_>,
    feeding: impl Future<Output = Result<()>>,
) -> Result<u8> {
    let output = Output::new()?;
    let mut feeding = Some(std::pin::pin!(feeding));
    loop {
        match session.next_while(&mut feeding).await? {
            Event::Data(data) => {
                let Some(printed) = data.output else { continue };
                let (to, bytes) = match printed {
                    Printed::Stdout(bytes) | Printed::Pty(bytes) => (To::Output, bytes),
                    Printed::Stderr(bytes) => (To::Error, bytes),
                };
                if !output.write(to, bytes).await {
                    session.terminate().await;
                    return Ok(NOBODY_READS);
                }
            }
            Event::End(end) => {
                let read = output.finish().await;
                return match outcome::code(&end) {
                    Some(_) if !read => Ok(NOBODY_READS),
                    Some(code) => Ok(code),
                    None => Err(Error::rule("learn how the command ended", end.status)),
                };
            }
            Event::Start(_) | Event::Keepalive(_) => {}
        }
    }
}
