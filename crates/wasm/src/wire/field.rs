//! Fields of a payload: numbers, little-endian; byte strings, texts and lists, each after its
//! length.
//!
//! What is read may be anybody's. No length is believed: none is longer than what is there, room
//! grows with what was read, and what is wrong is told with the place and the name of its field.

use super::{Fault, Malformed};

/// Room that a payload begins with, bytes.
const FIRST: usize = 256;

/// A payload that is being put together.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

/// A payload that is being taken apart, by somebody who may not believe it.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// What was read so far.
    at: usize,
    /// Where the field begins that was read last.
    field: usize,
}

macro_rules! numbers {
    ($($name:ident)*) => {
        impl Writer {
            $(
                /// Appends a number.
                pub fn $name(&mut self, number: $name) -> &mut Self {
                    self.raw(&number.to_le_bytes())
                }
            )*
        }

        impl Reader<'_> {
            $(
                /// The next number.
                pub fn $name(&mut self, what: &'static str) -> Result<$name, Malformed> {
                    Ok($name::from_le_bytes(self.take(what)?))
                }
            )*
        }
    };
}

numbers!(u8 u32 u64 u128 i32);

impl Writer {
    /// Appends bytes whose number the reader knows.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        if self.0.capacity() == 0 {
            // Most payloads fit, and grow in no steps then.
            self.0.reserve(FIRST.max(bytes.len()));
        }
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends yes or no.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    /// Appends how many things follow.
    pub fn count(&mut self, count: usize) -> &mut Self {
        self.u64(count as u64)
    }

    /// Appends a number that is mostly small (LEB128).
    pub fn short(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.u8(value as u8)
    }

    /// Appends a byte string.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).raw(bytes)
    }

    /// Appends a text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Appends one byte that says whether there is one, and it.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
        self
    }

    /// Appends how many there are, and each of them.
    pub fn list<T>(&mut self, values: &[T], mut write: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.count(values.len());
        for value in values {
            write(self, value);
        }
        self
    }

    /// The payload; the writer is empty afterwards.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl<'a> Reader<'a> {
    /// Reads from the start of a payload.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            field: 0,
        }
    }

    /// That the last field has a value that means nothing.
    pub fn malformed(&self, what: &'static str) -> Malformed {
        self.fault(what, Fault::Meaningless)
    }

    fn fault(&self, what: &'static str, fault: Fault) -> Malformed {
        Malformed::Field {
            at: self.field,
            what,
            fault,
        }
    }

    fn slice(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        self.field = self.at;
        let end = self.at.checked_add(count);
        let slice = end.and_then(|end| self.bytes.get(self.at..end));
        let slice = slice.ok_or(self.fault(what, Fault::Cut))?;
        self.at += count;
        Ok(slice)
    }

    /// The next bytes, as many as the array holds.
    pub fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let slice = self.slice(N, what)?;
        slice.try_into().map_err(|_| self.fault(what, Fault::Cut))
    }

    /// Yes or no.
    pub fn bool(&mut self, what: &'static str) -> Result<bool, Malformed> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed(what)),
        }
    }

    /// A number that is mostly small (LEB128), in its one shortest form.
    pub fn short(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut value = 0;
        for place in 0..10 {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            let is_lost = place == 9 && bits > 1;
            let is_longer = byte == 0 && place > 0;
            if is_lost || is_longer {
                break;
            }
            value |= bits << (7 * place);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed(what))
    }

    /// How many things follow: no more than there are bytes left.
    pub fn count(&mut self, what: &'static str) -> Result<usize, Malformed> {
        let count = usize::try_from(self.u64(what)?).ok();
        let left = self.bytes.len() - self.at;
        let count = count.filter(|count| *count <= left);
        count.ok_or(self.fault(what, Fault::Cut))
    }

    /// The next byte string.
    pub fn bytes(&mut self, what: &'static str) -> Result<Vec<u8>, Malformed> {
        self.bytes_within(usize::MAX, what).map(<[u8]>::to_vec)
    }

    /// The next byte string, of at most so many bytes.
    pub fn bytes_within(&mut self, most: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let announced = self.u64(what)?;
        let length = usize::try_from(announced).unwrap_or(usize::MAX);
        if length > most {
            return Err(self.fault(what, Fault::TooLong(announced)));
        }
        self.slice(length, what)
    }

    /// The next text.
    pub fn text(&mut self, what: &'static str) -> Result<String, Malformed> {
        self.text_within(usize::MAX, what).map(str::to_owned)
    }

    /// The next text, of at most so many bytes.
    pub fn text_within(&mut self, most: usize, what: &'static str) -> Result<&'a str, Malformed> {
        let bytes = self.bytes_within(most, what)?;
        std::str::from_utf8(bytes).map_err(|_| self.fault(what, Fault::NotText))
    }

    /// One byte that says whether there is one, and it.
    pub fn option<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        self.bool(what)?.then(|| read(self)).transpose()
    }

    /// How many there are, and each of them.
    pub fn list<T>(
        &mut self,
        what: &'static str,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.count(what)?;
        // Room grows with what is there, not with what is said to be.
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(read(self)?);
        }
        Ok(list)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    /// Nothing is left.
    pub fn end(&self) -> Result<(), Malformed> {
        match self.at == self.bytes.len() {
            true => Ok(()),
            false => Err(Malformed::Field {
                at: self.at,
                what: "its end",
                fault: Fault::Trailing,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(at: usize, what: &'static str, fault: Fault) -> Malformed {
        Malformed::Field { at, what, fault }
    }

    #[test]
    fn fields_come_back_in_order() {
        let payload = Writer::default()
            .u8(1)
            .u128(u128::MAX)
            .i32(-3)
            .text("four")
            .bytes(b"")
            .option(Some(5), |writer, number| {
                writer.u32(number);
            })
            .option(None, |writer, number| {
                writer.u32(number);
            })
            .list(&[6, 7], |writer, number| {
                writer.short(*number);
            })
            .raw(b"xy")
            .finish();
        let mut reader = Reader::new(&payload);
        assert_eq!(reader.u8("a"), Ok(1));
        assert_eq!(reader.u128("b"), Ok(u128::MAX));
        assert_eq!(reader.i32("c"), Ok(-3));
        assert_eq!(reader.text_within(4, "d"), Ok("four"));
        assert_eq!(reader.bytes_within(0, "e"), Ok(&b""[..]));
        assert_eq!(reader.option("f", |reader| reader.u32("f")), Ok(Some(5)));
        assert_eq!(reader.option("g", |reader| reader.u32("g")), Ok(None));
        assert_eq!(reader.list("h", |reader| reader.short("h")), Ok(vec![6, 7]));
        let end = payload.len();
        let trailing = fault(end - 2, "its end", Fault::Trailing);
        assert_eq!(reader.end(), Err(trailing));
        assert_eq!(reader.take("i"), Ok(*b"xy"));
        assert_eq!(reader.end(), Ok(()));
        assert_eq!(reader.u8("j"), Err(fault(end, "j", Fault::Cut)));
    }

    #[test]
    fn lengths_are_not_believed() {
        let long = Writer::default().bytes(&[0; 9]).finish();
        let refused = Reader::new(&long).bytes_within(8, "a name").unwrap_err();
        assert_eq!(refused, fault(0, "a name", Fault::TooLong(9)));
        assert_eq!(
            refused.to_string(),
            "a name, at byte 0: it is 9 bytes long, more than it may be"
        );
        let lie = Writer::default().u64(u64::MAX).finish();
        assert_eq!(
            Reader::new(&lie).bytes("it"),
            Err(fault(8, "it", Fault::Cut))
        );
        assert_eq!(
            Reader::new(&lie).count("it"),
            Err(fault(0, "it", Fault::Cut))
        );
        let binary = Writer::default().bytes(&[0xff]).finish();
        assert_eq!(
            Reader::new(&binary).text("it"),
            Err(fault(8, "it", Fault::NotText))
        );
    }

    proptest! {
        #[test]
        fn short_numbers_have_one_form(number: u64, noise in prop::collection::vec(any::<u8>(), 0..12)) {
            let bytes = Writer::default().short(number).finish();
            prop_assert_eq!(Reader::new(&bytes).short("it"), Ok(number));
            let mut reader = Reader::new(&noise);
            if let Ok(found) = reader.short("it") {
                prop_assert_eq!(Writer::default().short(found).finish(), &noise[..reader.at]);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, order in prop::collection::vec(0..6u8, 0..20)) {
            let mut reader = Reader::new(&bytes);
            let mut left = bytes.len();
            for what in order {
                let read = match what {
                    0 => reader.u8("it").map(|_| 1),
                    1 => reader.u64("it").map(|_| 8),
                    2 => reader.bytes_within(64, "it").map(|taken| taken.len() + 8),
                    3 => reader.text("it").map(|taken| taken.len() + 8),
                    4 => reader.list("it", |reader| reader.u8("it")).map(|list| list.len() + 8),
                    _ => reader.take::<3>("it").map(|_| 3),
                };
                let Ok(read) = read else { break };
                prop_assert!(read <= left);
                left -= read;
            }
        }
    }
}
