//! Calls and what came of them as bytes: on the way to a worker and back, and in the log.

use super::{
    Answer, Call, Callback, Effects, Entry, Failure, Limits, Log, Outgoing, Principal, Ran,
    RejectCode, Statics, Status, Value,
};
use crate::system::Context;
use crate::wire::{Malformed, Reader, Writer};

impl Call {
    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        entry(&mut writer, &self.entry);
        writer
            .bytes(&self.argument)
            .text(&self.method)
            .bytes(self.caller.as_slice())
            .bool(self.is_answered)
            .u64(self.deadline)
            .u64(self.time)
            .u128(self.cycles)
            .option(self.rejected.as_ref(), |writer, (code, text)| {
                writer.u8(*code as u8).text(text);
            });
        writer
            .u128(self.refunded)
            .u64(self.instructions_before)
            .list(&self.queued, |writer, (callee, calls)| {
                writer.bytes(callee.as_slice()).u32(*calls);
            });
        statics(&mut writer, &self.statics);
        let limits = &self.limits;
        writer
            .u64(limits.instructions)
            .u64(limits.slice)
            .u64(limits.dirty)
            .u64(limits.memory)
            .u64(limits.grows_by)
            .u64(limits.stable_reads)
            .u64(limits.stable_writes)
            .u64(limits.reply);
        writer.finish()
    }

    /// From bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let reader = &mut Reader::new(bytes);
        let call = Self {
            entry: read_entry(reader)?,
            argument: reader.bytes("an argument")?,
            method: reader.text("a method")?,
            caller: Principal::read(reader)?,
            is_answered: reader.bool("whether it is answered")?,
            deadline: reader.u64("a deadline")?,
            time: reader.u64("a time")?,
            cycles: reader.u128("cycles")?,
            rejected: reader.option("whether it was rejected", |reader| {
                let code = RejectCode::of(reader.u8("a reject code")?);
                let code = code.ok_or(reader.malformed("a reject code"))?;
                Ok((code, reader.text("a rejection")?))
            })?,
            refunded: reader.u128("cycles")?,
            instructions_before: reader.u64("instructions")?,
            queued: reader.list("calls", |reader| {
                Ok((Principal::read(reader)?, reader.u32("calls")?))
            })?,
            statics: read_statics(reader)?,
            limits: Limits {
                instructions: reader.u64("a limit")?,
                slice: reader.u64("a limit")?,
                dirty: reader.u64("a limit")?,
                memory: reader.u64("a limit")?,
                grows_by: reader.u64("a limit")?,
                stable_reads: reader.u64("a limit")?,
                stable_writes: reader.u64("a limit")?,
                reply: reader.u64("a limit")?,
            },
        };
        reader.end().map(|()| call)
    }
}

impl Ran {
    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        write_result(&mut writer, &self.result);
        writer.u64(self.instructions);
        effects(&mut writer, &self.effects);
        left(&mut writer, self);
        writer.finish()
    }

    /// Each as bytes: what it answered, what is to come of it, and what it left.
    pub(crate) fn parts(&self) -> [Vec<u8>; 3] {
        let mut writers: [Writer; 3] = Default::default();
        let [answered, to_come, remains] = &mut writers;
        write_result(answered, &self.result);
        effects(to_come, &self.effects);
        left(remains, self);
        writers.map(|mut writer| writer.finish())
    }

    /// From bytes, which may be anybody's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let reader = &mut Reader::new(bytes);
        let ran = Self {
            result: read_result(reader)?,
            instructions: reader.u64("instructions")?,
            effects: read_effects(reader)?,
            globals: reader.list("globals", Value::read)?,
            heap_pages: reader.u64("a size")?,
            stable_pages: reader.u64("a size")?,
        };
        reader.end().map(|()| ran)
    }
}

