//! The records of `http_request`, in Candid.
//!
//! What comes back is decoded without a type that is expected: a site's streaming token is of a type of
//! its own. What that may cost is bounded, in work and so in memory.

use crate::fault::{Fault, Kind};
use axum::body::Bytes;
use candid::types::value::{IDLArgs, IDLField, IDLValue};
use candid::{CandidType, DecoderConfig};
use http::{HeaderMap, StatusCode};

/// Units of work that an answer may take to decode: about one for each byte.
const WORK: usize = 5 << 20;

/// A request, as the canister is given it.
#[derive(CandidType)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// No proof of the answer is asked for: who serves it executes it.
    pub(super) certificate_version: Option<u16>,
}

/// What a canister answered.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// It is to be asked again, by the method that may change something.
    pub(super) upgrade: bool,
    pub(super) next: Option<Next>,
}

/// How the rest of a body is had.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Next {
    /// Whose method it is, as text.
    pub(super) canister: String,
    pub(super) method: String,
    /// What it is given.
    pub(super) token: Token,
}

/// What only the canister understands.
#[derive(Clone, PartialEq)]
pub(super) struct Token(IDLValue);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// A response that may pass.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) next: Option<Next>,
}

pub(super) fn encode(asked: &Asked) -> Result<Vec<u8>, Fault> {
    candid::encode_one(asked).map_err(|why| Fault::new(Kind::Broken, why.to_string()))
}

/// What a callback is called with.
pub(super) fn encode_token(token: &Token) -> Result<Vec<u8>, Fault> {
    let token = IDLArgs::new(std::slice::from_ref(&token.0));
    token.to_bytes().map_err(|_| wrong("its token"))
}

fn wrong(what: &str) -> Fault {
    let why = format!("the canister's answer is no HTTP response: {what} isn't what it should be");
    Fault::new(Kind::Answer, why)
}

type Fields = Vec<IDLField>;

fn record(reply: &[u8]) -> Result<Fields, Fault> {
    let mut bounds = DecoderConfig::new();
    bounds
        .set_decoding_quota(WORK)
        .set_skipping_quota(WORK)
        .set_full_error_message(false);
    let decoded = IDLArgs::from_bytes_with_config(reply, &bounds);
    let args = decoded.map_err(|_| wrong("its Candid"))?.args;
    match <[IDLValue; 1]>::try_from(args) {
        Ok([IDLValue::Record(fields)]) => Ok(fields),
        _ => Err(wrong("its type")),
    }
}

/// Takes a field out; `None` if there is none, or nothing in it.
fn take(fields: &mut Fields, name: &str) -> Option<IDLValue> {
    let id = candid::idl_hash(name);
    let at = fields.iter().position(|field| field.id.get_id() == id)?;
    match fields.swap_remove(at).val {
        IDLValue::Null | IDLValue::None | IDLValue::Reserved => None,
        IDLValue::Opt(value) => Some(*value),
        value => Some(value),
    }
}

fn bytes(value: Option<IDLValue>) -> Result<Vec<u8>, Fault> {
    match value {
        Some(IDLValue::Blob(bytes)) => Ok(bytes),
        // An empty one may have lost its type.
        Some(IDLValue::Vec(items)) if items.is_empty() => Ok(Vec::new()),
        _ => Err(wrong("body")),
    }
}

fn headers(value: Option<IDLValue>) -> Result<Vec<(String, String)>, Fault> {
    let Some(IDLValue::Vec(items)) = value else {
        return Err(wrong("headers"));
    };
    let pair = |item| match item {
        IDLValue::Record(mut pair) if pair.len() == 2 => {
            pair.sort_by_key(|field| field.id.get_id());
            let mut texts = pair.into_iter().map(|field| field.val);
            match (texts.next(), texts.next()) {
                (Some(IDLValue::Text(name)), Some(IDLValue::Text(value))) => Ok((name, value)),
                _ => Err(wrong("headers")),
            }
        }
        _ => Err(wrong("headers")),
    };
    items.into_iter().map(pair).collect()
}

/// Reads an answer.
pub(super) fn decode(reply: &[u8]) -> Result<Answered, Fault> {
    let mut fields = record(reply)?;
    let upgrade = match take(&mut fields, "upgrade") {
        None => false,
        Some(IDLValue::Bool(upgrade)) => upgrade,
        Some(_) => return Err(wrong("upgrade")),
    };
    let Some(IDLValue::Nat16(status)) = take(&mut fields, "status_code") else {
        return Err(wrong("status_code"));
    };
    Ok(Answered {
        status,
        upgrade,
        headers: headers(take(&mut fields, "headers"))?,
        body: bytes(take(&mut fields, "body"))?,
        next: take(&mut fields, "streaming_strategy")
            .map(strategy)
            .transpose()?,
    })
}

