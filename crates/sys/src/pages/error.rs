//! What can go wrong with pages.

use crate::Errno;
use std::fmt;

/// Why something about pages was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The kernel refused it.
    Refused {
        /// What was tried, and with which call.
        tried: &'static str,
        /// Its answer.
        why: Errno,
    },
    /// This kernel hasn't got it.
    Unsupported {
        /// What is missing.
        feature: &'static str,
        /// What has it.
        needs: &'static str,
    },
    /// There is no `/proc` to open a descriptor anew in.
    NoProc,
    /// Somebody can still write to what is to be sealed.
    StillWritable,
    /// A descriptor isn't a memory file with these seals.
    NotSealed,
    /// A file is longer than agreed: this many bytes, of so many.
    TooLong {
        /// Its bytes.
        bytes: u64,
        /// The most it may have.
        limit: u64,
    },
    /// Pages outside of what there is.
    Outside {
        /// The page after the last one asked for.
        end: usize,
        /// How many there are.
        pages: usize,
    },
    /// The value was made by the process that this one was forked from, and is about its memory.
    Foreign,
    /// A part of the range is not tracked, so what was written to it can't be told.
    Untracked,
    /// Another process's memory was read only up to a page.
    Unread {
        /// The process.
        process: i32,
        /// How many of the pages asked for were read: all before the one that failed.
        read: usize,
        /// The page that was not read.
        page: usize,
        /// Why, if the kernel said so; it doesn't if something was read.
        why: Option<Errno>,
    },
}

impl Error {
    /// For `map_err`: what was tried.
    pub(super) fn refused(tried: &'static str) -> impl Fn(Errno) -> Self {
        move |why| Self::Refused { tried, why }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { tried, why } => write!(out, "{tried}: {why}"),
            Self::Unsupported { feature, needs } => {
                write!(out, "this kernel has no {feature}\nhint: it takes {needs}")
            }
            Self::NoProc => write!(
                out,
                "opening a memory file for reading only: there is no /proc/self/fd\n\
                 hint: mount proc where the memory is made, or open its readers before /proc goes"
            ),
            Self::StillWritable => write!(
                out,
                "sealing a memory file: somebody still has a writable mapping of it\n\
                 hint: seal it when the process that filled it has unmapped it or has ended"
            ),
            Self::NotSealed => write!(
                out,
                "a descriptor is not a memory file that can no longer change as it has to"
            ),
            Self::TooLong { bytes, limit } => {
                write!(out, "a memory file has {bytes} bytes, of at most {limit}")
            }
            Self::Outside { end, pages } => {
                write!(
                    out,
                    "pages up to {end} were asked for, and there are {pages}"
                )
            }
            Self::Foreign => write!(
                out,
                "this was opened by the process that this one was forked from, and is about that \
                 one's memory\nhint: open it after the fork"
            ),
            Self::Untracked => write!(
                out,
                "a part of the range is not registered for write tracking\n\
                 hint: register what was mapped anew, before anything writes to it"
            ),
            Self::Unread {
                process,
                read,
                page,
                why,
            } => {
                write!(
                    out,
                    "reading page {page} of process {process}, after {read} that were read: "
                )?;
                match why {
                    Some(why) => write!(out, "{why}"),
                    None => write!(out, "it isn't there"),
                }
            }
        }
    }
}

impl std::error::Error for Error {}
