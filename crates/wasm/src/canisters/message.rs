//! What goes between canisters, and to whoever asked from outside.

use crate::call::{Answer, Failure, Outgoing, Principal, RejectCode};
use crate::wire::{Malformed, Reader, Writer};

/// How a call of another canister came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    /// The reply, or why there is none.
    pub(super) result: Result<Vec<u8>, (RejectCode, String)>,
    /// Cycles that weren't taken.
    pub(super) refund: u128,
}

/// What a canister's turn leaves to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parcel {
    /// A canister calls another.
    Request {
        from: Principal,
        number: u64,
        call: Outgoing,
    },
    /// A canister's call was answered.
    Response {
        to: Principal,
        number: u64,
        from: Principal,
        response: Response,
    },
    /// A call from outside was answered.
    Answer { context: u64, ended: Ended },
}

/// How a call from outside ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) result: Result<Option<Answer>, Failure>,
    pub(super) instructions: u64,
}

impl Response {
    /// Nothing came of it, and all cycles come back.
    pub(super) fn reject(code: RejectCode, why: impl Into<String>, refund: u128) -> Self {
        Self {
            result: Err((code, why.into())),
            refund,
        }
    }

    /// Of what a call from a canister ended with.
    pub(super) fn of(result: &Result<Answer, Failure>, refund: u128) -> Self {
        let result = match result {
            Ok(Answer::Reply(bytes)) => Ok(bytes.clone()),
            Ok(Answer::Reject(why)) => Err((RejectCode::CanisterReject, why.clone())),
            Err(failure) => Err((failure.code(), failure.to_string())),
        };
        Self { result, refund }
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        match &self.result {
            Ok(bytes) => writer.u8(0).bytes(bytes),
            Err((code, why)) => writer.u8(*code as u8).text(why),
        };
        writer.u128(self.refund);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let result = match reader.u8("a response")? {
            0 => Ok(reader.bytes("a reply")?),
            code => {
                let code = RejectCode::of(code).ok_or(reader.malformed("a reject code"))?;
                Err((code, reader.text("a rejection")?))
            }
        };
        Ok(Self {
            result,
            refund: reader.u128("cycles")?,
        })
    }
}

impl Ended {
    /// Bytes of its answer.
    pub(super) fn size(&self) -> usize {
        match &self.result {
            Ok(Some(Answer::Reply(bytes))) => bytes.len(),
            Ok(Some(Answer::Reject(why))) => why.len(),
            Ok(None) | Err(_) => 0,
        }
    }
}