fn strategy(value: IDLValue) -> Result<Next, Fault> {
    let bad = || wrong("streaming_strategy");
    let IDLValue::Variant(variant) = value else {
        return Err(bad());
    };
    let field = *variant.0;
    if field.id.get_id() != candid::idl_hash("Callback") {
        return Err(bad());
    }
    let IDLValue::Record(mut fields) = field.val else {
        return Err(bad());
    };
    let callback = take(&mut fields, "callback").ok_or_else(bad)?;
    let token = take(&mut fields, "token").ok_or_else(bad)?;
    match callback {
        IDLValue::Func(canister, method) => Ok(Next {
            canister: canister.to_text(),
            method,
            token: Token(token),
        }),
        _ => Err(bad()),
    }
}

/// Reads what a callback answered: more of the body, and the next token if there is still more.
pub(super) fn decode_more(reply: &[u8]) -> Result<(Vec<u8>, Option<Token>), Fault> {
    let mut fields = record(reply)?;
    let token = take(&mut fields, "token").map(Token);
    Ok((bytes(take(&mut fields, "body"))?, token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candid::{Principal, define_function, encode_one};
    use proptest::prelude::*;

    #[derive(CandidType)]
    struct Plain<'a> {
        status_code: u16,
        headers: Vec<(&'a str, &'a str)>,
        body: &'a Vec<u8>,
    }

    #[derive(CandidType)]
    struct Key {
        at: u32,
        of: String,
    }

    define_function!(Callback : (Key) -> () query);

    #[derive(CandidType)]
    enum Strategy {
        Callback { callback: Callback, token: Key },
    }

    #[derive(CandidType)]
    struct Streaming {
        status_code: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        upgrade: Option<bool>,
        streaming_strategy: Option<Strategy>,
    }

    fn streaming(strategy: Option<Strategy>, upgrade: Option<bool>) -> Vec<u8> {
        encode_one(Streaming {
            status_code: 200,
            headers: vec![("a".to_owned(), "b".to_owned())],
            body: vec![7; 5],
            upgrade,
            streaming_strategy: strategy,
        })
        .unwrap()
    }

    #[test]
    fn answers_are_read() {
        let body = vec![1, 2, 3];
        let plain = encode_one(Plain {
            status_code: 404,
            headers: vec![("b-name", "a value"), ("a", "")],
            body: &body,
        });
        let found = decode(&plain.unwrap()).unwrap();
        let text = |text: &str| text.to_owned();
        assert_eq!(
            found,
            Answered {
                status: 404,
                headers: vec![(text("b-name"), text("a value")), (text("a"), text(""))],
                body,
                upgrade: false,
                next: None,
            }
        );
        let upgraded = decode(&streaming(None, Some(true))).unwrap();
        assert_eq!((upgraded.upgrade, upgraded.body.len()), (true, 5));
    }

    #[test]
    fn a_token_comes_back_as_it_was() {
        let own = Principal::from_slice(&[1, 2, 3]);
        let key = || Key {
            at: 3,
            of: "file".to_owned(),
        };
        let strategy = Strategy::Callback {
            callback: Callback::new(own, "more".to_owned()),
            token: key(),
        };
        let next = decode(&streaming(Some(strategy), None))
            .unwrap()
            .next
            .unwrap();
        assert_eq!(
            (next.canister, next.method.as_str()),
            (own.to_text(), "more")
        );
        let given = encode_token(&next.token).unwrap();
        assert_eq!(
            IDLArgs::from_bytes(&given).unwrap().to_string(),
            IDLArgs::from_bytes(&encode_one(key()).unwrap())
                .unwrap()
                .to_string()
        );
    }

    #[test]
    fn what_is_no_response_is_refused() {
        #[derive(CandidType)]
        struct Odd {
            status_code: u32,
            headers: Vec<(String, String)>,
            body: Vec<u8>,
        }
        let odd = encode_one(Odd {
            status_code: 200,
            headers: Vec::new(),
            body: Vec::new(),
        });
        let bomb = encode_one(vec![candid::Reserved; 100]).unwrap();
        for bad in [
            b"".to_vec(),
            b"DIDL".to_vec(),
            encode_one("text").unwrap(),
            odd.unwrap(),
            bomb,
        ] {
            assert_eq!(decode(&bad).unwrap_err().kind, Kind::Answer, "{bad:?}");
        }
        // A vector of as many nulls as a number can say, in ten bytes.
        let mut bomb = b"DIDL\x01\x6d\x7f\x01\x00".to_vec();
        bomb.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(decode(&bomb).unwrap_err().kind, Kind::Answer);
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let mut begun = b"DIDL".to_vec();
            begun.extend(&bytes);
            let _ = decode(&begun);
            let _ = decode_more(&begun);
        }

        #[test]
        fn no_change_of_an_answer_does_harm(at in 0usize..200, byte in any::<u8>()) {
            let mut bytes = streaming(None, Some(false));
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let _ = decode(&bytes);
        }
    }
}
