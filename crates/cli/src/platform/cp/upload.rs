//! Into a sandbox.

use super::super::exec::{Conduit, conduct};
use super::super::http::{Body, Pieces, whole};
use super::place::{join, split};
use super::{Remote, is_folder};
use ::http::Method;
use ::http::header::CONTENT_TYPE;
use bytes::Bytes;
use casemate_core::error::{Error, Result};
use http_body_util::BodyExt as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tokio::sync::{mpsc, oneshot};

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;
/// Pieces that wait to be sent.
const PIECES: usize = 4;

/// Copies a file or folder.
pub(super) async fn upload(local: &Path, remote: &Remote) -> Result<()> {
    let fail = |error: &io::Error| Error::io("copy", error).on(local.display());
    // The name that it gets in a folder; `.` has one, too.
    let whole = std::fs::canonicalize(local).map_err(|error| fail(&error))?;
    let name = local.file_name().or_else(|| whole.file_name());
    let name = name.and_then(|name| name.to_str()).unwrap_or("root");
    let meta = std::fs::metadata(local).map_err(|error| fail(&error))?;
    let found = remote.stat(&remote.path).await;
    let inside = match &found {
        Ok(entry) => is_folder(entry),
        Err(failed) if failed.is_missing() => remote.path.ends_with('/') || remote.path.is_empty(),
        Err(_) => false,
    };
    if let Err(failed) = found
        && !failed.is_missing()
    {
        return Err(remote.fail(failed, &remote.path));
    }
    let target = match inside {
        true => join(&remote.path, name),
        false => remote.path.clone(),
    };
    if meta.is_dir() {
        return folder(local, remote, &target).await;
    }
    let file = File::open(local).map_err(|error| fail(&error))?;
    // What isn't a file has no length that could be relied on.
    let length = meta.is_file().then_some(meta.len());
    send(file, length, remote, &target).await?;
    let mode = meta.permissions().mode() & 0o777;
    match mode & 0o111 {
        0 => Ok(()),
        _ => make_executable(remote, &target, mode).await,
    }
}

/// Copies standard input to a file.
pub(super) async fn stream(remote: &Remote) -> Result<()> {
    if split(&remote.path).is_none() || remote.path.ends_with('/') {
        return Err(Error::rule("copy standard input", "the path names no file")
            .on(remote.path.escape_debug()));
    }
    send(io::stdin(), None, remote, &remote.path).await
}

async fn send(
    from: impl Read + Send + 'static,
    length: Option<u64>,
    remote: &Remote,
    path: &str,
) -> Result<()> {
    let (pieces, waiting) = mpsc::channel(PIECES);
    spawn("read", move || read(from, length, &pieces))?;
    let body: Body = Pieces {
        from: waiting,
        length,
    }
    .boxed_unsync();
    let request = remote
        .agent
        .request(&remote.files(path))
        .method(Method::POST)
        .header(CONTENT_TYPE, "application/octet-stream");
    let sent = remote.agent.plain(request, body).await;
    let written = match sent {
        Ok(response) => whole(response).await,
        Err(failed) => Err(failed),
    };
    written
        .map(drop)
        .map_err(|failed| remote.fail(failed, path))
}

/// Reads to the end, or as much as was promised: a file may grow meanwhile.
fn read(from: impl Read, length: Option<u64>, pieces: &mpsc::Sender<io::Result<Bytes>>) {
    let mut from = from.take(length.unwrap_or(u64::MAX));
    loop {
        let mut piece = vec![0; PIECE];
        let read = match from.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => {
                piece.truncate(count);
                Ok(Bytes::from(piece))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let over = read.is_err();
        if pieces.blocking_send(read).is_err() || over {
            return;
        }
    }
}

/// The interface for files has no modes.
async fn make_executable(remote: &Remote, path: &str, mode: u32) -> Result<()> {
    let entry = remote.stat(path).await;
    let entry = entry.map_err(|failed| remote.fail(failed, path))?;
    if entry.mode & 0o777 == mode {
        return Ok(());
    }
    let command = ["chmod", &format!("{mode:o}"), "--", &entry.path];
    let own = Conduit {
        command: command.map(str::to_owned).to_vec(),
        input: None,
        output: None,
    };
    conduct(&remote.server, &remote.agent, own).await
}

/// Packs a folder here, and unpacks it there.
async fn folder(local: &Path, remote: &Remote, target: &str) -> Result<()> {
    let (parent, name) = split(target).ok_or_else(|| {
        Error::rule("copy a folder", "the path has no name of its own").on(target.escape_debug())
    })?;
    let found = remote.stat(parent).await;
    let parent = found.map_err(|failed| remote.fail(failed, parent))?;
    let (pieces, input) = mpsc::channel(PIECES);
    let (done, packed) = oneshot::channel();
    let (from, name) = (local.to_owned(), name.to_owned());
    spawn("pack", move || {
        // Whoever waits may have failed first.
        let _ = done.send(pack(&from, &name, pieces));
    })?;
    let command = ["tar", "-C", &parent.path, "-x", "-o", "-f", "-"];
    let own = Conduit {
        command: command.map(str::to_owned).to_vec(),
        input: Some(input),
        output: None,
    };
    let conducted = conduct(&remote.server, &remote.agent, own).await;
    // If packing failed, that is why unpacking did. Where nobody reads, it fails as well.
    match (packed.await, conducted) {
        (Ok(Err(error)), Ok(()) | Err(_)) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("pack", &error).on(local.display()))
        }
        (_, conducted) => conducted,
    }
}

fn pack(from: &Path, name: &str, pieces: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    let writer = io::BufWriter::with_capacity(PIECE, Sending(pieces));
    let mut builder = tar::Builder::new(writer);
    builder.follow_symlinks(false);
    // A link to the folder is followed, one in it isn't.
    builder.append_dir_all(name, std::fs::canonicalize(from)?)?;
    builder.into_inner()?.flush()
}

/// A channel, as something to write to.
struct Sending(mpsc::Sender<Vec<u8>>);

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(bytes.to_vec());
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().name(name.into());
    let started = thread.spawn(work);
    started
        .map(drop)
        .map_err(|error| Error::io("start a thread", &error))
}
