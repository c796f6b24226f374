//! What the controller and its tree say to each other: keeper and launcher, which are of our own code
//! and see nothing of a guest. Still, what comes is decoded as if anybody could have sent it.
//!
//! They talk in whole messages ([`casemate_sys::channel`]): an order, and its answer. Deaths go over a
//! channel of their own, as nobody asks for them.

use super::Death;
use crate::wire::{Hello, Malformed, Reader, Writer};
use casemate_core::error::{Cause, Error};

/// The longest configuration that a runtime gets, bytes.
pub const LONGEST_CONFIG: usize = 2048;

/// The longest text in an error.
const LONGEST_TEXT: usize = 800;

/// From the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// To the entry: make the namespaces, with this user inside if not one's own. Descriptor: where
    /// deaths are reported.
    Enter(Option<(u32, u32)>),
    /// To the launcher: get ready.
    Launch {
        pool: u32,
        data: u64,
        open_files: u64,
        config: Vec<u8>,
    },
    /// A worker, from the pool if it holds one.
    Worker,
    /// A compiler. Descriptors: what it reads, what it writes.
    Compile {
        memory: u64,
        output: u64,
        seconds: u64,
    },
}

/// To the controller.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// Who starts.
    Hello(Hello),
    /// The keeper was made. Descriptor: its pidfd.
    Born,
    /// The launcher is ready.
    Ready,
    /// A worker or a compiler. Its id in the keeper's namespace; descriptors: its pidfd, its control
    /// socket, its standard error.
    Handed(i32),
    /// A step failed.
    Failed(Error),
}

/// How a process that was handed out ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    /// Its id in the keeper's namespace.
    pub(super) pid: i32,
    pub(super) death: Death,
}

impl Order {
    pub(super) fn encode(&self) -> Vec<u8> {
        let writer = &mut Writer::default();
        match self {
            Self::Enter(None) => writer.u8(0),
            Self::Enter(Some((uid, gid))) => writer.u8(1).u32(*uid).u32(*gid),
            Self::Launch {
                pool,
                data,
                open_files,
                config,
            } => writer
                .u8(2)
                .u32(*pool)
                .u64(*data)
                .u64(*open_files)
                .bytes(config),
            Self::Worker => writer.u8(3),
            Self::Compile {
                memory,
                output,
                seconds,
            } => writer.u8(4).u64(*memory).u64(*output).u64(*seconds),
        }
        .finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let order = match reader.u8("an order")? {
            0 => Self::Enter(None),
            1 => Self::Enter(Some((reader.u32("a user")?, reader.u32("a group")?))),
            2 => Self::Launch {
                pool: reader.u32("a number of workers")?,
                data: reader.u64("a limit")?,
                open_files: reader.u64("a limit")?,
                config: reader
                    .bytes_within(LONGEST_CONFIG, "a configuration")?
                    .to_vec(),
            },
            3 => Self::Worker,
            4 => Self::Compile {
                memory: reader.u64("a limit")?,
                output: reader.u64("a limit")?,
                seconds: reader.u64("a time")?,
            },
            _ => return Err(reader.malformed("an order")),
        };
        reader.end()?;
        Ok(order)
    }
}

impl Answer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let writer = &mut Writer::default();
        match self {
            Self::Hello(hello) => writer.u8(0).raw(&hello.encode()),
            Self::Born => writer.u8(1),
            Self::Ready => writer.u8(2),
            Self::Handed(pid) => writer.u8(3).i32(*pid),
            Self::Failed(error) => writer.u8(4).raw(&encode_error(error)),
        }
        .finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let rest = bytes.get(1..).unwrap_or_default();
        let answer = match reader.u8("an answer")? {
            0 => return Hello::decode(rest).map(Self::Hello),
            1 => Self::Born,
            2 => Self::Ready,
            3 => Self::Handed(reader.i32("a process id")?),
            4 => return decode_error(rest).map(Self::Failed),
            _ => return Err(reader.malformed("an answer")),
        };
        reader.end()?;
        Ok(answer)
    }
}

