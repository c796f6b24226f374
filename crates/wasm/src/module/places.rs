//! Where in the module a piece of the prepared module was.
//!
//! Between what is put in, code is copied as it is: so a place is found by the last [`Mark`] before
//! it. There may be some for each block and each call of a module, and none is looked at before a
//! trap has to be told: they are kept as bytes, and read from the front.

use wasmparser::{Parser, Payload};

use super::indices::Indices;

/// From here on, code of the prepared module is that of the module from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// In the prepared module: in a function's body at first, then in all of it.
    pub(super) new: usize,
    /// In the module.
    pub(super) old: usize,
    /// It was put in before what is there.
    pub(super) is_added: bool,
}

/// Marks of the guest's functions, in the order of the functions.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<Vec<Mark>>);

impl Marks {
    /// Those of the next function, from its body's start.
    pub(super) fn push(&mut self, marks: Vec<Mark>) {
        self.0.push(marks);
    }

    /// As bytes, which [`Places`] reads.
    pub(super) fn write(&self, prepared: &[u8], indices: &Indices) -> Vec<u8> {
        let mut bodies = Parser::new(0).parse_all(prepared).filter_map(|payload| {
            let Ok(Payload::CodeSectionEntry(body)) = payload else {
                return None;
            };
            Some(body.range())
        });
        let mut bytes = Vec::new();
        let own = indices.own();
        put(&mut bytes, own.start.into());
        put(&mut bytes, own.end.into());
        put(&mut bytes, indices.imported().into());
        let (mut new, mut old) = (0, 0);
        for (marks, body) in self.0.iter().zip(&mut bodies) {
            let ends = Mark {
                new: body.len(),
                old: marks.last().map_or(0, |mark| mark.old),
                is_added: true,
            };
            for mark in marks.iter().chain([&ends]) {
                let at = body.start + mark.new;
                put(
                    &mut bytes,
                    ((at - new) as u64) << 1 | u64::from(mark.is_added),
                );
                put(&mut bytes, (mark.old - old) as u64);
                (new, old) = (at, mark.old);
            }
        }
        bytes
    }
}

/// Of one function, while it is written.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// Where code was, before anything is paid in it.
    copied: Vec<(usize, usize)>,
}

impl Trail {
    pub(super) fn clear(&mut self) {
        self.copied.clear();
    }

    /// What is written at `at` from now on was at `old`.
    pub(super) fn mark(&mut self, at: usize, old: usize) {
        let goes_on = self
            .copied
            .last()
            .is_some_and(|(last, was)| was + (at - last) == old);
        if !goes_on {
            self.copied.push((at, old));
        }
    }

    /// What is put in at `new`, before what was written at `at`.
    pub(super) fn added(&self, new: usize, at: usize) -> Mark {
        let first = self.copied.partition_point(|(place, _)| *place <= at);
        let before = first.checked_sub(1).and_then(|last| self.copied.get(last));
        Mark {
            new,
            old: before.map_or(0, |(place, old)| old + (at - place)),
            is_added: true,
        }
    }

    /// The marks of `code[from..to]`, which comes to `new`.
    pub(super) fn moved(&self, from: usize, to: usize, new: usize, into: &mut Vec<Mark>) {
        let first = self.copied.partition_point(|(at, _)| *at <= from);
        let before = first.checked_sub(1).and_then(|last| self.copied.get(last));
        let start = before.map(|(at, old)| (from, old + (from - at)));
        let rest = self.copied.iter().skip(first).copied();
        let marks = start.into_iter().chain(rest.take_while(|(at, _)| *at < to));
        into.extend(marks.map(|(at, old)| Mark {
            new: new + (at - from),
            old,
            is_added: false,
        }));
    }
}

/// Finds places in the module.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a>(&'a [u8]);

/// A place in the module, as far as it is one of the guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The function's index.
    pub function: u32,
    /// The instruction's offset in the binary.
    pub offset: Option<u64>,
}

impl<'a> Places<'a> {
    /// Written by the compiler. Bytes that it wouldn't have written find other places, or none.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Where an instruction of the prepared module was; nothing if it is in a function that was put in.
    #[must_use]
    pub fn find(&self, function: u32, offset: Option<u64>) -> Option<Place> {
        let mut bytes = self.0;
        let (first, end) = (take(&mut bytes)?, take(&mut bytes)?);
        let imported = take(&mut bytes)?;
        if !(first..end).contains(&u64::from(function)) {
            return None;
        }
        let function = u64::from(function) - first + imported;
        Some(Place {
            function: u32::try_from(function).ok()?,
            offset: offset.and_then(|offset| old(bytes, offset)),
        })
    }
}

fn old(mut bytes: &[u8], offset: u64) -> Option<u64> {
    let (mut new, mut old, mut found) = (0_u64, 0_u64, None);
    while let Some(step) = take(&mut bytes) {
        new = new.checked_add(step >> 1)?;
        if new > offset {
            break;
        }
        old = old.checked_add(take(&mut bytes)?)?;
        found = Some(match step & 1 {
            0 => old.checked_add(offset - new)?,
            _ => old,
        });
    }
    found
}

/// LEB128.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
