//! What a stream leads to.

use std::fmt;

/// Where in the guest a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// The agent.
    Agent,
    /// Process 1, for what the host asks of the machine itself.
    Control,
    /// A TCP port of the guest's loopback interface.
    Port(u16),
}

impl Door {
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Agent => out.push(1),
            Self::Control => out.push(2),
            Self::Port(port) => {
                out.push(3);
                out.extend(port.to_le_bytes());
            }
        }
    }

    /// `None` is one that this version doesn't know.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            [1] => Some(Self::Agent),
            [2] => Some(Self::Control),
            [3, low, high] => Some(Self::Port(u16::from_le_bytes([low, high]))),
            _ => None,
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent => f.write_str("agent"),
            Self::Control => f.write_str("control"),
            Self::Port(port) => write!(f, "port {port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_keep_their_names_over_the_wire() {
        for door in [
            Door::Agent,
            Door::Control,
            Door::Port(0),
            Door::Port(49_983),
        ] {
            let mut bytes = Vec::new();
            door.encode(&mut bytes);
            assert_eq!(Door::decode(&bytes), Some(door));
        }
    }

    #[test]
    fn others_are_unknown() {
        for bytes in [&[][..], &[0], &[3], &[3, 1], &[1, 0], &[9]] {
            assert_eq!(Door::decode(bytes), None);
        }
    }
}
