//! GET /files: the bytes of a file.

use super::description::{disposition, media_type};
use super::encoding::{Coding, accepted};
use super::outflow::Outflow;
use super::range::{Wanted, wanted};
use super::{Address, Answer};
use crate::error::Refusal;
use crate::fault::{Cause, Fault, Result};
use crate::signature::Operation;
use crate::{Agent, blocking, paths};
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use flate2::Compression;
use flate2::read::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, IF_MODIFIED_SINCE, IF_RANGE, LAST_MODIFIED, RANGE, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::response::Builder;
use http::{HeaderMap, HeaderName, Response, StatusCode};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// From this length on it is first tried whether packing is worth it.
const WORTH_TRYING: u64 = 1024 * 1024;
/// How much is packed to find out.
const SAMPLE: usize = 64 * 1024;

pub(super) async fn answer(
    State(agent): State<Arc<Agent>>,
    address: std::result::Result<Query<Address>, QueryRejection>,
    headers: HeaderMap,
) -> Answer<Response<Body>> {
    let Query(address) = address.map_err(|e| Refusal::invalid(e.body_text()))?;
    let user = address.admit(&agent, Operation::Read, &headers)?;
    let workdir = agent.given().workdir.clone();
    let path = address.path.unwrap_or_default();
    let path = paths::resolve(&path, &user.home, workdir.as_deref())
        .map_err(|refused| Refusal::invalid(refused.to_string()))?;
    blocking::run(move || Ok(download(&path, &headers))).await?
}

/// A file that is about to be read.
struct Source {
    file: File,
    name: String,
    length: u64,
    /// To the second, as HTTP tells time.
    modified: Option<SystemTime>,
}

/// What is sent of a file, and how.
enum Sending {
    Whole,
    Part(Range<u64>),
    Packed,
    Unchanged,
    OutOfRange,
}

/// Answers a request for the file at `path`. Waits for the disk.
fn download(path: &Path, headers: &HeaderMap) -> Answer<Response<Body>> {
    let source = Source::open(path)?;
    let coding = match text(headers, &ACCEPT_ENCODING) {
        Some(accept) => accepted(accept).ok_or_else(|| {
            Refusal::new(
                StatusCode::NOT_ACCEPTABLE,
                format!("no acceptable encoding in '{accept}': there are gzip and identity"),
            )
        })?,
        None => Coding::Identity,
    };
    let sending = source.sending(coding, headers);
    source.respond(sending).map_err(Refusal::from)
}

