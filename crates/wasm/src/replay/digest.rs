//! What came of a call, in short: to see that it comes again, and what doesn't.

use crate::call::Ran;
use crate::wire::{Malformed, Reader, Writer};
use sha2::{Digest as _, Sha256};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest {
    /// Instructions that it took.
    pub instructions: u64,
    /// 64 bits of what it answered.
    pub answer: u64,
    /// Of what is to come of it: logs, cycles, timers, calls.
    pub effects: u64,
    /// Of the globals and sizes that it left.
    pub state: u64,
}

impl Digest {
    /// Of what ran: a call, and what cleaned up after it.
    #[must_use]
    pub fn of<'a>(ran: impl IntoIterator<Item = &'a Ran>) -> Self {
        let mut digest = Self::default();
        let mut hashes = [Sha256::new(), Sha256::new(), Sha256::new()];
        for ran in ran {
            digest.instructions = digest.instructions.wrapping_add(ran.instructions);
            for (hash, part) in hashes.iter_mut().zip(ran.parts()) {
                hash.update(part);
            }
        }
        [digest.answer, digest.effects, digest.state] = hashes.map(|hash| {
            let mut first = [0; 8];
            first.copy_from_slice(&hash.finalize()[..8]);
            u64::from_le_bytes(first)
        });
        digest
    }

    /// The first thing in which another one isn't the same.
    #[must_use]
    pub fn difference(&self, again: &Self) -> Option<String> {
        if self.answer != again.answer {
            return Some("its answer is another".to_owned());
        }
        if self.instructions != again.instructions {
            let (first, now) = (self.instructions, again.instructions);
            return Some(format!("it took {now} instructions, and {first} before"));
        }
        if self.effects != again.effects {
            return Some("what it printed, spent or called is another".to_owned());
        }
        let what = "the globals or sizes that it left are others".to_owned();
        (self.state != again.state).then_some(what)
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer
            .u64(self.instructions)
            .u64(self.answer)
            .u64(self.effects)
            .u64(self.state);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            instructions: reader.u64("instructions")?,
            answer: reader.u64("a digest of an answer")?,
            effects: reader.u64("a digest of effects")?,
            state: reader.u64("a digest of a state")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Answer, Effects, Log, Value};

    #[test]
    fn each_part_is_told_apart() {
        let ran = Ran {
            result: Ok(Some(Answer::Reply(vec![1]))),
            instructions: 5,
            effects: Effects::default(),
            globals: vec![Value::I64(1)],
            heap_pages: 1,
            stable_pages: 2,
        };
        let first = Digest::of([&ran]);
        assert_eq!(first.difference(&Digest::of([&ran.clone()])), None);
        let changed = |change: &dyn Fn(&mut Ran)| {
            let mut ran = ran.clone();
            change(&mut ran);
            first.difference(&Digest::of([&ran])).unwrap()
        };
        assert_eq!(
            changed(&|ran| ran.result = Ok(None)),
            "its answer is another"
        );
        assert_eq!(
            changed(&|ran| ran.instructions = 6),
            "it took 6 instructions, and 5 before"
        );
        let log = Log {
            time: 1,
            text: vec![2],
        };
        assert!(changed(&|ran| ran.effects.logs.push(log.clone())).contains("printed"));
        assert!(changed(&|ran| ran.globals.clear()).contains("globals"));
        assert!(changed(&|ran| ran.stable_pages = 3).contains("sizes"));
        let twice = Digest::of([&ran, &ran]);
        assert!(first.difference(&twice).is_some());
        let mut writer = Writer::default();
        first.write(&mut writer);
        let bytes = writer.finish();
        assert_eq!(Digest::read(&mut Reader::new(&bytes)), Ok(first));
    }
}
