//! What the sandbox tells its supervisor, and the other way round.
//!
//! Until the program is executed, only code of ours writes to the channel, and afterwards only
//! init does: the program never holds an end of it. Messages are still decoded as if anybody
//! could have sent them.

use casemate_core::error::{Cause, Error};
use casemate_core::exit::Failure;

/// From the sandbox to the supervisor.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    /// The view stands. Descriptors: its root, its /proc, its private disk, a sock_diag socket.
    View,
    /// A pseudo-terminal was made. Descriptor: its master side.
    Terminal,
    /// The filter is in place. Descriptor: its listener.
    Listener,
    /// The fence stands. Descriptors: a sock_diag socket, and three sockets for each IP version.
    Doors,
    /// A step failed; nothing was run.
    Failed(Failure),
    /// The program was stopped by a signal, as Ctrl-Z does.
    Stopped,
    /// Sockets of the sandbox's network were made, as often as ordered. Descriptors: TCP over IPv4
    /// and, if there is IPv6, over IPv6, by turns.
    Sockets,
    /// Every process was told to stop, or to go on, as ordered.
    Obeyed,
    /// So many bytes are in System V segments, which belong to no process.
    Segments(u64),
    /// The program ended and everything inside is dead.
    Exited(Exit),
}

/// The end of the program.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Exit {
    /// Exit status, or the signal's number with `signaled`.
    pub(crate) status: i32,
    pub(crate) signaled: bool,
    pub(crate) user_micros: u64,
    pub(crate) system_micros: u64,
    pub(crate) max_rss: u64,
    /// The last process id that was given out inside.
    pub(crate) last_pid: u64,
    /// Processes that were still there when the program failed.
    pub(crate) left: u64,
}

/// From the supervisor to init.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Order {
    /// Send a signal to the program.
    Signal(i32),
    /// Send a signal to the program's process group, as a terminal would.
    SignalGroup(i32),
    /// Say how many bytes are in System V segments.
    Count,
    /// Make sockets.
    Sockets,
    /// Stop every process.
    Halt,
    /// Continue every process.
    Continue,
    /// Continue one.
    Wake(i32),
    /// Kill everything and say what it used.
    End,
}

