//! What the guest's pages were when its snapshot was taken: files on top of each other, the topmost
//! of which that has a page counts. One that none has is zero.

use crate::memory::{PAGE, Ranges};
use casemate_core::error::{Error, Result};
use casemate_sys::uffd::Backing;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The source of all pages.
#[derive(Debug)]
pub struct Source {
    /// The lowest first.
    layers: Vec<Layer>,
    pages: u64,
}

/// One file of them.
#[derive(Debug)]
pub struct Layer {
    file: File,
    path: PathBuf,
    mapped: Backing,
    /// Pages that aren't zero in it, in order.
    data: Vec<Range<u64>>,
    /// Pages that it has, if those aren't all.
    own: Option<Vec<Range<u64>>>,
    pages: u64,
}

/// What pages that follow each other are.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    Zero,
    /// These bytes of a file that is mapped.
    Mapped(&'a Layer, Range<u64>),
}

/// What a file says of a page.
enum Says {
    Nothing,
    Zero,
    Data,
}

impl Layer {
    /// A file of whole pages, sparse or not, that holds all memory or, of a difference, these pages.
    ///
    /// # Errors
    /// It can't be read, or isn't of whole pages.
    pub fn raw(path: &Path, own: Option<Ranges>) -> Result<Self> {
        let fail = |error: &std::io::Error| Error::io("open", error).on(path.display());
        let file = File::open(path).map_err(|error| fail(&error))?;
        let length = file.metadata().map_err(|error| fail(&error))?.len();
        if length == 0 || length % PAGE != 0 {
            let why = format!("{length} bytes aren't whole pages");
            return Err(Error::rule("read memory", why).on(path.display()));
        }
        let mapped = Backing::map(&file, length)
            .map_err(|errno| Error::errno("map", errno.raw_os_error()).on(path.display()))?;
        let data = Ranges::of_data(&file).map_err(|error| fail(&error))?;
        Ok(Self {
            data: data.iter().collect(),
            own: own.map(|own| own.iter().collect()),
            path: path.to_owned(),
            pages: length / PAGE,
            mapped,
            file,
        })
    }

    /// What it says of a page, and the page before `end` from which on it says something else.
    fn says(&self, page: u64, end: u64) -> (Says, u64) {
        let (is_own, until) = match &self.own {
            Some(own) => run(own, page, end),
            None => (true, end),
        };
        if !is_own {
            return (Says::Nothing, until);
        }
        match run(&self.data, page, until) {
            (true, until) => (Says::Data, until),
            (false, until) => (Says::Zero, until),
        }
    }

    /// Why it can't be read: a file that was cut short is told from others.
    pub(super) fn trouble(&self, page: u64) -> Error {
        let fail = |why: String| Error::rule("read memory", why).on(self.path.display());
        match self.file.metadata() {
            Err(error) => Error::io("read memory", &error).on(self.path.display()),
            Ok(found) if found.len() < self.pages * PAGE => fail(format!(
                "it had {} pages, and has {} bytes",
                self.pages,
                found.len()
            ))
            .hint("a snapshot's files must not change as long as machines run from them"),
            Ok(_) => fail(format!("its page {page} can't be read")),
        }
    }

    fn read(&self, page: u64, into: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact_at(into, page * PAGE);
        read.map_err(|_| self.trouble(page))
    }

    pub(super) fn mapped(&self) -> &Backing {
        &self.mapped
    }
}

/// Whether a page is in a set, and the page before `end` from which on that changes.
fn run(set: &[Range<u64>], page: u64, end: u64) -> (bool, u64) {
    match set.get(set.partition_point(|range| range.end <= page)) {
        Some(range) if range.start <= page => (true, end.min(range.end)),
        Some(range) => (false, end.min(range.start)),
        None => (false, end),
    }
}

impl Source {
    /// Of these files, the lowest first.
    ///
    /// # Errors
    /// There are none, they differ in length, or the lowest doesn't hold all memory.
    pub fn new(layers: Vec<Layer>) -> Result<Self> {
        let fail = |why: &str| Error::rule("put a snapshot's memory together", why);
        let Some(lowest) = layers.first() else {
            return Err(fail("there is none"));
        };
        let pages = lowest.pages;
        if lowest.own.is_some() {
            return Err(
                fail("the lowest file is a difference to another").on(lowest.path.display())
            );
        }
        match layers.iter().find(|layer| layer.pages != pages) {
            Some(other) => {
                let why = format!("it has {} pages, and others {pages}", other.pages);
                Err(fail(&why).on(other.path.display()))
            }
            None => Ok(Self { layers, pages }),
        }
    }

    /// How many pages of 4 KiB it has.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// What a page is, and how many from it on, before `end`, are the same piece.
    pub(super) fn piece(&mut self, page: u64, end: u64) -> Result<(Piece<'_>, u64)> {
        let (which, end) = self.find(page, end);
        let Some(which) = which else {
            return Ok((Piece::Zero, end - page));
        };
        let bytes = page * PAGE..end * PAGE;
        Ok((Piece::Mapped(&self.layers[which], bytes), end - page))
    }

    /// The layer that has data for a page, and the page before `end` from which on another may.
    fn find(&self, page: u64, mut end: u64) -> (Option<usize>, u64) {
        for (which, layer) in self.layers.iter().enumerate().rev() {
            let (says, until) = layer.says(page, end);
            end = until;
            match says {
                Says::Nothing => {}
                Says::Zero => return (None, end),
                Says::Data => return (Some(which), end),
            }
        }
        (None, end)
    }

    /// The bytes of pages, whatever they are.
    pub(super) fn read(&mut self, pages: Range<u64>, into: &mut [u8]) -> Result<()> {
        let mut page = pages.start;
        while page < pages.end {
            let (which, end) = self.find(page, pages.end);
            let at = |page| ((page - pages.start) * PAGE) as usize;
            let into = &mut into[at(page)..at(end)];
            match which {
                Some(which) => self.layers[which].read(page, into)?,
                None => into.fill(0),
            }
            page = end;
        }
        Ok(())
    }

    /// Where there is data.
    pub(super) fn data(&self) -> Ranges {
        let mut found = Vec::new();
        let mut page = 0;
        while page < self.pages {
            let (which, end) = self.find(page, self.pages);
            if which.is_some() {
                found.push(page..end);
            }
            page = end;
        }
        found.into_iter().collect()
    }

    /// Lets go of what was mapped while pages were copied.
    pub(super) fn release(&self) {
        for layer in &self.layers {
            let _ = layer.mapped.release(0..layer.pages * PAGE);
        }
    }
}
