//! A compiled module in a file, with what there is to know of it.
//!
//! ```text
//!  magic · lengths of the parts   u64 each, one page in all
//!  code                                          from the second page on: it is mapped as it lies
//!  profile · initial memory · places
//! ```
//!
//! It comes from a process that has read a stranger's module. The controller reads its header and
//! profile, with bounds; only a worker takes the rest for what it says it is.

use crate::module::{Limits, Places, Prepared, Profile, Segment};
use crate::wire::{Reader, Writer};
use casemate_sys::pages::sealed::SealedBytes;
use casemate_sys::pages::{PAGE, Sealed};
use rustix::fd::AsFd;
use std::ptr::NonNull;

const MAGIC: u64 = u64::from_le_bytes(*b"casemate");

/// See the module.
pub struct Bundle {
    file: Sealed,
    bytes: SealedBytes,
}

/// Where a bundle's code is mapped, executable: for one image, since the runtime takes a module for
/// known by its address.
pub(super) struct Code(NonNull<[u8]>);

impl Code {
    pub(super) fn address(&self) -> NonNull<[u8]> {
        self.0
    }
}

// SAFETY: it is never written.
unsafe impl Send for Code {}
// SAFETY: as above.
unsafe impl Sync for Code {}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and whoever ran it is gone: an image keeps it.
        let _ = unsafe { rustix::mm::munmap(self.0.as_ptr().cast(), self.0.len()) };
    }
}

/// Why a file is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It can't be mapped.
    #[error("{0}")]
    Pages(#[from] casemate_sys::pages::Error),
    /// It doesn't say what it should.
    #[error("the compiled module is damaged: {0}")]
    Damaged(String),
}

struct Parts {
    code: std::ops::Range<usize>,
    profile: std::ops::Range<usize>,
    initial: std::ops::Range<usize>,
    places: std::ops::Range<usize>,
}

impl Bundle {
    /// As bytes.
    pub(super) fn write(prepared: &Prepared, code: &[u8]) -> Vec<u8> {
        let profile = prepared.profile.write();
        let mut writer = Writer::default();
        writer.list(&prepared.initial, |writer, segment| {
            writer.u64(segment.offset).bytes(&segment.bytes);
        });
        let segments = writer.finish();
        writer
            .u64(MAGIC)
            .count(code.len())
            .count(profile.len())
            .count(segments.len())
            .count(prepared.places.len());
        let mut bytes = writer.finish();
        bytes.resize(PAGE, 0);
        bytes.extend(code);
        bytes.extend(profile);
        bytes.extend(segments);
        bytes.extend(&prepared.places);
        bytes
    }

    /// Of a file.
    pub fn of(file: Sealed) -> Result<Self, BundleError> {
        let bytes = file.map()?;
        let bundle = Self { file, bytes };
        bundle.parts().map(|_| bundle)
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Sealed {
        &self.file
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn parts(&self) -> Result<Parts, BundleError> {
        let damaged = |what: &str| BundleError::Damaged(what.to_owned());
        let header = self.bytes.get(..PAGE).ok_or(damaged("it has no header"))?;
        let mut reader = Reader::new(header);
        let mut number = || {
            reader
                .u64("a header")
                .map_err(|why| damaged(&why.to_string()))
        };
        if number()? != MAGIC {
            return Err(damaged("another file"));
        }
        let mut at = PAGE;
        let mut part = || {
            let length = usize::try_from(number()?).ok();
            let end = length.and_then(|length| at.checked_add(length));
            let end = end.filter(|end| *end <= self.bytes.len());
            let start = std::mem::replace(
                &mut at,
                end.ok_or(damaged("a part is longer than the file"))?,
            );
            Ok::<_, BundleError>(start..at)
        };
        Ok(Parts {
            code: part()?,
            profile: part()?,
            initial: part()?,
            places: part()?,
        })
    }

    /// What there is to know of the module, as far as it is within bounds.
    pub fn profile(&self) -> Result<Profile, BundleError> {
        let profile = &self.bytes[self.parts()?.profile];
        // These are bounds of sanity; how large a module may be was the compiler's to say.
        Profile::read(profile, &Limits::default())
            .map_err(|why| BundleError::Damaged(why.to_string()))
    }

    /// What the module's memory begins with.
    pub(crate) fn initial(&self) -> Result<Vec<Segment>, BundleError> {
        let mut reader = Reader::new(&self.bytes[self.parts()?.initial]);
        let segments = reader.list("segments", |reader| {
            Ok(Segment {
                offset: reader.u64("an offset")?,
                bytes: reader.bytes("a segment")?,
            })
        });
        segments.map_err(|why| BundleError::Damaged(why.to_string()))
    }

    /// Where its code was in the module.
    pub(super) fn places(&self) -> Places<'_> {
        let range = self.parts().map(|parts| parts.places);
        let bytes = range.ok().and_then(|range| self.bytes.get(range));
        Places::of(bytes.unwrap_or_default())
    }

    /// Its code, mapped so that it can be run and never written.
    pub(super) fn code(&self) -> Result<Code, BundleError> {
        let range = self.parts()?.code;
        let damaged = |what: String| BundleError::Damaged(what);
        if range.is_empty() {
            return Err(damaged("it has no code".to_owned()));
        }
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                range.len(),
                ProtFlags::READ | ProtFlags::EXEC,
                MapFlags::PRIVATE,
                self.file.as_fd(),
                range.start as u64,
            )
        };
        let start = start.map_err(|errno| damaged(format!("its code can't be mapped: {errno}")))?;
        let start = NonNull::new(start.cast::<u8>()).ok_or(damaged("no address".to_owned()))?;
        Ok(Code(NonNull::slice_from_raw_parts(start, range.len())))
    }
}
