//! A command as bytes: what a nursery is told in a memory file. The agent writes it, so the reader
//! minds only that it is whole.

use super::super::command::Command;
use crate::Errno;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{pread, pwrite};
use std::ffi::CString;

/// More than execve(2) takes.
const MOST: usize = 8 << 20;

/// A command without its streams.
pub(super) struct Order {
    pub(super) user: Option<(u32, u32, Vec<u32>)>,
    pub(super) terminal: bool,
    pub(super) places: Vec<CString>,
    pub(super) args: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) folder: CString,
}

/// Writes one to a file of its own; and how long it is.
pub(super) fn write(command: &Command<'_>) -> Result<(OwnedFd, usize), Errno> {
    let mut bytes = Vec::with_capacity(4 << 10);
    match command.user {
        None => number(&mut bytes, 0),
        Some(user) => {
            let ids = [user.uid, user.gid]
                .into_iter()
                .chain(user.groups.iter().copied());
            number(&mut bytes, user.groups.len() + 2);
            ids.for_each(|id| number(&mut bytes, id as usize));
        }
    }
    number(&mut bytes, command.terminal.into());
    for list in [&command.places, &command.args, &command.env] {
        number(&mut bytes, list.len());
        list.iter().for_each(|text| string(&mut bytes, text));
    }
    string(&mut bytes, &command.folder);
    if bytes.len() > MOST {
        return Err(Errno::TOOBIG);
    }
    let file = memfd_create(c"order", MemfdFlags::CLOEXEC)?;
    let mut written = 0;
    while written < bytes.len() {
        written += pwrite(&file, &bytes[written..], written as u64)?;
    }
    Ok((file, written))
}

fn number(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend((number as u32).to_ne_bytes());
}

fn string(bytes: &mut Vec<u8>, text: &CString) {
    number(bytes, text.as_bytes().len());
    bytes.extend(text.as_bytes());
}

/// Reads one of this length.
pub(super) fn read(file: BorrowedFd<'_>, length: usize) -> Result<Order, Errno> {
    let mut bytes = vec![0; length.min(MOST)];
    let mut done = 0;
    while done < bytes.len() {
        match pread(file, &mut bytes[done..], done as u64)? {
            0 => return Err(Errno::BADMSG),
            more => done += more,
        }
    }
    let mut reader = Reader(&bytes);
    let ids = reader.number()?;
    let ids: Vec<u32> = (0..ids)
        .map(|_| reader.number())
        .collect::<Result<_, _>>()?;
    let user = match &ids[..] {
        [] => None,
        [uid, gid, groups @ ..] => Some((*uid, *gid, groups.to_vec())),
        _ => return Err(Errno::BADMSG),
    };
    Ok(Order {
        user,
        terminal: reader.number()? != 0,
        places: reader.list()?,
        args: reader.list()?,
        env: reader.list()?,
        folder: reader.string()?,
    })
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self) -> Result<u32, Errno> {
        let (number, rest) = self.0.split_first_chunk().ok_or(Errno::BADMSG)?;
        self.0 = rest;
        Ok(u32::from_ne_bytes(*number))
    }

    fn string(&mut self) -> Result<CString, Errno> {
        let length = self.number()? as usize;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Errno::BADMSG)?;
        self.0 = rest;
        CString::new(text).map_err(|_| Errno::BADMSG)
    }

    fn list(&mut self) -> Result<Vec<CString>, Errno> {
        let count = self.number()?;
        (0..count).map(|_| self.string()).collect()
    }
}
