//! Byte strings in a file, one after the other, each checked.
//!
//! ```text
//!  magic · version u32 · secret u64 · CRC-32 u32                                    once
//!  secret u64 · done u64 · length u32 · CRC-32 of the body u32 · CRC-32 u32 · body  each
//! ```
//!
//! Each frame says up to where everything before it had counted as done when it was written. So what
//! a crash left of frames that nobody was told of can be told from damage to others: if a whole frame
//! further on says that the place of a broken one was done, that one was damaged, and it is an error;
//! otherwise the file is cut off there. What lies in bodies is a stranger's, and must not look like
//! a frame: so each has the file's secret, which no guest ever sees, and the last CRC is of its place
//! as well.

use super::StoreError;
use super::disk::File;
use std::path::Path;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"casecall";
const VERSION: u32 = 2;
/// The length of what is there once.
pub(super) const BEGINNING: u64 = 24;
/// The length of what is before a body.
const HEADER: usize = 28;
/// The longest body: the longest argument, and something.
const LONGEST: u32 = 64 << 20;

/// A file of frames, at its end.
#[derive(Debug)]
pub(crate) struct Frames {
    file: Arc<File>,
    secret: u64,
    /// Its whole frames end here.
    length: u64,
    /// A write failed, and what it left couldn't be cut off.
    is_broken: bool,
}

impl Frames {
    /// Begins a file that isn't there yet.
    pub(crate) fn begin(path: &Path, is_synced: bool) -> Result<Self, StoreError> {
        let mut secret = [0; 8];
        rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())
            .map_err(|why| StoreError::io("find a random number for", path)(why.into()))?;
        let mut bytes = Vec::from(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(secret);
        let sum = crc32fast::hash(&bytes);
        bytes.extend(sum.to_le_bytes());
        let file = File::make(path)?;
        file.write(&bytes, 0)?;
        if is_synced {
            file.sync()?;
        }
        Ok(Self {
            file: Arc::new(file),
            secret: u64::from_le_bytes(secret),
            length: BEGINNING,
            is_broken: false,
        })
    }

    /// Reads a file, and cuts off what a crash left at its end.
    pub(crate) fn recover(path: &Path) -> Result<(Self, Vec<Vec<u8>>), StoreError> {
        let (frames, bodies, size) = Self::read(File::change(path)?)?;
        if frames.length < size {
            frames.file.cut(frames.length)?;
            // A frame that comes in its place must never be followed by what was cut off.
            frames.file.sync()?;
        }
        Ok((frames, bodies))
    }

    /// Reads a file, and leaves it as it is.
    pub(crate) fn look(path: &Path) -> Result<(Self, Vec<Vec<u8>>), StoreError> {
        let (frames, bodies, _) = Self::read(File::open(path)?)?;
        Ok((frames, bodies))
    }

    fn read(file: File) -> Result<(Self, Vec<Vec<u8>>, u64), StoreError> {
        let size = file.length()?;
        let secret = beginning(&file, size)?;
        let mut bodies = Vec::new();
        let mut at = BEGINNING;
        while at < size {
            match frame(&file, secret, at, size)? {
                Some(Frame {
                    body: Some(body),
                    end,
                    ..
                }) => {
                    bodies.push(body);
                    at = end;
                }
                _ => {
                    refuse_damage(&file, secret, at, size)?;
                    break;
                }
            }
        }
        let frames = Self {
            file: Arc::new(file),
            secret,
            length: at,
            is_broken: false,
        };
        Ok((frames, bodies, size))
    }