impl Value {
    pub(crate) fn write(&self, writer: &mut Writer) {
        match self {
            Self::I32(bits) => writer.u8(0).u32(bits.cast_unsigned()),
            Self::I64(bits) => writer.u8(1).u64(bits.cast_unsigned()),
            Self::F32(bits) => writer.u8(2).u32(*bits),
            Self::F64(bits) => writer.u8(3).u64(*bits),
            Self::V128(bits) => writer.u8(4).u128(*bits),
        };
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match reader.u8("a type")? {
            0 => Self::I32(reader.u32("a global")?.cast_signed()),
            1 => Self::I64(reader.u64("a global")?.cast_signed()),
            2 => Self::F32(reader.u32("a global")?),
            3 => Self::F64(reader.u64("a global")?),
            4 => Self::V128(reader.u128("a global")?),
            _ => return Err(reader.malformed("a type")),
        })
    }
}

fn left(writer: &mut Writer, ran: &Ran) {
    writer
        .list(&ran.globals, |writer, value| value.write(writer))
        .u64(ran.heap_pages)
        .u64(ran.stable_pages);
}

fn entry(writer: &mut Writer, entry: &Entry) {
    match entry {
        Entry::Start => writer.u8(0),
        Entry::Init => writer.u8(1),
        Entry::PreUpgrade => writer.u8(2),
        Entry::PostUpgrade => writer.u8(3),
        Entry::Inspect => writer.u8(4),
        Entry::Heartbeat => writer.u8(5),
        Entry::Timer => writer.u8(6),
        Entry::Update(name) => writer.u8(7).text(name),
        Entry::ReplicatedQuery(name) => writer.u8(8).text(name),
        Entry::Query(name) => writer.u8(9).text(name),
        Entry::CompositeQuery(name) => writer.u8(10).text(name),
        Entry::Callback {
            context,
            function,
            environment,
        } => writer
            .u8(11)
            .u8(*context as u8)
            .u64(*function)
            .u64(*environment),
    };
}

fn read_entry(reader: &mut Reader<'_>) -> Result<Entry, Malformed> {
    Ok(match reader.u8("an entry")? {
        0 => Entry::Start,
        1 => Entry::Init,
        2 => Entry::PreUpgrade,
        3 => Entry::PostUpgrade,
        4 => Entry::Inspect,
        5 => Entry::Heartbeat,
        6 => Entry::Timer,
        7 => Entry::Update(reader.text("a method")?),
        8 => Entry::ReplicatedQuery(reader.text("a method")?),
        9 => Entry::Query(reader.text("a method")?),
        10 => Entry::CompositeQuery(reader.text("a method")?),
        11 => Entry::Callback {
            context: {
                let context = Context::ALL.get(usize::from(reader.u8("a context")?));
                *context.ok_or(reader.malformed("a context"))?
            },
            function: reader.u64("a function")?,
            environment: reader.u64("an environment")?,
        },
        _ => return Err(reader.malformed("an entry")),
    })
}

impl Principal {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bytes = reader.bytes("a principal")?;
        Self::new(&bytes).map_err(|_| reader.malformed("a principal"))
    }
}

impl Outgoing {
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer
            .bytes(self.callee.as_slice())
            .text(&self.method)
            .bytes(&self.argument)
            .u128(self.cycles)
            .option(self.timeout, |writer, seconds| {
                writer.u32(seconds);
            });
        callback(writer, self.on_reply);
        callback(writer, self.on_reject);
        writer.option(self.cleanup, callback);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            callee: Principal::read(reader)?,
            method: reader.text("a method")?,
            argument: reader.bytes("an argument")?,
            cycles: reader.u128("cycles")?,
            timeout: reader.option("a timeout", |reader| reader.u32("a timeout"))?,
            on_reply: read_callback(reader)?,
            on_reject: read_callback(reader)?,
            cleanup: reader.option("a callback", read_callback)?,
        })
    }
}

pub(crate) fn write_result(writer: &mut Writer, result: &Result<Option<Answer>, Failure>) {
    match result {
        Ok(None) => {
            writer.u8(0);
        }
        Ok(Some(Answer::Reply(bytes))) => {
            writer.u8(1).bytes(bytes);
        }
        Ok(Some(Answer::Reject(text))) => {
            writer.u8(2).text(text);
        }
        Err(failure) => {
            writer.u8(3);
            self::failure(writer, failure);
        }
    }
}

