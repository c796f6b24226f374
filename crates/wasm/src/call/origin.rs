//! Where a call comes from, and what a turn of a canister is for.

use super::Principal;
use crate::wire::{Malformed, Reader, Writer};

/// Who waits for the answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Somebody outside, who may have given the call a key, by which a retry is known.
    Outside(Option<String>),
    /// A canister, by the number that it gave its call.
    Canister(Principal, u64),
    /// Nobody: a timer or heartbeat.
    Nobody,
}

/// Why a canister had a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A call came in.
    Begins(Origin),
    /// The call of this number was answered, and its callback ran.
    Answers(u64),
    /// The call of this number was answered, and what ran its callback crashed.
    Fails(u64),
}

impl Origin {
    pub(crate) fn write(&self, writer: &mut Writer) {
        match self {
            Self::Outside(key) => {
                writer.u8(0).option(key.as_deref(), |writer, key| {
                    writer.text(key);
                });
            }
            Self::Canister(who, number) => {
                writer.u8(1).bytes(who.as_slice()).u64(*number);
            }
            Self::Nobody => {
                writer.u8(2);
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match reader.u8("an origin")? {
            0 => Self::Outside(
                reader.option("whether there is a key", |reader| reader.text("a key"))?,
            ),
            1 => Self::Canister(Principal::read(reader)?, reader.u64("a call's number")?),
            2 => Self::Nobody,
            _ => return Err(reader.malformed("an origin")),
        })
    }
}

impl Cause {
    pub(crate) fn write(&self, writer: &mut Writer) {
        match self {
            Self::Begins(origin) => origin.write(writer.u8(0)),
            Self::Answers(number) => {
                writer.u8(1).u64(*number);
            }
            Self::Fails(number) => {
                writer.u8(2).u64(*number);
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match reader.u8("a cause")? {
            0 => Self::Begins(Origin::read(reader)?),
            1 => Self::Answers(reader.u64("a number")?),
            2 => Self::Fails(reader.u64("a number")?),
            _ => return Err(reader.malformed("a cause")),
        })
    }
}
