//! HTTP's methods as a set of bits, so that a preset is one number.

use crate::network::{Access, OperationType, Protocol};

/// What a text message of a WebSocket has for a method.
pub const WEBSOCKET_TEXT: &str = "WEBSOCKET_TEXT";

const KNOWN: [&str; 10] = [
    "GET",
    "HEAD",
    "OPTIONS",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "CONNECT",
    "TRACE",
    WEBSOCKET_TEXT,
];

const GET: u16 = 1;
const HEAD: u16 = 1 << 1;
const OPTIONS: u16 = 1 << 2;
const POST: u16 = 1 << 3;
const PUT: u16 = 1 << 4;
const PATCH: u16 = 1 << 5;
const TEXT: u16 = 1 << 9;

/// Some of HTTP's methods, or all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Methods {
    All,
    These(u16),
    /// One that is none of the usual ones.
    Named(Box<str>),
}

impl Methods {
    pub(super) const NONE: Self = Methods::These(0);

    /// What a rule's `method` says: `*`, or one method in any case. Where GET is, HEAD is too.
    pub(super) fn of_rule(text: &str) -> Self {
        match bit(text) {
            _ if text == "*" => Methods::All,
            Some(GET) => Methods::These(GET | HEAD),
            Some(bit) => Methods::These(bit),
            None => Methods::Named(text.into()),
        }
    }

    /// What a preset allows on an endpoint of this protocol; nothing where it has no meaning.
    pub(super) fn of_preset(access: Access, protocol: Protocol) -> Self {
        let these = match (protocol, access) {
            (Protocol::Rest | Protocol::Websocket, Access::Full) => return Methods::All,
            (Protocol::Rest, Access::ReadOnly) => GET | HEAD | OPTIONS,
            (Protocol::Rest, Access::ReadWrite) => GET | HEAD | OPTIONS | POST | PUT | PATCH,
            (Protocol::Websocket, Access::ReadOnly) => GET | HEAD,
            (Protocol::Websocket, Access::ReadWrite) => GET | HEAD | TEXT,
            _ => 0,
        };
        Methods::These(these)
    }

    pub(super) fn contains(&self, method: &str) -> bool {
        match self {
            Methods::All => true,
            Methods::These(these) => bit(method).is_some_and(|bit| these & bit != 0),
            Methods::Named(name) => name.eq_ignore_ascii_case(method),
        }
    }
}

fn bit(method: &str) -> Option<u16> {
    let index = KNOWN
        .iter()
        .position(|known| known.eq_ignore_ascii_case(method))?;
    Some(1 << index)
}

/// Some of GraphQL's types of operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Operations(u8);

impl Operations {
    pub(super) const ALL: Self = Self(7);

    pub(super) fn of_rule(kind: OperationType) -> Self {
        match kind {
            OperationType::Query => Self(1),
            OperationType::Mutation => Self(2),
            OperationType::Subscription => Self(4),
            OperationType::Any => Self::ALL,
        }
    }

    pub(super) fn of_preset(access: Access) -> Self {
        match access {
            Access::ReadOnly => Self(1),
            Access::ReadWrite => Self(3),
            Access::Full => Self::ALL,
        }
    }

    pub(super) fn contains(self, kind: OperationType) -> bool {
        kind != OperationType::Any && self.0 & Self::of_rule(kind).0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, Methods, Protocol};

    #[test]
    fn head_goes_where_get_goes() {
        let get = Methods::of_rule("get");
        assert!(get.contains("HEAD") && get.contains("Get") && !get.contains("POST"));
        assert!(!Methods::of_rule("HEAD").contains("GET"));
        assert!(Methods::of_rule("*").contains("BREW"));
        assert!(Methods::of_rule("Brew").contains("BREW"));
    }

    #[test]
    fn read_write_does_not_delete() {
        let preset = Methods::of_preset(Access::ReadWrite, Protocol::Rest);
        assert!(preset.contains("PATCH") && !preset.contains("DELETE"));
        let preset = Methods::of_preset(Access::ReadWrite, Protocol::Mcp);
        assert!(!preset.contains("POST"));
    }
}