    /// Writes a frame: all of it, or nothing. `done` is up to where frames count as done.
    pub(crate) fn append(&mut self, body: &[u8], done: u64) -> Result<(), StoreError> {
        let path = self.file.path();
        let refused = |what: &str| StoreError::io("write", path)(std::io::Error::other(what));
        if self.is_broken {
            return Err(refused("an earlier write to it failed"));
        }
        let length = u32::try_from(body.len()).ok();
        let Some(length) = length.filter(|length| *length <= LONGEST) else {
            return Err(refused("a record of more than 64 MiB"));
        };
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend(self.secret.to_le_bytes());
        bytes.extend(done.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(crc32fast::hash(body).to_le_bytes());
        let sum = check(&bytes, self.length);
        bytes.extend(sum.to_le_bytes());
        bytes.extend(body);
        if let Err(why) = self.file.write(&bytes, self.length) {
            // A part of it may be there.
            let cut = self.file.cut(self.length).and_then(|()| self.file.sync());
            self.is_broken = cut.is_err();
            return Err(why);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Where the next frame will be.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The file.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }
}

/// The secret of a file.
fn beginning(file: &File, size: u64) -> Result<u64, StoreError> {
    let damaged = |what: &str| StoreError::damaged(file.path(), 0, what);
    if size < BEGINNING {
        return Err(damaged("a beginning that is too short"));
    }
    let mut bytes = [0; BEGINNING as usize];
    file.read(&mut bytes, 0)?;
    let word = |from: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[from + i]));
    if !bytes.starts_with(MAGIC) {
        return Err(damaged("no journal begins like this"));
    }
    if word(8) != VERSION {
        return Err(damaged(&format!("version {} isn't known", word(8))));
    }
    if crc32fast::hash(&bytes[..20]) != word(20) {
        return Err(damaged("a beginning with another checksum"));
    }
    Ok(u64::from(word(12)) | u64::from(word(16)) << 32)
}

struct Frame {
    /// If it is what it was.
    body: Option<Vec<u8>>,
    done: u64,
    end: u64,
}

/// The frame at a place, if there is a header.
fn frame(file: &File, secret: u64, at: u64, size: u64) -> Result<Option<Frame>, StoreError> {
    if size.saturating_sub(at) < HEADER as u64 {
        return Ok(None);
    }
    let mut header = [0; HEADER];
    file.read(&mut header, at)?;
    let word = |from: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| header[from + i]));
    let long = |from: usize| u64::from(word(from)) | u64::from(word(from + 4)) << 32;
    let length = word(16);
    let is_header = long(0) == secret && check(&header[..24], at) == word(24) && length <= LONGEST;
    if !is_header {
        return Ok(None);
    }
    let start = at + HEADER as u64;
    let end = start + u64::from(length);
    let body = match end <= size {
        false => None,
        true => {
            let mut body = vec![0; length as usize];
            file.read(&mut body, start)?;
            (crc32fast::hash(&body) == word(20)).then_some(body)
        }
    };
    let done = long(8);
    Ok(Some(Frame { body, done, end }))
}

/// The checksum of a header at its place.
fn check(header: &[u8], at: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&at.to_le_bytes());
    hasher.update(header);
    hasher.finalize()
}

