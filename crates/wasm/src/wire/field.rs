//! Fields of a payload.

use super::Malformed;

/// A payload that is being put together.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

/// A payload that is being taken apart, by somebody who may not believe it.
#[derive(Debug, Clone)]
pub struct Reader<'a>(&'a [u8]);

macro_rules! numbers {
    ($($name:ident)*) => {
        impl Writer {
            $(
                /// Appends a number, little-endian.
                #[must_use]
                pub fn $name(mut self, number: $name) -> Self {
                    self.0.extend(number.to_le_bytes());
                    self
                }
            )*
        }

        impl Reader<'_> {
            $(
                /// The next number.
                pub fn $name(&mut self) -> Result<$name, Malformed> {
                    Ok($name::from_le_bytes(self.take()?))
                }
            )*
        }
    };
}

numbers!(u8 u16 u32 u64 i32 i64);

impl Writer {
    /// Appends a byte string with its length.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // A payload beyond the limit is refused when it is sent, whatever this says.
        let mut writer = self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        writer.0.extend(bytes);
        writer
    }

    /// Appends a text with its length.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// Appends bytes whose number the reader knows.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// The payload.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

impl<'a> Reader<'a> {
    /// Reads from the start of a payload.
    pub fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    /// The next bytes, as many as the array holds.
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed::Cut)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// The next byte string, of at most so many bytes.
    pub fn bytes(&mut self, most: usize) -> Result<&'a [u8], Malformed> {
        let announced = self.u32()?;
        let length = announced as usize;
        if length > most {
            return Err(Malformed::FieldTooLong(announced));
        }
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::Cut)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next text, of at most so many bytes.
    pub fn text(&mut self, most: usize) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes(most)?).map_err(|_| Malformed::NotText)
    }

    /// Nothing is left.
    pub fn end(self) -> Result<(), Malformed> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Malformed::Trailing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_come_back_in_order() {
        let payload = Writer::default()
            .u8(1)
            .u16(2)
            .i64(-3)
            .text("four")
            .bytes(b"")
            .raw(b"xy")
            .finish();
        let mut reader = Reader::new(&payload);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.i64(), Ok(-3));
        assert_eq!(reader.text(4), Ok("four"));
        assert_eq!(reader.bytes(0), Ok(&b""[..]));
        assert_eq!(reader.clone().end(), Err(Malformed::Trailing));
        assert_eq!(reader.take(), Ok(*b"xy"));
        assert_eq!(reader.clone().u8(), Err(Malformed::Cut));
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn lengths_are_not_believed() {
        let long = Writer::default().bytes(&[0; 9]).finish();
        assert_eq!(Reader::new(&long).bytes(8), Err(Malformed::FieldTooLong(9)));
        let lie = Writer::default().u32(u32::MAX).finish();
        assert_eq!(Reader::new(&lie).bytes(usize::MAX), Err(Malformed::Cut));
        let binary = Writer::default().bytes(&[0xff]).finish();
        assert_eq!(Reader::new(&binary).text(8), Err(Malformed::NotText));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, order in prop::collection::vec(0..5u8, 0..20)) {
            let mut reader = Reader::new(&bytes);
            let mut left = bytes.len();
            for what in order {
                let read = match what {
                    0 => reader.u8().map(|_| 1),
                    1 => reader.u64().map(|_| 8),
                    2 => reader.bytes(64).map(|taken| taken.len() + 4),
                    3 => reader.text(64).map(|taken| taken.len() + 4),
                    _ => reader.take::<3>().map(|_| 3),
                };
                let Ok(read) = read else { break };
                prop_assert!(read <= left);
                left -= read;
            }
        }
    }
}
