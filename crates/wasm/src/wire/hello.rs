//! The first frame of a process: who it is.
//!
//! A process that was started from another build than the controller would take messages for what
//! they are not. It is refused before it gets any.

use super::{Malformed, Reader, Writer};
use crate::process::BuildId;

/// No other program begins to talk like this.
const MAGIC: [u8; 8] = *b"cm-wasm\x01";

/// A process's first words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// What it was built from.
    pub build: BuildId,
    /// Its id, as it sees itself.
    pub pid: i32,
}

impl Hello {
    /// This process's.
    pub fn own(build: BuildId) -> Self {
        Self {
            build,
            pid: rustix::process::getpid().as_raw_nonzero().get(),
        }
    }

    /// As a payload.
    pub fn encode(&self) -> Vec<u8> {
        let writer = &mut Writer::default();
        writer.raw(&MAGIC).raw(&self.build.0);
        writer.i32(self.pid).finish()
    }

    /// From a payload.
    ///
    /// # Errors
    /// It isn't one.
    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.take("a greeting")? != MAGIC {
            return Err(reader.malformed("a greeting"));
        }
        let hello = Self {
            build: BuildId(reader.take("a build")?),
            pid: reader.i32("a process id")?,
        };
        reader.end()?;
        Ok(hello)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Fault;
    use proptest::prelude::*;

    const HELLO: Hello = Hello {
        build: BuildId([7; 32]),
        pid: 1,
    };

    #[test]
    fn it_survives_the_way() {
        assert_eq!(Hello::decode(&HELLO.encode()), Ok(HELLO));
        let mut other = HELLO.encode();
        other[7] = 2;
        let refused = Hello::decode(&other).unwrap_err();
        assert_eq!(
            refused,
            Malformed::Field {
                at: 0,
                what: "a greeting",
                fault: Fault::Meaningless
            }
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_one_or_refused(bytes: Vec<u8>) {
            if let Ok(hello) = Hello::decode(&bytes) {
                prop_assert_eq!(hello.encode(), bytes);
            }
        }

        #[test]
        fn a_cut_one_is_refused(end in 0..44usize) {
            let refused = Hello::decode(&HELLO.encode()[..end]);
            let is_cut = matches!(refused, Err(Malformed::Field { fault: Fault::Cut, .. }));
            prop_assert!(is_cut, "{refused:?}");
        }
    }
}