impl Source {
    fn open(path: &Path) -> Result<Self> {
        // A pipe in its place would hold the agent up.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fault = |errno| match errno {
            // A socket.
            Errno::NXIO => irregular(path),
            errno => Fault::errno("read", path, errno),
        };
        let file = openat(CWD, path, flags, Mode::empty()).map_err(fault)?;
        let found = fstat(&file).map_err(fault)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Fault::errno("read", path, Errno::ISDIR)),
            _ => return Err(irregular(path)),
        }
        let seconds = u64::try_from(found.st_mtime).ok().map(Duration::from_secs);
        // Later years have five digits, which HTTP has no place for.
        let seconds = seconds.filter(|seconds| seconds.as_secs() < 253_402_300_800);
        Ok(Self {
            file: file.into(),
            name: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            length: u64::try_from(found.st_size).unwrap_or(0),
            modified: seconds.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(seconds)),
        })
    }

    /// A part, or a question whether it changed, is about the bytes as they are.
    fn sending(&self, coding: Coding, headers: &HeaderMap) -> Sending {
        let date = |name| httpdate::parse_http_date(text(headers, &name)?).ok();
        if let (Some(since), Some(modified)) = (date(IF_MODIFIED_SINCE), self.modified)
            && modified <= since
        {
            return Sending::Unchanged;
        }
        let range = text(headers, &RANGE).filter(|_| match headers.contains_key(IF_RANGE) {
            // The rest of an older file is no use to anyone.
            true => date(IF_RANGE).is_some_and(|seen| Some(seen) == self.modified),
            false => true,
        });
        match range.map(|range| wanted(range, self.length)) {
            Some(Wanted::Part(part)) => Sending::Part(part),
            Some(Wanted::Nothing) => Sending::OutOfRange,
            Some(Wanted::Whole) => Sending::Whole,
            None if coding == Coding::Gzip && self.packs() => Sending::Packed,
            None => Sending::Whole,
        }
    }

    /// Whether packing makes the file smaller. Short files are packed as asked; a long one that
    /// is packed already would only cost time on both sides.
    fn packs(&self) -> bool {
        if self.length < WORTH_TRYING {
            return true;
        }
        let mut sample = vec![0; SAMPLE];
        let read = self.file.read_at(&mut sample, 0).unwrap_or(0);
        let mut packed = GzEncoder::new(&sample[..read], Compression::fast());
        let size = std::io::copy(&mut packed, &mut std::io::sink()).unwrap_or(0);
        size < read as u64 / 10 * 9
    }

    fn respond(mut self, sending: Sending) -> Result<Response<Body>> {
        let mut response = Response::builder()
            .header(CONTENT_TYPE, media_type(&self.name))
            // The type is a guess by name, and no browser should make another.
            .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
            .header(CONTENT_DISPOSITION, disposition(&self.name))
            .header(VARY, "Accept-Encoding");
        if let Some(modified) = self.modified {
            response = response.header(LAST_MODIFIED, httpdate::fmt_http_date(modified));
        }
        let length = self.length;
        match sending {
            Sending::Unchanged => body(response.status(StatusCode::NOT_MODIFIED), Body::empty()),
            Sending::OutOfRange => {
                let response = response
                    .status(StatusCode::RANGE_NOT_SATISFIABLE)
                    .header(CONTENT_RANGE, format!("bytes */{length}"));
                body(response, Body::empty())
            }
            Sending::Part(part) => {
                let fault = |error| Fault::io("read", Path::new(&self.name), &error);
                self.file.seek(SeekFrom::Start(part.start)).map_err(fault)?;
                let (first, last) = (part.start, part.end - 1);
                let response = response
                    .status(StatusCode::PARTIAL_CONTENT)
                    .header(CONTENT_RANGE, format!("bytes {first}-{last}/{length}"));
                self.bytes(response, part.end - part.start)
            }
            Sending::Packed => {
                let packed = GzEncoder::new(self.file, Compression::fast());
                let response = response.header(CONTENT_ENCODING, "gzip");
                body(response, Body::new(Outflow::until_end(packed)))
            }
            // Files of the kernel's say that they are empty, and have something to read.
            Sending::Whole if length == 0 => {
                let mut beginning = Vec::new();
                let mut start = Read::by_ref(&mut self.file).take(1);
                let fault = |error| Fault::io("read", Path::new(&self.name), &error);
                start.read_to_end(&mut beginning).map_err(fault)?;
                match beginning.is_empty() {
                    true => self.bytes(response, 0),
                    false => {
                        let rest = std::io::Cursor::new(beginning).chain(self.file);
                        body(response, Body::new(Outflow::until_end(rest)))
                    }
                }
            }
            Sending::Whole => self.bytes(response, length),
        }
    }

    /// So many bytes from where the file stands.
    fn bytes(self, response: Builder, length: u64) -> Result<Response<Body>> {
        let response = response
            .header(ACCEPT_RANGES, "bytes")
            .header(CONTENT_LENGTH, length);
        body(response, Body::new(Outflow::exactly(self.file, length)))
    }
}

fn body(response: Builder, body: Body) -> Result<Response<Body>> {
    response
        .body(body)
        .map_err(|error| Fault::new(Cause::Refused, format!("cannot describe the file: {error}")))
}

fn irregular(path: &Path) -> Fault {
    Fault::invalid(format!("path '{}' is not a regular file", path.display()))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
