//! The upgrade, and what is negotiated in it (RFC 6455 §4).

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::http1::{Malformed, RequestHead, ResponseHead};

/// What every server appends to the key before it hashes it (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the server must have seen, to be compared with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    accept: String,
    protocols: Vec<String>,
}

/// `Sec-WebSocket-Accept` for this key. SHA-1 proves nothing here but that the server read it.
pub fn accept_for(key: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(GUID);
    STANDARD.encode(context.finish())
}

impl Offer {
    /// Checks the request for an upgrade and drops the extensions that it offers.
    pub fn take(request: &mut RequestHead) -> Result<Self, Malformed> {
        if !request.websocket {
            return Err(Malformed::bad("not an upgrade to WebSocket"));
        }
        if request.headers.only("sec-websocket-version")? != Some("13") {
            return Err(Malformed::bad("a version of WebSocket that isn't 13"));
        }
        let key = request.headers.only("sec-websocket-key")?;
        let key = key.ok_or(Malformed::bad("an upgrade without Sec-WebSocket-Key"))?;
        if STANDARD.decode(key).map(|nonce| nonce.len()) != Ok(16) {
            return Err(Malformed::bad("a Sec-WebSocket-Key that isn't 16 bytes"));
        }
        let offer = Self {
            accept: accept_for(key),
            protocols: request.headers.list("sec-websocket-protocol"),
        };
        request.headers.remove("sec-websocket-extensions");
        Ok(offer)
    }

    /// Checks the answer to the upgrade.
    pub fn check(&self, response: &ResponseHead) -> Result<(), Malformed> {
        let headers = &response.headers;
        if response.status != 101 {
            return Err(Malformed::bad("the server doesn't upgrade"));
        }
        let has = |name, member: &str| headers.list(name) == [member];
        let upgrades = headers
            .list("connection")
            .iter()
            .any(|option| option == "upgrade");
        if !has("upgrade", "websocket") || !upgrades {
            return Err(Malformed::bad("the server upgrades to something else"));
        }
        if headers.only("sec-websocket-accept")? != Some(self.accept.as_str()) {
            return Err(Malformed::bad("a wrong Sec-WebSocket-Accept"));
        }
        if !headers.list("sec-websocket-extensions").is_empty() {
            return Err(Malformed::bad("an extension that wasn't offered"));
        }
        match headers.only("sec-websocket-protocol")? {
            Some(protocol) if !self.protocols.contains(&protocol.to_ascii_lowercase()) => {
                Err(Malformed::bad("a subprotocol that wasn't offered"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Limits;

    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    fn offer(more: &str) -> Result<(Offer, RequestHead), Malformed> {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{more}\r\n"
        );
        let mut head = RequestHead::parse(head.as_bytes(), &Limits::default())?;
        Ok((Offer::take(&mut head)?, head))
    }

    fn answer(more: &str) -> ResponseHead {
        let head =
            format!("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n{more}\r\n");
        ResponseHead::parse(head.as_bytes(), "GET", &Limits::default()).expect("a response")
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let extensions = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let all = format!(
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n{extensions}{KEY}"
        );
        let (offer, head) = offer(&all).expect("an offer");
        assert!(!head.headers.has("sec-websocket-extensions"));
        assert_eq!(offer.check(&answer(ACCEPT)), Ok(()));
        let protocol = |name| answer(&format!("{ACCEPT}Sec-WebSocket-Protocol: {name}\r\n"));
        assert_eq!(offer.check(&protocol("chat")), Ok(()));
        assert!(offer.check(&protocol("other")).is_err());
        assert!(offer.check(&answer("Sec-WebSocket-Accept: x\r\n")).is_err());
        assert!(offer.check(&answer("")).is_err());
        assert!(
            offer
                .check(&answer(&format!("{ACCEPT}{extensions}")))
                .is_err()
        );
    }

    #[test]
    fn incomplete_offers_are_refused() {
        for more in [
            KEY.to_owned(),
            format!("Sec-WebSocket-Version: 8\r\n{KEY}"),
            "Sec-WebSocket-Version: 13\r\n".to_owned(),
            format!("Sec-WebSocket-Version: 13\r\n{KEY}{KEY}"),
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n".to_owned(),
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ???\r\n".to_owned(),
        ] {
            assert!(offer(&more).is_err(), "{more}");
        }
    }
}
