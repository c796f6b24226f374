//! The message put together from its records, as they arrive (RFC 8446 §5.1).

use super::InvalidHello;
use super::parse::{ClientHello, parse};

/// The longest ClientHello, without record headers. Post-quantum keys make them 2 KiB long.
pub const MAX_HELLO_BYTES: usize = 16 * 1024;

/// A record's payload is no longer than this.
const MAX_RECORD_BYTES: usize = 1 << 14;

/// Bytes of everything read: the message in records of one byte each would be six times as long.
const MAX_READ_BYTES: usize = 2 * MAX_HELLO_BYTES;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Whether the message is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    NeedMore,
    /// It's complete.
    Complete(ClientHello),
}

/// Collects bytes until they are a ClientHello. After an error it's of no use but for its bytes.
#[derive(Clone, Debug, Default)]
pub struct HelloReader {
    read: Vec<u8>,
    /// How much of `read` was looked at.
    at: usize,
    /// Payload that the current record has yet to bring.
    left: usize,
    message: Vec<u8>,
}

impl HelloReader {
    /// Takes the next bytes of the connection. All of them are kept, those after the message too.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Progress, InvalidHello> {
        self.read.extend_from_slice(bytes);
        loop {
            if let Some(length) = self.message_length()?
                && self.message.len() >= length
            {
                if self.message.len() > length || self.left > 0 {
                    return Err(InvalidHello("something follows it in its record"));
                }
                return parse(&self.message[4..length]).map(Progress::Complete);
            }
            if self.at > MAX_READ_BYTES {
                return Err(InvalidHello("its records are too small"));
            }
            if self.left == 0 && !self.next_record()? {
                return Ok(Progress::NeedMore);
            }
            let taken = self.left.min(self.read.len() - self.at);
            if taken == 0 {
                return Ok(Progress::NeedMore);
            }
            let payload = &self.read[self.at..self.at + taken];
            self.message.extend_from_slice(payload);
            self.at += taken;
            self.left -= taken;
        }
    }

    /// Everything that was pushed, in order.
    pub fn into_bytes(self) -> Vec<u8> {
        self.read
    }

    /// The same, while the reader is still needed.
    pub fn bytes(&self) -> &[u8] {
        &self.read
    }

    /// Reads a record's header; false if it isn't there yet.
    fn next_record(&mut self) -> Result<bool, InvalidHello> {
        let header = &self.read[self.at..];
        // As early as possible: what isn't TLS should not wait for more bytes.
        if header.first().is_some_and(|kind| *kind != HANDSHAKE) {
            return Err(InvalidHello("a record that isn't a handshake"));
        }
        if header.get(1).is_some_and(|major| *major != 3) {
            return Err(InvalidHello("a record of an unknown version"));
        }
        let [_, _, _, high, low, ..] = *header else {
            return Ok(false);
        };
        self.left = usize::from(u16::from_be_bytes([high, low]));
        if self.left == 0 || self.left > MAX_RECORD_BYTES {
            return Err(InvalidHello("a record that is empty or too long"));
        }
        self.at += 5;
        Ok(true)
    }

    /// The length of the message with its own header, once that is there.
    fn message_length(&self) -> Result<Option<usize>, InvalidHello> {
        if self
            .message
            .first()
            .is_some_and(|kind| *kind != CLIENT_HELLO)
        {
            return Err(InvalidHello("a handshake that doesn't begin with it"));
        }
        let [_, a, b, c, ..] = *self.message.as_slice() else {
            return Ok(None);
        };
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if length > MAX_HELLO_BYTES {
            return Err(InvalidHello("it's longer than 16384 bytes"));
        }
        Ok(Some(4 + length))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;
    use crate::hello::Ech;
    use crate::host::Host;

    /// What rustls says first to this server.
    fn rustls_hello(name: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = rustls_pki_types::ServerName::try_from(name.to_owned()).expect("a name");
        let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("a hello");
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Progress, InvalidHello> {
        HelloReader::default().push(bytes)
    }

    /// The same message in records of this size.
    fn fragmented(hello: &[u8], size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in hello[5..].chunks(size) {
            out.extend_from_slice(&[22, 3, 1]);
            out.extend_from_slice(&(piece.len() as u16).to_be_bytes());
            out.extend_from_slice(piece);
        }
        out
    }

    #[test]
    fn the_hello_of_rustls_is_read() {
        let bytes = rustls_hello("API.example.com");
        let Ok(Progress::Complete(hello)) = read(&bytes) else {
            panic!("not read");
        };
        let name = Host::Name("api.example.com".to_owned());
        assert_eq!(hello.server_name, Some(name));
        assert_eq!(hello.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!(hello.ech, Ech::Absent);
        assert!(hello.offers_tls13);
    }

    #[test]
    fn an_address_needs_no_server_name() {
        let Ok(Progress::Complete(hello)) = read(&rustls_hello("192.0.2.1")) else {
            panic!("not read");
        };
        assert_eq!(hello.server_name, None);
    }

    #[test]
    fn every_truncation_needs_more() {
        let bytes = rustls_hello("a.example.com");
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Ok(Progress::NeedMore), "{end}");
        }
        let mut reader = HelloReader::default();
        let mut complete = 0;
        for byte in &bytes {
            if let Progress::Complete(_) = reader.push(&[*byte]).expect("a hello") {
                complete += 1;
            }
        }
        assert_eq!(complete, 1);
        assert_eq!(reader.into_bytes(), bytes);
    }

    #[test]
    fn fragments_make_no_difference_but_dust_is_refused() {
        let bytes = rustls_hello("a.example.com");
        for size in [7, 100, 1000] {
            assert_eq!(read(&fragmented(&bytes, size)), read(&bytes), "{size}");
        }
        // 16 KiB in records of one byte.
        let mut long = vec![22, 3, 1, 0, 0, 1, 0, 0x3f, 0xf0];
        long.resize(5 + 4 + 0x3ff0, 0);
        let dust = fragmented(&long, 1);
        assert!(read(&dust).is_err());
    }

    #[test]
    fn a_hello_is_alone_in_its_record() {
        let mut bytes = rustls_hello("a.example.com");
        let length = u16::from_be_bytes([bytes[3], bytes[4]]) + 1;
        bytes[3..5].copy_from_slice(&length.to_be_bytes());
        bytes.push(0);
        assert!(read(&bytes).is_err());
        let mut reader = HelloReader::default();
        assert!(bytes.iter().any(|byte| reader.push(&[*byte]).is_err()));
        // What follows in another record is kept for whoever goes on.
        let mut two = rustls_hello("a.example.com");
        two.extend([20, 3, 3, 0, 1, 1]);
        assert!(matches!(read(&two), Ok(Progress::Complete(_))));
    }

    #[test]
    fn what_is_not_a_hello_is_refused_at_once() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            &[21],
            &[22, 2],
            &[22, 3, 1, 0, 0],
            &[22, 3, 1, 0x40, 1],
            &[22, 3, 1, 0, 1, 2],
            &[22, 3, 1, 0, 4, 1, 0, 0x40, 1],
            &[22, 3, 1, 0, 1, 1, 23],
        ] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn mutations_are_read_or_refused(at in 0usize..400, value: u8, step in 1usize..300) {
            let mut bytes = rustls_hello("a.example.com");
            let at = at % bytes.len();
            bytes[at] = value;
            let whole = read(&bytes);
            let mut reader = HelloReader::default();
            let mut last = Ok(Progress::NeedMore);
            for piece in bytes.chunks(step) {
                last = reader.push(piece);
                if last != Ok(Progress::NeedMore) { break; }
            }
            prop_assert_eq!(last, whole);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = read(&bytes);
            let length = bytes.len() as u16;
            let mut framed = vec![22, 3, 1];
            framed.extend((length + 4).to_be_bytes());
            framed.extend([1, 0]);
            framed.extend(length.to_be_bytes());
            framed.extend(&bytes);
            prop_assert_ne!(read(&framed), Ok(Progress::NeedMore));
        }
    }
}
