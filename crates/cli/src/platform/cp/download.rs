//! Out of a sandbox.

use super::super::exec::{Conduit, conduct};
use super::super::http::empty;
use super::place::split;
use super::unpack::unpack;
use super::{Remote, is_folder};
use bytes::Bytes;
use casemate_core::error::{Error, Result};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Pieces that wait to be written.
const PIECES: usize = 16;

/// Copies a file or folder.
pub(super) async fn download(remote: &Remote, local: &Path) -> Result<()> {
    let found = remote.stat(&remote.path).await;
    let entry = found.map_err(|failed| remote.fail(failed, &remote.path))?;
    let target = match local.is_dir() {
        // Under the name that was typed: what the sandbox calls it is its own affair.
        true => match split(&remote.path) {
            Some((_, name)) => local.join(name),
            None => {
                return Err(
                    Error::rule("copy into a folder", "the path has no name of its own")
                        .on(remote.path.escape_debug())
                        .hint("name a folder that doesn't exist yet"),
                );
            }
        },
        false => local.to_owned(),
    };
    match is_folder(&entry) {
        true => folder(remote, &target).await,
        false => file(remote, &target, entry.mode & 0o777).await,
    }
}

/// Copies a file to standard output.
pub(super) async fn print(remote: &Remote) -> Result<()> {
    let body = open(remote).await?;
    receive(body, io::stdout())
        .await
        .map_err(|error| Error::io("print", &error).on(remote.path.escape_debug()))
}

async fn open(remote: &Remote) -> Result<Incoming> {
    let request = remote.agent.request(&remote.files(&remote.path));
    let answer = remote.agent.plain(request, empty()).await;
    let answer = answer.map_err(|failed| remote.fail(failed, &remote.path))?;
    Ok(answer.into_body())
}

/// A file, which appears when it is whole.
async fn file(remote: &Remote, target: &Path, mode: u32) -> Result<()> {
    let fail = |error: &io::Error| Error::io("copy to", error).on(target.display());
    let body = open(remote).await?;
    // A device or a pipe is written to, not replaced.
    if target.exists() && !target.is_file() {
        let file = OpenOptions::new().write(true).open(target);
        let file = file.map_err(|error| fail(&error))?;
        return receive(body, file).await.map_err(|error| fail(&error));
    }
    let draft = Draft::new(target);
    let file = draft.create(mode).map_err(|error| fail(&error))?;
    let received = receive(body, file).await;
    received
        .and_then(|()| draft.finish(target))
        .map_err(|error| fail(&error))
}

/// A file that isn't whole yet; dropped, it disappears.
struct Draft(PathBuf);

impl Draft {
    fn new(target: &Path) -> Self {
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".casemate-{}", std::process::id()));
        Self(target.with_file_name(name))
    }

    fn create(&self, mode: u32) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode | 0o200);
        options.open(&self.0)
    }

    fn finish(self, target: &Path) -> io::Result<()> {
        std::fs::rename(&self.0, target)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It has its name already if all went well.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes a body on a thread of its own, as disks may take their time.
async fn receive(mut body: Incoming, to: impl Write + Send + 'static) -> io::Result<()> {
    let (pieces, waiting) = mpsc::channel::<Bytes>(PIECES);
    let writing = tokio::task::spawn_blocking(move || write(to, waiting));
    let mut broken = None;
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => {
                if pieces.send(data).await.is_err() {
                    break;
                }
            }
            Ok(Err(_)) => {}
            Err(error) => {
                broken = Some(io::Error::other(error));
                break;
            }
        }
    }
    drop(pieces);
    let written = writing.await.map_err(io::Error::other)?;
    broken.map_or(written, Err)
}

fn write(mut to: impl Write, mut pieces: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(piece) = pieces.blocking_recv() {
        to.write_all(&piece)?;
    }
    to.flush()
}

/// A folder: packed there, unpacked here.
async fn folder(remote: &Remote, target: &Path) -> Result<()> {
    let found = remote.stat(&remote.path).await;
    let entry = found.map_err(|failed| remote.fail(failed, &remote.path))?;
    let (output, pieces) = mpsc::channel(PIECES);
    let into = target.to_owned();
    let unpacking = tokio::task::spawn_blocking(move || unpack(pieces, &into));
    let command = ["tar", "-C", &entry.path, "-c", "-f", "-", "."];
    let own = Conduit {
        command: command.map(str::to_owned).to_vec(),
        input: None,
        output: Some(output),
    };
    let conducted = conduct(&remote.server, &remote.agent, own).await;
    let unpacked = unpacking.await;
    let unpacked = unpacked.map_err(|error| Error::rule("unpack", error.to_string()))?;
    // A program that failed inside is why its archive is no good.
    conducted?;
    let left_out = unpacked?;
    if left_out > 0 {
        crate::printer::note(&format!(
            "{left_out} files were left out: links that lead out of the folder, devices, pipes"
        ));
    }
    Ok(())
}