impl Order {
    pub(crate) fn encode(self) -> [u8; 5] {
        let plain = |tag| [tag, 0, 0, 0, 0];
        let with = |tag, number: i32| {
            let [a, b, c, d] = number.to_le_bytes();
            [tag, a, b, c, d]
        };
        match self {
            Self::Signal(number) => with(b's', number),
            Self::SignalGroup(number) => with(b'g', number),
            Self::Count => plain(b'c'),
            Self::Sockets => plain(b'n'),
            Self::Halt => plain(b'h'),
            Self::Continue => plain(b'o'),
            Self::Wake(pid) => with(b'w', pid),
            Self::End => plain(b'e'),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let [tag, rest @ ..] = <[u8; 5]>::try_from(bytes).ok()?;
        let number = i32::from_le_bytes(rest);
        match tag {
            b's' => Some(Self::Signal(number)),
            b'g' => Some(Self::SignalGroup(number)),
            b'c' => Some(Self::Count),
            b'n' => Some(Self::Sockets),
            b'h' => Some(Self::Halt),
            b'o' => Some(Self::Continue),
            b'w' => Some(Self::Wake(number)),
            b'e' => Some(Self::End),
            _ => None,
        }
    }
}

impl Event {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::View => vec![b'V'],
            Self::Terminal => vec![b'T'],
            Self::Listener => vec![b'L'],
            Self::Doors => vec![b'D'],
            Self::Stopped => vec![b'Z'],
            Self::Sockets => vec![b'N'],
            Self::Obeyed => vec![b'O'],
            Self::Segments(bytes) => [&[b'M'][..], &bytes.to_le_bytes()].concat(),
            Self::Failed(failure) => encode_failure(failure),
            Self::Exited(exit) => {
                let mut bytes = vec![b'X', u8::from(exit.signaled)];
                bytes.extend(exit.status.to_le_bytes());
                for number in [
                    exit.user_micros,
                    exit.system_micros,
                    exit.max_rss,
                    exit.last_pid,
                    exit.left,
                ] {
                    bytes.extend(number.to_le_bytes());
                }
                bytes
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        match (tag, rest) {
            (b'V', []) => Some(Self::View),
            (b'T', []) => Some(Self::Terminal),
            (b'L', []) => Some(Self::Listener),
            (b'D', []) => Some(Self::Doors),
            (b'Z', []) => Some(Self::Stopped),
            (b'N', []) => Some(Self::Sockets),
            (b'O', []) => Some(Self::Obeyed),
            (b'M', bytes) => Some(Self::Segments(u64::from_le_bytes(bytes.try_into().ok()?))),
            (b'F', rest) => decode_failure(rest).map(Self::Failed),
            (b'X', [signaled, rest @ ..]) if rest.len() == 44 => {
                let number =
                    |at: usize| Some(u64::from_le_bytes(rest.get(at..at + 8)?.try_into().ok()?));
                Some(Self::Exited(Exit {
                    status: i32::from_le_bytes(rest.get(..4)?.try_into().ok()?),
                    signaled: *signaled != 0,
                    user_micros: number(4)?,
                    system_micros: number(12)?,
                    max_rss: number(20)?,
                    last_pid: number(28)?,
                    left: number(36)?,
                }))
            }
            _ => None,
        }
    }
}

fn encode_failure(failure: &Failure) -> Vec<u8> {
    let (errno, rule) = match &failure.error.cause {
        Cause::Errno(errno) => (*errno, ""),
        Cause::Rule(rule) => (0, rule.as_str()),
    };
    let mut bytes = vec![b'F', failure.code];
    bytes.extend(errno.to_le_bytes());
    let texts = [
        failure.error.step.as_str(),
        failure.error.object.as_deref().unwrap_or(""),
        rule,
        failure.error.hint.as_deref().unwrap_or(""),
    ];
    for text in texts {
        // Four texts fit a message; a path may be as long as the kernel's limit.
        let cut = text.len().min(casemate_sys::channel::MAX / 4 - 16);
        bytes.extend(&text.as_bytes()[..cut]);
        bytes.push(0);
    }
    bytes
}

fn decode_failure(bytes: &[u8]) -> Option<Failure> {
    let (code, rest) = bytes.split_first()?;
    let (errno, rest) = rest.split_at_checked(4)?;
    let errno = i32::from_le_bytes(errno.try_into().ok()?);
    let mut texts = rest
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned());
    let (step, object, rule, hint) = (texts.next()?, texts.next()?, texts.next()?, texts.next()?);
    let cause = if errno == 0 {
        Cause::Rule(rule)
    } else {
        Cause::Errno(errno)
    };
    let some = |text: String| (!text.is_empty()).then_some(text);
    Some(Failure {
        code: *code,
        error: Error {
            step,
            object: some(object),
            cause,
            hint: some(hint),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_way() {
        let exit = Exit {
            status: 9,
            signaled: true,
            user_micros: 1,
            system_micros: 2,
            max_rss: 3,
            last_pid: 4,
            left: 5,
        };
        let failure = Failure {
            code: 127,
            error: Error::errno("run", 2).on("x").hint("y"),
        };
        for event in [
            Event::View,
            Event::Stopped,
            Event::Sockets,
            Event::Obeyed,
            Event::Segments(5),
            Event::Exited(exit),
            Event::Failed(failure),
        ] {
            assert_eq!(Event::decode(&event.encode()), Some(event));
        }
        assert_eq!(
            Order::decode(&Order::SignalGroup(2).encode()),
            Some(Order::SignalGroup(2))
        );
    }

    #[test]
    fn a_cut_message_is_no_event() {
        let bytes = Event::Exited(Exit::default()).encode();
        assert_eq!(Event::decode(&bytes[..10]), None);
        assert_eq!(Event::decode(b""), None);
    }
}