/// That a broken frame is damage is known from one behind it. To look for those takes one pass.
fn refuse_damage(file: &File, secret: u64, broken: u64, size: u64) -> Result<(), StoreError> {
    let secret_bytes = secret.to_le_bytes();
    let mut window = vec![0; 1 << 16];
    let mut at = broken + 1;
    while size.saturating_sub(at) >= HEADER as u64 {
        let length = (size - at).min(window.len() as u64) as usize;
        file.read(&mut window[..length], at)?;
        for from in 0..=length - secret_bytes.len() {
            if window[from..from + 8] != secret_bytes {
                continue;
            }
            if let Some(found) = frame(file, secret, at + from as u64, size)?
                && found.done > broken
            {
                return Err(StoreError::damaged(
                    file.path(),
                    broken,
                    format!(
                        "a record was damaged that counted as done when the one at byte {} was \
                         written",
                        at + from as u64
                    ),
                ));
            }
        }
        // A secret may lie across two windows.
        at += (length - secret_bytes.len() + 1) as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    fn bodies() -> Vec<Vec<u8>> {
        (1..5_u8)
            .map(|number| vec![number; usize::from(number) * 9])
            .collect()
    }

    /// A file of them, each written when those before it were done.
    fn written(folder: &Path) -> (PathBuf, Vec<u64>) {
        let path = folder.join("calls");
        let mut frames = Frames::begin(&path, false).unwrap();
        let mut ends = vec![frames.length()];
        for body in bodies() {
            frames.append(&body, frames.length()).unwrap();
            ends.push(frames.length());
        }
        (path, ends)
    }

    /// Whatever a crash leaves of the file, its whole frames come back, and only they.
    #[test]
    fn every_prefix_is_some_whole_frames() {
        let folder = tempfile::tempdir().unwrap();
        let (path, ends) = written(folder.path());
        let whole = fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            if (length as u64) < BEGINNING {
                Frames::recover(&path).unwrap_err();
                continue;
            }
            let expected = ends.iter().filter(|end| **end <= length as u64).count() - 1;
            let (mut frames, found) = Frames::recover(&path).unwrap();
            assert_eq!(found, bodies()[..expected], "{length}");
            assert_eq!(fs::metadata(&path).unwrap().len(), ends[expected]);
            frames.append(b"another", frames.length()).unwrap();
            assert_eq!(Frames::look(&path).unwrap().1.len(), expected + 1);
        }
    }

    /// A byte that was changed in what was done is an error that says where; in the last frame it
    /// looks like a torn one.
    #[test]
    fn damage_in_the_middle_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (path, ends) = written(folder.path());
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x20;
            fs::write(&path, &bytes).unwrap();
            let found = Frames::recover(&path);
            if at as u64 >= ends[3] {
                assert_eq!(found.unwrap().1, bodies()[..3], "{at}");
                continue;
            }
            let place = ends
                .iter()
                .rev()
                .find(|end| **end <= at as u64)
                .unwrap_or(&0);
            let said = found.unwrap_err().to_string();
            let name = format!("{}: ", path.display());
            assert!(said.contains(&name), "{at}: {said}");
            assert!(said.contains(&format!("at byte {place}\n")), "{at}: {said}");
            // It is left as it is.
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }

    /// What nobody was told of may be lost in any order.
    #[test]
    fn what_was_not_done_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls");
        let mut frames = Frames::begin(&path, false).unwrap();
        frames.append(b"one", frames.length()).unwrap();
        let synced = frames.length();
        for body in [b"two", b"six"] {
            frames.append(body, synced).unwrap();
        }
        let mut bytes = fs::read(&path).unwrap();
        bytes[synced as usize] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(Frames::recover(&path).unwrap().1, [b"one"]);
        assert_eq!(fs::metadata(&path).unwrap().len(), synced);
    }

    /// A guest's argument that looks like frames, of this place or another file, is not one.
    #[test]
    fn a_body_can_not_pass_for_a_frame() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = written(folder.path());
        let other = folder.path().join("other");
        let mut frames = Frames::begin(&other, false).unwrap();
        let mut argument = fs::read(&path).unwrap();
        argument.splice(0..0, vec![0; 1 << 16]);
        frames.append(&argument, frames.length()).unwrap();
        let whole = fs::read(&other).unwrap();
        for length in [whole.len() - 1, whole.len() - 40, HEADER + 1000] {
            fs::write(&other, &whole[..length]).unwrap();
            assert!(Frames::recover(&other).unwrap().1.is_empty());
        }
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls");
        let mut frames = Frames::begin(&path, false).unwrap();
        let trace = super::super::disk::trace::Trace::of(folder.path());
        trace.dies_after(0);
        frames.append(b"lost", 0).unwrap_err();
        trace.lives();
        // It couldn't even be cut off.
        frames.append(b"more", 0).unwrap_err();
        let (mut frames, found) = Frames::recover(&path).unwrap();
        assert!(found.is_empty());
        frames.append(b"more", 0).unwrap();
        assert_eq!(Frames::look(&path).unwrap().1, [b"more"]);
        assert!(frames.append(&vec![0; LONGEST as usize + 1], 0).is_err());
    }
}
