//! The body of an upload on its way to files.
//!
//! ```text
//!  bytes ──▶ [gunzip] ──▶ one file
//!                    └──▶ form ──▶ file, file, …
//! ```
//!
//! Everything here works on the piece at hand. How much comes out of a compressed body is only
//! bounded by the disk, which is the sandbox's own.

use super::encoding::Coding;
use super::multipart::{Event, Form, Headers};
use super::target::Target;
use crate::fault::{Fault, Result};
use crate::filesystem::entry::text;
use crate::filesystem::metadata::Metadata;
use crate::filesystem::owner::Owner;
use crate::paths;
use flate2::write::MultiGzDecoder;
use serde::Serialize;
use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Whose upload it is, and where it goes.
pub(crate) struct Plan {
    pub(crate) owner: Owner,
    pub(crate) home: PathBuf,
    pub(crate) workdir: Option<PathBuf>,
    /// The file, unless a form names its files itself.
    pub(crate) path: Option<String>,
    pub(crate) metadata: Metadata,
    /// Bytes that the file at `path` will have at least, if that is known.
    pub(crate) expected: Option<u64>,
}

impl Plan {
    fn resolve(&self, path: &str) -> Result<PathBuf> {
        paths::resolve(path, &self.home, self.workdir.as_deref())
            .map_err(|refused| Fault::invalid(refused.to_string()))
    }

    fn open(&self, path: &Path) -> Result<Target> {
        Target::open(path, self.owner, self.metadata.clone(), self.expected)
    }
}

/// A file that was written, as clients are told about it.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Written {
    path: String,
    name: String,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata,
}

impl Written {
    pub(crate) fn new(path: &Path, metadata: &Metadata) -> Self {
        Self {
            path: text(path),
            name: text(path.file_name().map_or(path, Path::new)),
            r#type: "file",
            metadata: metadata.clone(),
        }
    }
}

/// An upload that is coming in.
pub(crate) struct Intake(Stage);

enum Stage {
    Plain(Box<Sink>),
    Packed(Box<MultiGzDecoder<Sink>>),
}

impl Intake {
    /// A body that is one file.
    pub(crate) fn file(plan: &Plan, coding: Coding) -> Result<Self> {
        let Some(path) = &plan.path else {
            return Err(Fault::invalid(
                "path query parameter is required for raw body upload",
            ));
        };
        let path = plan.resolve(path)?;
        let target = plan.open(&path)?;
        let written = Written::new(&path, &plan.metadata);
        Ok(Self::new(Content::File(target, written), coding))
    }

    /// A body that is a form.
    pub(crate) fn form(plan: Plan, content_type: &str, coding: Coding) -> Result<Self> {
        let form = Form::new(content_type)?;
        let files = Files {
            plan,
            open: None,
            paths: HashSet::new(),
            written: Vec::new(),
        };
        Ok(Self::new(Content::Form(form, Box::new(files)), coding))
    }

    fn new(content: Content, coding: Coding) -> Self {
        let sink = Sink {
            content,
            fault: None,
        };
        Self(match coding {
            Coding::Identity => Stage::Plain(Box::new(sink)),
            Coding::Gzip => Stage::Packed(Box::new(MultiGzDecoder::new(sink))),
        })
    }

    /// Takes the next piece.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<()> {
        match &mut self.0 {
            Stage::Plain(sink) => sink.content.take(piece),
            Stage::Packed(packed) => match packed.write_all(piece) {
                Ok(()) => Ok(()),
                Err(error) => Err(unpacking(packed, &error)),
            },
        }
    }

    /// All has come: the files that were written.
    pub(crate) fn finish(self) -> Result<Vec<Written>> {
        let sink = match self.0 {
            Stage::Plain(sink) => *sink,
            Stage::Packed(mut packed) => match packed.try_finish() {
                Ok(()) => packed.finish().map_err(|error| broken(&error))?,
                Err(error) => return Err(unpacking(&mut packed, &error)),
            },
        };
        sink.content.finish()
    }
}

/// Why unpacking stopped: the files, or the packing.
fn unpacking(packed: &mut MultiGzDecoder<Sink>, error: &io::Error) -> Fault {
    packed
        .get_mut()
        .fault
        .take()
        .unwrap_or_else(|| broken(error))
}

fn broken(error: &io::Error) -> Fault {
    Fault::invalid(format!(
        "the body is not what its Content-Encoding gzip says: {error}"
    ))
}

/// Where unpacked bytes go.
struct Sink {
    content: Content,
    /// Why the last write failed, which an [`io::Error`] can't carry.
    fault: Option<Fault>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.content.take(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(fault) => {
                self.fault = Some(fault);
                Err(io::ErrorKind::Other.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Content {
    File(Target, Written),
    Form(Form, Box<Files>),
}

impl Content {
    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::File(target, _) => target.write(bytes),
            Self::Form(form, files) => form.push(bytes, &mut |event| files.event(event)),
        }
    }

    fn finish(self) -> Result<Vec<Written>> {
        match self {
            Self::File(target, written) => {
                target.finish()?;
                Ok(vec![written])
            }
            Self::Form(form, files) => {
                form.finish()?;
                Ok(files.written)
            }
        }
    }
}

/// The files of a form.
struct Files {
    plan: Plan,
    open: Option<(Target, Written)>,
    paths: HashSet<PathBuf>,
    written: Vec<Written>,
}

impl Files {
    fn event(&mut self, event: Event<'_>) -> Result<()> {
        match event {
            Event::Part(headers) => self.begin(&headers),
            Event::Data(data) => match &mut self.open {
                Some((target, _)) => target.write(data),
                // A field that says nothing to us.
                None => Ok(()),
            },
            Event::End => {
                if let Some((target, written)) = self.open.take() {
                    target.finish()?;
                    self.written.push(written);
                }
                Ok(())
            }
        }
    }

    fn begin(&mut self, headers: &Headers) -> Result<()> {
        if headers.field.as_deref() != Some("file") {
            return Ok(());
        }
        let named = self.plan.path.as_ref().or(headers.file.as_ref());
        let named = named.ok_or_else(|| {
            Fault::invalid("a file of the form has no name, and the request no path")
        })?;
        let path = self.plan.resolve(named)?;
        if !self.paths.insert(path.clone()) {
            return Err(Fault::invalid(format!(
                "cannot upload several files to the same path '{}'; the first one was written",
                path.display()
            )));
        }
        let written = Written::new(&path, &self.plan.metadata);
        self.open = Some((self.plan.open(&path)?, written));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
