//! Calls and what came of them as bytes: on the way to a worker and back, and in the log.

use super::bytes::{Malformed, Put, Take};
use super::{
    Answer, Call, Callback, Effects, Entry, Failure, Limits, Log, Outgoing, Principal, Ran,
    RejectCode, Statics, Status, Value,
};
use crate::system::Context;

impl Call {
    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut put = Put::default();
        entry(&mut put, &self.entry);
        put.bytes(&self.argument)
            .text(&self.method)
            .bytes(self.caller.as_slice())
            .bool(self.is_answered)
            .u64(self.deadline)
            .u64(self.time)
            .u128(self.cycles)
            .option(self.rejected.as_ref(), |put, (code, text)| {
                put.u8(*code as u8).text(text);
            });
        statics(&mut put, &self.statics);
        let limits = &self.limits;
        put.u64(limits.instructions)
            .u64(limits.memory)
            .u64(limits.grows_by)
            .u64(limits.stable_reads)
            .u64(limits.stable_writes)
            .u64(limits.reply);
        put.0
    }

    /// From bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let take = &mut Take::new(bytes);
        let call = Self {
            entry: take_entry(take)?,
            argument: take.bytes("an argument")?,
            method: take.text("a method")?,
            caller: principal(take)?,
            is_answered: take.bool("whether it is answered")?,
            deadline: take.u64("a deadline")?,
            time: take.u64("a time")?,
            cycles: take.u128("cycles")?,
            rejected: take.option("whether it was rejected", |take| {
                let code = RejectCode::of(take.u8("a reject code")?);
                let code = code.ok_or(take.malformed("a reject code"))?;
                Ok((code, take.text("a rejection")?))
            })?,
            statics: take_statics(take)?,
            limits: Limits {
                instructions: take.u64("a limit")?,
                memory: take.u64("a limit")?,
                grows_by: take.u64("a limit")?,
                stable_reads: take.u64("a limit")?,
                stable_writes: take.u64("a limit")?,
                reply: take.u64("a limit")?,
            },
        };
        take.end().map(|()| call)
    }
}

impl Ran {
    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut put = Put::default();
        match &self.result {
            Ok(None) => put.u8(0),
            Ok(Some(Answer::Reply(bytes))) => put.u8(1).bytes(bytes),
            Ok(Some(Answer::Reject(text))) => put.u8(2).text(text),
            Err(failure) => {
                put.u8(3);
                self::failure(&mut put, failure);
                &mut put
            }
        };
        put.u64(self.instructions);
        effects(&mut put, &self.effects);
        put.list(&self.globals, |put, value| value.put(put))
            .u64(self.heap_pages)
            .u64(self.stable_pages);
        put.0
    }

    /// From bytes, which may be anybody's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let take = &mut Take::new(bytes);
        let ran = Self {
            result: match take.u8("an outcome")? {
                0 => Ok(None),
                1 => Ok(Some(Answer::Reply(take.bytes("a reply")?))),
                2 => Ok(Some(Answer::Reject(take.text("a rejection")?))),
                3 => Err(take_failure(take)?),
                _ => return Err(take.malformed("an outcome")),
            },
            instructions: take.u64("instructions")?,
            effects: take_effects(take)?,
            globals: take.list("globals", Value::take)?,
            heap_pages: take.u64("a size")?,
            stable_pages: take.u64("a size")?,
        };
        take.end().map(|()| ran)
    }
}

impl Value {
    pub(crate) fn put(&self, put: &mut Put) {
        match self {
            Self::I32(bits) => put.u8(0).u32(bits.cast_unsigned()),
            Self::I64(bits) => put.u8(1).u64(bits.cast_unsigned()),
            Self::F32(bits) => put.u8(2).u32(*bits),
            Self::F64(bits) => put.u8(3).u64(*bits),
            Self::V128(bits) => put.u8(4).u128(*bits),
        };
    }

    pub(crate) fn take(take: &mut Take<'_>) -> Result<Self, Malformed> {
        Ok(match take.u8("a type")? {
            0 => Self::I32(take.u32("a global")?.cast_signed()),
            1 => Self::I64(take.u64("a global")?.cast_signed()),
            2 => Self::F32(take.u32("a global")?),
            3 => Self::F64(take.u64("a global")?),
            4 => Self::V128(take.u128("a global")?),
            _ => return Err(take.malformed("a type")),
        })
    }
}

fn entry(put: &mut Put, entry: &Entry) {
    match entry {
        Entry::Start => put.u8(0),
        Entry::Init => put.u8(1),
        Entry::PreUpgrade => put.u8(2),
        Entry::PostUpgrade => put.u8(3),
        Entry::Inspect => put.u8(4),
        Entry::Heartbeat => put.u8(5),
        Entry::Timer => put.u8(6),
        Entry::Update(name) => put.u8(7).text(name),
        Entry::ReplicatedQuery(name) => put.u8(8).text(name),
        Entry::Query(name) => put.u8(9).text(name),
        Entry::CompositeQuery(name) => put.u8(10).text(name),
        Entry::Callback {
            context,
            function,
            environment,
        } => put
            .u8(11)
            .u8(*context as u8)
            .u64(*function)
            .u64(*environment),
    };
}