pub(crate) fn read_result(
    reader: &mut Reader<'_>,
) -> Result<Result<Option<Answer>, Failure>, Malformed> {
    Ok(match reader.u8("an outcome")? {
        0 => Ok(None),
        1 => Ok(Some(Answer::Reply(reader.bytes("a reply")?))),
        2 => Ok(Some(Answer::Reject(reader.text("a rejection")?))),
        3 => Err(read_failure(reader)?),
        _ => return Err(reader.malformed("an outcome")),
    })
}

fn statics(writer: &mut Writer, statics: &Statics) {
    writer
        .bytes(statics.canister.as_slice())
        .list(&statics.controllers, |writer, who| {
            writer.bytes(who.as_slice());
        })
        .u8(statics.status.number() as u8)
        .u64(statics.version)
        .u128(statics.cycles)
        .u64(statics.timer);
}

fn read_statics(reader: &mut Reader<'_>) -> Result<Statics, Malformed> {
    Ok(Statics {
        canister: Principal::read(reader)?,
        controllers: reader.list("controllers", Principal::read)?,
        status: match reader.u8("a status")? {
            1 => Status::Running,
            2 => Status::Stopping,
            3 => Status::Stopped,
            _ => return Err(reader.malformed("a status")),
        },
        version: reader.u64("a version")?,
        cycles: reader.u128("cycles")?,
        timer: reader.u64("a time")?,
    })
}

fn failure(writer: &mut Writer, failure: &Failure) {
    let frames = |writer: &mut Writer, frames: &[String]| {
        writer.list(frames, |writer, frame| {
            writer.text(frame);
        });
    };
    match failure {
        Failure::Trap { kind, frames: at } => frames(writer.u8(0).text(kind), at),
        Failure::Canister {
            message,
            frames: at,
        } => frames(writer.u8(1).text(message), at),
        Failure::Contract { function, why } => {
            writer.u8(2).text(function).text(why);
        }
        Failure::Instructions { limit } => {
            writer.u8(3).u64(*limit);
        }
        Failure::Memory(why) => {
            writer.u8(4).text(why);
        }
        Failure::NoMethod(name) => {
            writer.u8(5).text(name);
        }
        Failure::NoAnswer => {
            writer.u8(6);
        }
        Failure::Crashed => {
            writer.u8(7);
        }
        Failure::Slices { slice } => {
            writer.u8(8).u64(*slice);
        }
        Failure::Aborted => {
            writer.u8(9);
        }
    }
}

fn read_failure(reader: &mut Reader<'_>) -> Result<Failure, Malformed> {
    let frames = |reader: &mut Reader<'_>| reader.list("frames", |reader| reader.text("a frame"));
    Ok(match reader.u8("a failure")? {
        0 => Failure::Trap {
            kind: reader.text("a trap")?,
            frames: frames(reader)?,
        },
        1 => Failure::Canister {
            message: reader.text("a message")?,
            frames: frames(reader)?,
        },
        2 => Failure::Contract {
            function: reader.text("a function")?,
            why: reader.text("a reason")?,
        },
        3 => Failure::Instructions {
            limit: reader.u64("a limit")?,
        },
        4 => Failure::Memory(reader.text("a reason")?),
        5 => Failure::NoMethod(reader.text("a method")?),
        6 => Failure::NoAnswer,
        7 => Failure::Crashed,
        8 => Failure::Slices {
            slice: reader.u64("a limit")?,
        },
        9 => Failure::Aborted,
        _ => return Err(reader.malformed("a failure")),
    })
}

fn effects(writer: &mut Writer, effects: &Effects) {
    writer
        .list(&effects.logs, |writer, log| {
            writer.u64(log.time).bytes(&log.text);
        })
        .u128(effects.accepted)
        .u128(effects.burned)
        .option(effects.certified.as_deref(), |writer, bytes| {
            writer.bytes(bytes);
        })
        .option(effects.timer, |writer, time| {
            writer.u64(time);
        })
        .bool(effects.accepts_message)
        .list(&effects.calls, |writer, call| call.write(writer));
}

