//! What a line of QEMU's says.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// The most that is repeated of its words, characters.
const LONGEST: usize = 400;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What.
    pub name: String,
    /// The rest.
    pub data: Value,
}

/// Which QEMU: a snapshot belongs to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Three numbers.
    pub number: (u32, u32, u32),
    /// The distribution's.
    pub package: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, micro) = self.number;
        write!(f, "{major}.{minor}.{micro}")?;
        match self.package.as_str() {
            "" => Ok(()),
            package => write!(f, " ({package})"),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Greeting {
    #[serde(rename = "QMP")]
    qmp: Qmp,
}

#[derive(Deserialize)]
struct Qmp {
    version: Numbers,
}

#[derive(Deserialize)]
struct Numbers {
    qemu: Number,
    package: String,
}

#[derive(Deserialize)]
struct Number {
    major: u32,
    minor: u32,
    micro: u32,
}

impl Greeting {
    pub(super) fn version(self) -> Version {
        let Numbers { qemu, package } = self.qmp.version;
        Version {
            number: (qemu.major, qemu.minor, qemu.micro),
            package: short(&package),
        }
    }
}

#[derive(Debug)]
pub(super) enum Message {
    Event(Event),
    Reply(u64, Reply),
}

#[derive(Debug)]
pub(super) enum Reply {
    Done(Value),
    Refused { class: String, desc: String },
}

impl Reply {
    pub(super) fn result(self) -> Result<Value, String> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Refused { class, desc } => Err(format!("{}: {}", short(&class), short(&desc))),
        }
    }
}

#[derive(Deserialize)]
struct Line {
    id: Option<u64>,
    #[serde(rename = "return")]
    done: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
struct Refusal {
    class: String,
    desc: String,
}

/// `None` is what makes no sense.
pub(super) fn read(line: &[u8]) -> Option<Message> {
    let line: Line = serde_json::from_slice(line).ok()?;
    if let Some(name) = line.event {
        let data = line.data;
        return Some(Message::Event(Event { name, data }));
    }
    // A refusal without a number is of a line that wasn't understood, and each of ours is.
    let id = line.id?;
    let reply = match (line.done, line.error) {
        (Some(value), None) => Reply::Done(value),
        (None, Some(Refusal { class, desc })) => Reply::Refused { class, desc },
        _ => return None,
    };
    Some(Message::Reply(id, reply))
}

/// Its words, as they may be shown.
pub(crate) fn short(text: &str) -> String {
    let shown: String = text.chars().take(LONGEST).collect();
    let shown = shown.escape_debug().to_string();
    shown.replace("\\\"", "\"").replace("\\'", "'")
}