impl Report {
    pub(super) fn encode(self) -> Vec<u8> {
        let (kind, number) = match self.death {
            Death::Exited(status) => (0, status),
            Death::Killed(signal) => (1, signal),
            Death::WithKeeper => (2, 0),
        };
        Writer::default()
            .i32(self.pid)
            .u8(kind)
            .i32(number)
            .finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let pid = reader.i32("a process id")?;
        let kind = reader.u8("a death")?;
        let unknown = reader.malformed("a death");
        let number = reader.i32("a status")?;
        reader.end()?;
        let death = match kind {
            0 => Death::Exited(number),
            1 => Death::Killed(number),
            2 => Death::WithKeeper,
            _ => return Err(unknown),
        };
        Ok(Self { pid, death })
    }
}

/// An error as a payload; long texts are cut.
pub(super) fn encode_error(error: &Error) -> Vec<u8> {
    let cut = |text: &str| text[..text.floor_char_boundary(LONGEST_TEXT)].to_owned();
    let optional = |text: &Option<String>| cut(text.as_deref().unwrap_or_default());
    let (errno, rule) = match &error.cause {
        Cause::Errno(errno) => (*errno, String::new()),
        Cause::Rule(rule) => (0, cut(rule)),
    };
    Writer::default()
        .i32(errno)
        .text(&rule)
        .text(&cut(&error.step))
        .text(&optional(&error.object))
        .text(&optional(&error.hint))
        .finish()
}

/// The error in a payload.
pub(super) fn decode_error(payload: &[u8]) -> Result<Error, Malformed> {
    let mut reader = Reader::new(payload);
    let errno = reader.i32("an error's number")?;
    let mut text = || {
        reader
            .text_within(LONGEST_TEXT, "an error's text")
            .map(str::to_owned)
    };
    let (rule, step, object, hint) = (text()?, text()?, text()?, text()?);
    reader.end()?;
    let some = |text: String| (!text.is_empty()).then_some(text);
    Ok(Error {
        step,
        object: some(object),
        cause: match errno {
            0 => Cause::Rule(rule),
            errno => Cause::Errno(errno),
        },
        hint: some(hint),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::BuildId;
    use proptest::prelude::*;

    #[test]
    fn messages_survive_the_way() {
        for order in [
            Order::Enter(None),
            Order::Enter(Some((1, 2))),
            Order::Launch {
                pool: 4,
                data: 5,
                open_files: 6,
                config: b"seven".to_vec(),
            },
            Order::Worker,
            Order::Compile {
                memory: 1,
                output: 2,
                seconds: 3,
            },
        ] {
            assert_eq!(Order::decode(&order.encode()), Ok(order));
        }
        let hello = Hello {
            build: BuildId([1; 32]),
            pid: 9,
        };
        let error = Error::errno("mount", 1).on("x").hint("y");
        for answer in [
            Answer::Hello(hello),
            Answer::Born,
            Answer::Ready,
            Answer::Handed(7),
            Answer::Failed(error),
            Answer::Failed(Error::rule("start", "z")),
        ] {
            assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }
        for death in [Death::Exited(3), Death::Killed(9), Death::WithKeeper] {
            let report = Report { pid: 5, death };
            assert_eq!(Report::decode(&report.encode()), Ok(report));
        }
    }

    #[test]
    fn the_longest_error_fits_a_message() {
        let long = "ä".repeat(2 * LONGEST_TEXT);
        let error = Error::rule(&*long, &*long).on(&long).hint(&*long);
        let message = Answer::Failed(error).encode();
        assert!(message.len() <= casemate_sys::channel::MAX);
        assert!(Answer::decode(&message).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_refused(bytes: Vec<u8>) {
            let _ = Report::decode(&bytes);
            if let Ok(order) = Order::decode(&bytes) {
                prop_assert_eq!(order.encode(), &bytes[..]);
            }
            if let Ok(answer) = Answer::decode(&bytes) {
                prop_assert!(Answer::decode(&answer.encode()).is_ok());
            }
        }
    }
}
