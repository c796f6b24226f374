//! Archives on their way in and out, in files without a name: whatever ends it, nothing is left.
//!
//! ```text
//!  in:   client ─▶ file ─▶ owner: all of it is here before the canister is put together
//!  out:  owner ─▶ file ─▶ client: the canister goes on as soon as the file is whole
//! ```
//!
//! So nobody's connection holds a canister, however slow it is. There is a bounded number of such
//! files, each of a bounded length, and one that doesn't move is given up.

use crate::fault::{Fault, Kind};
use crate::quota::Admitted;
use crate::settings::Settings;
use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use hyper::body::Body as _;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

/// What is written and read at once, bytes.
const PIECE: usize = 1 << 20;

/// See the module.
pub(crate) struct Spool {
    folder: PathBuf,
    longest: u64,
    places: Arc<Semaphore>,
    /// For one piece.
    stall: Duration,
    /// For all of an archive.
    patience: Duration,
}

/// An archive that is here. It is gone when this is dropped.
pub(crate) struct Spooled {
    file: File,
    length: u64,
    longest: u64,
    /// There was more than there may be.
    overflowed: bool,
    stall: Duration,
    patience: Duration,
    _place: OwnedSemaphorePermit,
}

impl Spool {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            folder: settings.spool.clone(),
            longest: settings.archive,
            places: Arc::new(Semaphore::new(settings.archives)),
            stall: settings.arrival,
            patience: settings.carry,
        }
    }

    /// An empty one, to be written, as soon as there is a place for it.
    pub(crate) async fn begin(&self) -> Result<Spooled, Fault> {
        let by = Instant::now() + self.stall;
        let busy = || Fault::new(Kind::Busy, "too many other archives are on their way");
        let place = timeout_at(by, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(|_| busy())?.map_err(|_| busy())?;
        let folder = self.folder.clone();
        let file = blocking(move || nameless(&folder)).await?;
        Ok(Spooled {
            file,
            length: 0,
            longest: self.longest,
            overflowed: false,
            stall: self.stall,
            patience: self.patience,
            _place: place,
        })
    }

    /// All of a body, each piece of which the caller pays for as it comes.
    pub(crate) async fn receive(&self, body: Body, admitted: &Admitted) -> Result<Spooled, Fault> {
        let by = Instant::now() + self.patience;
        if body.size_hint().lower() > self.longest {
            return Err(too_long(self.longest));
        }
        let mut spooled = self.begin().await?;
        let mut pieces = body.into_data_stream();
        let mut buffer = Vec::with_capacity(PIECE);
        loop {
            let soon = by.min(Instant::now() + self.stall);
            let piece = timeout_at(soon, pieces.next()).await;
            let piece = piece.map_err(|_| {
                let why = "the archive did not arrive in time";
                Fault::new(Kind::Slow, why)
            })?;
            let is_last = piece.is_none();
            if let Some(piece) = piece {
                let piece = piece.map_err(|why| {
                    Fault::new(Kind::Bad, format!("the archive could not be read: {why}"))
                })?;
                admitted.bytes(piece.len())?;
                buffer.extend_from_slice(&piece);
            }
            if buffer.len() >= PIECE || is_last {
                (spooled, buffer) = spooled.put(buffer).await?;
            }
            if is_last {
                return Ok(spooled);
            }
        }
    }
}

impl Spooled {
    async fn put(mut self, mut bytes: Vec<u8>) -> Result<(Self, Vec<u8>), Fault> {
        if self.length + bytes.len() as u64 > self.longest {
            return Err(too_long(self.longest));
        }
        blocking(move || {
            self.write_all(&bytes)?;
            bytes.clear();
            Ok((self, bytes))
        })
        .await
    }

    /// Why it couldn't be written, if it is its length.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        match self.overflowed {
            true => Err(too_long(self.longest)),
            false => Ok(()),
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// To be read, from its beginning.
    pub(crate) fn reader(&mut self) -> Result<impl Read + '_, Fault> {
        self.file.rewind().map_err(|why| failed(&why))?;
        Ok(io::BufReader::with_capacity(PIECE, &self.file))
    }

    /// Its bytes, as fast as they are taken. `kept` is dropped with the last of them.
    pub(crate) fn into_body(mut self, kept: impl Send + 'static) -> Result<Body, Fault> {
        self.file.rewind().map_err(|why| failed(&why))?;
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(1);
        let by = Instant::now() + self.patience;
        tokio::spawn(async move {
            loop {
                let read = blocking(move || {
                    let mut piece = Vec::new();
                    (&self.file).take(PIECE as u64).read_to_end(&mut piece)?;
                    Ok((self, piece))
                });
                let (next, piece) = match read.await {
                    Ok((next, piece)) => (next, Ok(Bytes::from(piece))),
                    Err(why) => {
                        // What comes short of its length is told from what is whole.
                        let _ = sender.send(Err(io::Error::other(why.to_string()))).await;
                        break;
                    }
                };
                self = next;
                if matches!(&piece, Ok(piece) if piece.is_empty()) {
                    break;
                }
                // A client that takes nothing any more, or is gone, has had its archive.
                let soon = by.min(Instant::now() + self.stall);
                if !matches!(timeout_at(soon, sender.send(piece)).await, Ok(Ok(()))) {
                    break;
                }
            }
            drop(kept);
        });
        let next = |mut receiver: mpsc::Receiver<_>| async {
            receiver.recv().await.map(|piece| (piece, receiver))
        };
        Ok(Body::from_stream(stream::unfold(receiver, next)))
    }
}

impl Write for Spooled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.length + bytes.len() as u64 > self.longest {
            self.overflowed = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.file.write(bytes)?;
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that goes with its last descriptor.
fn nameless(folder: &Path) -> io::Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match openat(CWD, folder, flags | OFlags::TMPFILE | OFlags::EXCL, mode) {
        // This file system has none (open(2)): its name is taken away at once.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
        opened => return Ok(opened?.into()),
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!(".archive.{}.{number}", std::process::id()));
    let file = openat(CWD, &path, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
    std::fs::remove_file(&path)?;
    Ok(file.into())
}

/// Does what waits for the disk, on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|panicked| Fault::new(Kind::Broken, panicked.to_string()))?;
    done.map_err(|why| failed(&why))
}

fn failed(why: &io::Error) -> Fault {
    Fault::new(Kind::Broken, format!("keep an archive on its way: {why}"))
}

fn too_long(longest: u64) -> Fault {
    Fault::new(
        Kind::TooLong,
        format!("the archive is longer than {longest} bytes"),
    )
    .hint("`casemate wasm export` and `import` carry any length while no server has the folder")
}