fn take_entry(take: &mut Take<'_>) -> Result<Entry, Malformed> {
    Ok(match take.u8("an entry")? {
        0 => Entry::Start,
        1 => Entry::Init,
        2 => Entry::PreUpgrade,
        3 => Entry::PostUpgrade,
        4 => Entry::Inspect,
        5 => Entry::Heartbeat,
        6 => Entry::Timer,
        7 => Entry::Update(take.text("a method")?),
        8 => Entry::ReplicatedQuery(take.text("a method")?),
        9 => Entry::Query(take.text("a method")?),
        10 => Entry::CompositeQuery(take.text("a method")?),
        11 => Entry::Callback {
            context: {
                let context = Context::ALL.get(usize::from(take.u8("a context")?));
                *context.ok_or(take.malformed("a context"))?
            },
            function: take.u64("a function")?,
            environment: take.u64("an environment")?,
        },
        _ => return Err(take.malformed("an entry")),
    })
}

fn principal(take: &mut Take<'_>) -> Result<Principal, Malformed> {
    let bytes = take.bytes("a principal")?;
    Principal::new(&bytes).map_err(|_| take.malformed("a principal"))
}

fn statics(put: &mut Put, statics: &Statics) {
    put.bytes(statics.canister.as_slice())
        .list(&statics.controllers, |put, who| {
            put.bytes(who.as_slice());
        })
        .u8(statics.status.number() as u8)
        .u64(statics.version)
        .u128(statics.cycles)
        .u64(statics.timer);
}

fn take_statics(take: &mut Take<'_>) -> Result<Statics, Malformed> {
    Ok(Statics {
        canister: principal(take)?,
        controllers: take.list("controllers", principal)?,
        status: match take.u8("a status")? {
            1 => Status::Running,
            2 => Status::Stopping,
            3 => Status::Stopped,
            _ => return Err(take.malformed("a status")),
        },
        version: take.u64("a version")?,
        cycles: take.u128("cycles")?,
        timer: take.u64("a time")?,
    })
}

fn failure(put: &mut Put, failure: &Failure) {
    let frames = |put: &mut Put, frames: &[String]| {
        put.list(frames, |put, frame| {
            put.text(frame);
        });
    };
    match failure {
        Failure::Trap { kind, frames: at } => frames(put.u8(0).text(kind), at),
        Failure::Canister {
            message,
            frames: at,
        } => frames(put.u8(1).text(message), at),
        Failure::Contract { function, why } => {
            put.u8(2).text(function).text(why);
        }
        Failure::Instructions { limit } => {
            put.u8(3).u64(*limit);
        }
        Failure::Memory(why) => {
            put.u8(4).text(why);
        }
        Failure::NoMethod(name) => {
            put.u8(5).text(name);
        }
    }
}

fn take_failure(take: &mut Take<'_>) -> Result<Failure, Malformed> {
    let frames = |take: &mut Take<'_>| take.list("frames", |take| take.text("a frame"));
    Ok(match take.u8("a failure")? {
        0 => Failure::Trap {
            kind: take.text("a trap")?,
            frames: frames(take)?,
        },
        1 => Failure::Canister {
            message: take.text("a message")?,
            frames: frames(take)?,
        },
        2 => Failure::Contract {
            function: take.text("a function")?,
            why: take.text("a reason")?,
        },
        3 => Failure::Instructions {
            limit: take.u64("a limit")?,
        },
        4 => Failure::Memory(take.text("a reason")?),
        5 => Failure::NoMethod(take.text("a method")?),
        _ => return Err(take.malformed("a failure")),
    })
}

fn effects(put: &mut Put, effects: &Effects) {
    put.list(&effects.logs, |put, log| {
        put.u64(log.time).bytes(&log.text);
    })
    .u128(effects.accepted)
    .u128(effects.burned)
    .option(effects.certified.as_deref(), |put, bytes| {
        put.bytes(bytes);
    })
    .option(effects.timer, |put, time| {
        put.u64(time);
    })
    .bool(effects.accepts_message)
    .list(&effects.calls, |put, call| {
        put.bytes(call.callee.as_slice())
            .text(&call.method)
            .bytes(&call.argument)
            .u128(call.cycles)
            .option(call.timeout, |put, seconds| {
                put.u32(seconds);
            });
        callback(put, call.on_reply);
        callback(put, call.on_reject);
        put.option(call.cleanup, callback);
    });
}

fn take_effects(take: &mut Take<'_>) -> Result<Effects, Malformed> {
    Ok(Effects {
        logs: take.list("logs", |take| {
            Ok(Log {
                time: take.u64("a time")?,
                text: take.bytes("a line")?,
            })
        })?,
        accepted: take.u128("cycles")?,
        burned: take.u128("cycles")?,
        certified: take.option("certified data", |take| take.bytes("certified data"))?,
        timer: take.option("a timer", |take| take.u64("a time"))?,
        accepts_message: take.bool("whether it is accepted")?,
        calls: take.list("calls", |take| {
            Ok(Outgoing {
                callee: principal(take)?,
                method: take.text("a method")?,
                argument: take.bytes("an argument")?,
                cycles: take.u128("cycles")?,
                timeout: take.option("a timeout", |take| take.u32("a timeout"))?,
                on_reply: take_callback(take)?,
                on_reject: take_callback(take)?,
                cleanup: take.option("a callback", take_callback)?,
            })
        })?,
        begun: None,
    })
}

fn callback(put: &mut Put, callback: Callback) {
    put.u64(callback.function).u64(callback.environment);
}

fn take_callback(take: &mut Take<'_>) -> Result<Callback, Malformed> {
    Ok(Callback {
        function: take.u64("a function")?,
        environment: take.u64("an environment")?,
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
        assert_eq!(Ran::from_bytes(&more).unwrap_err().what, "its end");
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