fn read_effects(reader: &mut Reader<'_>) -> Result<Effects, Malformed> {
    Ok(Effects {
        logs: reader.list("logs", |reader| {
            Ok(Log {
                time: reader.u64("a time")?,
                text: reader.bytes("a line")?,
            })
        })?,
        accepted: reader.u128("cycles")?,
        burned: reader.u128("cycles")?,
        certified: reader.option("certified data", |reader| reader.bytes("certified data"))?,
        timer: reader.option("a timer", |reader| reader.u64("a time"))?,
        accepts_message: reader.bool("whether it is accepted")?,
        calls: reader.list("calls", Outgoing::read)?,
        begun: None,
    })
}

fn callback(writer: &mut Writer, callback: Callback) {
    writer.u64(callback.function).u64(callback.environment);
}

fn read_callback(reader: &mut Reader<'_>) -> Result<Callback, Malformed> {
    Ok(Callback {
        function: reader.u64("a function")?,
        environment: reader.u64("an environment")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn a_call() -> Call {
        let mut call = Call::new(
            Entry::Update("increment".to_owned()),
            Statics::of(Principal::of_canister(7)),
        );
        call.argument = b"DIDL\0\0".to_vec();
        call.rejected = Some((RejectCode::CanisterError, "no".to_owned()));
        call.statics.controllers = vec![Principal::ANONYMOUS, Principal::of_key(b"k")];
        call.cycles = u128::MAX;
        call.instructions_before = 9;
        call.refunded = 8;
        call.queued = vec![(Principal::of_canister(8), 3)];
        call
    }

    fn a_ran() -> Ran {
        let callback = Callback {
            function: 1,
            environment: 2,
        };
        Ran {
            result: Err(Failure::Canister {
                message: "no".to_owned(),
                frames: vec!["f (offset 0x3)".to_owned()],
            }),
            instructions: 17,
            effects: Effects {
                logs: vec![Log {
                    time: 1,
                    text: vec![0xff],
                }],
                certified: Some(vec![1; 32]),
                timer: Some(0),
                calls: vec![Outgoing {
                    callee: Principal::MANAGEMENT,
                    method: "raw_rand".to_owned(),
                    argument: vec![],
                    cycles: 5,
                    timeout: Some(3),
                    on_reply: callback,
                    on_reject: callback,
                    cleanup: Some(callback),
                }],
                ..Effects::default()
            },
            globals: vec![
                Value::I32(-1),
                Value::I64(i64::MIN),
                Value::F32(f32::NAN.to_bits()),
                Value::F64(1),
                Value::V128(u128::MAX),
            ],
            heap_pages: 3,
            stable_pages: 4,
        }
    }

    #[test]
    fn they_come_back() {
        assert_eq!(Call::from_bytes(&a_call().to_bytes()), Ok(a_call()));
        assert_eq!(Ran::from_bytes(&a_ran().to_bytes()), Ok(a_ran()));
    }

    #[test]
    fn a_part_is_none_and_neither_is_more() {
        let whole = a_ran().to_bytes();
        for length in 0..whole.len() {
            assert!(Ran::from_bytes(&whole[..length]).is_err(), "{length}");
        }
        let more = [whole, vec![0]].concat();
        assert_eq!(
            Ran::from_bytes(&more).unwrap_err().to_string(),
            format!(
                "its end, at byte {}: bytes follow the last field",
                more.len() - 1
            )
        );
    }

    proptest! {
        /// Whatever is read is what was written of it: nothing has two forms.
        #[test]
        fn anything_is_refused_or_comes_back(
            at in 0..400_usize, byte: u8, noise in prop::collection::vec(any::<u8>(), 0..64)
        ) {
            for base in [a_ran().to_bytes(), noise] {
                let mut bytes = base;
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
                if let Ok(ran) = Ran::from_bytes(&bytes) {
                    prop_assert_eq!(ran.to_bytes(), bytes);
                }
            }
        }
    }
}
