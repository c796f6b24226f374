//! `casemate cp`: files and folders, there and back.
//!
//! A file travels by itself, over plain HTTP, which asks nothing of the sandbox. A folder is one
//! stream from a tar(1) inside or to it, so that links, modes and odd names survive, and a thousand
//! small files are no thousand requests. What comes out of a sandbox is [unpacked](unpack) with
//! nothing believed.

mod download;
mod place;
mod unpack;
mod upload;

use super::agent::Agent;
use super::http::Failed;
use super::run;
use super::server::{Server, ServerArgs};
use casemate_core::error::{Error, Result};
use casemate_proto::filesystem::{EntryInfo, FileType, StatRequest, StatResponse};
use clap::Args;
use place::Place;
use std::process::ExitCode;

// The arguments of `casemate cp`.
#[derive(Args)]
pub(crate) struct CpArgs {
    /// What is copied: PATH, ID:PATH, or - for standard input
    #[arg(value_name = "SRC")]
    source: String,
    /// Where to: PATH, ID:PATH, or - for standard output; a folder gets it under its own name
    #[arg(value_name = "DST")]
    destination: String,
    /// As this user of the sandbox [default: user]
    #[arg(short, long, value_name = "NAME")]
    user: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// One side of a copy: a path in a sandbox.
struct Remote {
    server: Server,
    agent: Agent,
    path: String,
}

/// Copies.
pub(crate) fn cp(args: CpArgs) -> anyhow::Result<ExitCode> {
    run(async move {
        let (from, to) = (Place::parse(&args.source), Place::parse(&args.destination));
        match (from, to) {
            (Place::Sandbox { id, path }, Place::Local(local)) => {
                let remote = Remote::new(args.server, &id, path, args.user).await?;
                download::download(&remote, &local).await?;
            }
            (Place::Sandbox { id, path }, Place::Stream) => {
                let remote = Remote::new(args.server, &id, path, args.user).await?;
                download::print(&remote).await?;
            }
            (Place::Local(local), Place::Sandbox { id, path }) => {
                let remote = Remote::new(args.server, &id, path, args.user).await?;
                upload::upload(&local, &remote).await?;
            }
            (Place::Stream, Place::Sandbox { id, path }) => {
                let remote = Remote::new(args.server, &id, path, args.user).await?;
                upload::stream(&remote).await?;
            }
            (Place::Sandbox { .. }, Place::Sandbox { .. }) => {
                return Err(Error::rule("copy", "both sides are in a sandbox")
                    .hint("copy to this machine first, or pipe: casemate cp ID:PATH - | casemate cp - ID:PATH"));
            }
            _ => {
                return Err(Error::rule("copy", "neither side is in a sandbox")
                    .hint("a path in a sandbox is ID:PATH"));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

impl Remote {
    async fn new(server: ServerArgs, id: &str, path: String, user: Option<String>) -> Result<Self> {
        let (server, step) = (server.server()?, "copy");
        let detail = server.detail(step, id).await?.awake(step)?;
        let agent = Agent::new(&server, &detail, user);
        Ok(Self {
            server,
            agent,
            path,
        })
    }

    /// What is at a path in the sandbox.
    async fn stat(&self, path: &str) -> Result<EntryInfo, Failed> {
        let request = StatRequest {
            path: path.to_owned(),
            ..StatRequest::default()
        };
        let found: StatResponse = self
            .agent
            .call("/filesystem.Filesystem/Stat", &request)
            .await?;
        Ok(found.entry.into_option().unwrap_or_default())
    }

    /// The path and query for the file's contents.
    fn files(&self, path: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("path", path);
        if let Some(user) = self.agent.user() {
            query.append_pair("username", user);
        }
        format!("/files?{}", query.finish())
    }

    /// An error about this path.
    fn fail(&self, failed: Failed, path: &str) -> Error {
        let object = format!("{}:{}", self.agent.id, path.escape_debug());
        match failed {
            Failed::Refused { message, .. } => Error::rule("copy", message).on(object),
            lost @ Failed::Lost(_) => lost.during("copy", object),
        }
    }
}

fn is_folder(entry: &EntryInfo) -> bool {
    entry.r#type.as_known() == Some(FileType::FILE_TYPE_DIRECTORY)
}
