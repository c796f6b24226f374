//! Numbers and strings as bytes, and back: little-endian, each string after its length.

/// Bytes that don't say what they should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed at its byte {at}: {what}")]
pub struct Malformed {
    /// Where.
    pub at: usize,
    /// What was to be read there.
    pub what: &'static str,
}

/// Writes.
#[derive(Debug, Default)]
pub(crate) struct Put(pub(crate) Vec<u8>);

impl Put {
    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn u128(&mut self, value: u128) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn count(&mut self, count: usize) -> &mut Self {
        self.u64(count as u64)
    }

    /// A number that is mostly small (LEB128).
    pub(crate) fn short(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.u8(value as u8)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len());
        self.0.extend(bytes);
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// One byte that says whether there is one, and it.
    pub(crate) fn option<T>(
        &mut self,
        value: Option<T>,
        put: impl FnOnce(&mut Self, T),
    ) -> &mut Self {
        self.bool(value.is_some());
        if let Some(value) = value {
            put(self, value);
        }
        self
    }

    pub(crate) fn list<T>(
        &mut self,
        values: &[T],
        mut put: impl FnMut(&mut Self, &T),
    ) -> &mut Self {
        self.count(values.len());
        for value in values {
            put(self, value);
        }
        self
    }
}

/// Reads what may be anything.
#[derive(Debug)]
pub(crate) struct Take<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Take<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }

    fn slice(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count);
        let slice = end.and_then(|end| self.bytes.get(self.at..end));
        let slice = slice.ok_or(self.malformed(what))?;
        self.at += count;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let slice = self.slice(N, what)?;
        slice.try_into().map_err(|_| self.malformed(what))
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn bool(&mut self, what: &'static str) -> Result<bool, Malformed> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed(what)),
        }
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self, what: &'static str) -> Result<u128, Malformed> {
        self.array(what).map(u128::from_le_bytes)
    }

    /// A number that is mostly small (LEB128), in its one shortest form.
    pub(crate) fn short(&mut self, what: &'static str) -> Result<u64, Malformed> {
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
    pub(crate) fn count(&mut self, what: &'static str) -> Result<usize, Malformed> {
        let count = usize::try_from(self.u64(what)?).ok();
        let left = self.bytes.len() - self.at;
        count
            .filter(|count| *count <= left)
            .ok_or(self.malformed(what))
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<Vec<u8>, Malformed> {
        let count = self.count(what)?;
        self.slice(count, what).map(<[u8]>::to_vec)
    }

    pub(crate) fn text(&mut self, what: &'static str) -> Result<String, Malformed> {
        let bytes = self.bytes(what)?;
        String::from_utf8(bytes).map_err(|_| self.malformed(what))
    }

    pub(crate) fn option<T>(
        &mut self,
        what: &'static str,
        take: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        self.bool(what)?.then(|| take(self)).transpose()
    }

    pub(crate) fn list<T>(
        &mut self,
        what: &'static str,
        mut take: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.count(what)?;
        // Room grows with what is there, not with what is said to be.
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(take(self)?);
        }
        Ok(list)
    }

    /// Nothing may be left over.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        match self.at == self.bytes.len() {
            true => Ok(()),
            false => Err(self.malformed("its end")),
        }
    }
}
