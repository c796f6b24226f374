//! What is in the message (RFC 8446 §4.1.2).

use super::InvalidHello;
use crate::host::Host;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
/// The draft before Encrypted Client Hello.
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

/// A real ClientHello has some 15 to 20.
const MAX_EXTENSIONS: usize = 128;

/// What a client says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// Whom it wants to talk to, if it says so.
    pub server_name: Option<Host>,
    /// The protocols that it offers, in its order, without GREASE.
    pub alpn: Vec<Vec<u8>>,
    /// Whether there may be another name, encrypted.
    pub ech: Ech,
    /// Whether it offers TLS 1.3.
    pub offers_tls13: bool,
}

/// Encrypted Client Hello (RFC 9849).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ech {
    /// There is none.
    Absent,
    /// There may be an inner hello with another name. Browsers send random bytes of this form to
    /// every server (GREASE), so its presence alone proves nothing; but the name that is readable
    /// is then only that of a server in front of others.
    Outer,
    /// This claims to be an inner hello, which never travels by itself.
    Inner,
}

/// Reads the message, without its header of four bytes.
pub(super) fn parse(message: &[u8]) -> Result<ClientHello, InvalidHello> {
    let mut body = Cursor(message);
    body.take(2 + 32)?; // Version and random.
    if body.prefixed_u8()?.len() > 32 {
        return Err(InvalidHello("its session id is too long"));
    }
    let suites = body.prefixed_u16()?;
    if suites.is_empty() || suites.len() % 2 != 0 {
        return Err(InvalidHello("its list of cipher suites is odd"));
    }
    if body.prefixed_u8()?.is_empty() {
        return Err(InvalidHello("it has no compression method"));
    }
    let mut hello = ClientHello {
        server_name: None,
        alpn: Vec::new(),
        ech: Ech::Absent,
        offers_tls13: false,
    };
    if body.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Cursor(body.prefixed_u16()?);
    body.finish()?;
    let mut seen = Vec::new();
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let data = Cursor(extensions.prefixed_u16()?);
        // Twice the same would be two server names, and servers that choose differently.
        if seen.contains(&kind) {
            return Err(InvalidHello("an extension is repeated"));
        }
        if seen.len() == MAX_EXTENSIONS {
            return Err(InvalidHello("it has too many extensions"));
        }
        seen.push(kind);
        extension(&mut hello, kind, data)?;
    }
    Ok(hello)
}

fn extension(hello: &mut ClientHello, kind: u16, mut data: Cursor<'_>) -> Result<(), InvalidHello> {
    match kind {
        SERVER_NAME => hello.server_name = Some(server_name(data)?),
        ALPN => hello.alpn = protocols(data)?,
        SUPPORTED_VERSIONS => {
            let versions = data.prefixed_u8()?;
            data.finish()?;
            hello.offers_tls13 = versions.chunks(2).any(|version| version == [3, 4]);
        }
        ENCRYPTED_CLIENT_HELLO => {
            hello.ech = match data.0.first() {
                Some(0) => Ech::Outer,
                Some(1) => Ech::Inner,
                _ => return Err(InvalidHello("its encrypted hello is of an unknown type")),
            }
        }
        ENCRYPTED_SERVER_NAME => hello.ech = Ech::Outer,
        _ => {}
    }
    Ok(())
}

/// One name, of the only type that there is (RFC 6066 §3).
fn server_name(mut data: Cursor<'_>) -> Result<Host, InvalidHello> {
    let mut list = Cursor(data.prefixed_u16()?);
    data.finish()?;
    if list.u8()? != 0 {
        return Err(InvalidHello("a server name of an unknown type"));
    }
    let name = list.prefixed_u16()?;
    list.finish()
        .map_err(|_| InvalidHello("it has more than one server name"))?;
    let name = std::str::from_utf8(name).map_err(|_| InvalidHello("its server name isn't text"))?;
    Host::parse(name).map_err(|_| InvalidHello("its server name isn't a host name"))
}

fn protocols(mut data: Cursor<'_>) -> Result<Vec<Vec<u8>>, InvalidHello> {
    let mut list = Cursor(data.prefixed_u16()?);
    data.finish()?;
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let protocol = list.prefixed_u8()?;
        if protocol.is_empty() {
            return Err(InvalidHello("it offers a protocol without a name"));
        }
        if !is_grease(protocol) {
            protocols.push(protocol.to_vec());
        }
    }
    Ok(protocols)
}

/// Two equal bytes of the form 0x?A: meaningless, so that servers don't choke on what is new.
fn is_grease(protocol: &[u8]) -> bool {
    matches!(protocol, [a, b] if a == b && a & 0x0f == 0x0a)
}

/// Bytes that are yet to be read.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], InvalidHello> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(InvalidHello("a length goes beyond its end"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, InvalidHello> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, InvalidHello> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn prefixed_u8(&mut self) -> Result<&'a [u8], InvalidHello> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    fn prefixed_u16(&mut self) -> Result<&'a [u8], InvalidHello> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn finish(&self) -> Result<(), InvalidHello> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(InvalidHello("something follows where its end should be"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hello with these extensions.
    fn with(extensions: &[(u16, Vec<u8>)]) -> Result<ClientHello, InvalidHello> {
        let mut message = vec![3, 3];
        message.extend([7; 32]);
        message.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        let mut list = Vec::new();
        for (kind, data) in extensions {
            list.extend(kind.to_be_bytes());
            list.extend((data.len() as u16).to_be_bytes());
            list.extend(data);
        }
        message.extend((list.len() as u16).to_be_bytes());
        message.extend(list);
        parse(&message)
    }

    fn sni(names: &[&str]) -> (u16, Vec<u8>) {
        let mut list = Vec::new();
        for name in names {
            list.push(0);
            list.extend((name.len() as u16).to_be_bytes());
            list.extend(name.as_bytes());
        }
        let mut data = (list.len() as u16).to_be_bytes().to_vec();
        data.extend(list);
        (SERVER_NAME, data)
    }

    #[test]
    fn a_name_is_one_name() {
        let hello = with(&[sni(&["A.example"])]).expect("a hello");
        assert_eq!(hello.server_name, Some(Host::Name("a.example".to_owned())));
        for names in [
            &["a.example", "b.example"][..],
            &[],
            &[""],
            &["a\0.example"],
            &["0x7f.1"],
            &["a.example/"],
        ] {
            assert!(with(&[sni(names)]).is_err(), "{names:?}");
        }
        assert!(with(&[sni(&["a.example"]), sni(&["a.example"])]).is_err());
    }

    #[test]
    fn encrypted_hellos_are_noticed() {
        let ech = |data: &[u8]| with(&[(ENCRYPTED_CLIENT_HELLO, data.to_vec())]).map(|h| h.ech);
        assert_eq!(ech(&[0, 0, 1, 0, 1, 9]), Ok(Ech::Outer));
        assert_eq!(ech(&[1]), Ok(Ech::Inner));
        assert!(ech(&[2]).is_err());
        assert!(ech(&[]).is_err());
        let old = with(&[(ENCRYPTED_SERVER_NAME, vec![1])]).map(|h| h.ech);
        assert_eq!(old, Ok(Ech::Outer));
    }

    #[test]
    fn grease_is_ignored() {
        let alpn = (ALPN, vec![0, 6, 2, 0x1a, 0x1a, 2, b'h', b'2']);
        let versions = (SUPPORTED_VERSIONS, vec![4, 0x7a, 0x7a, 3, 4]);
        let hello = with(&[(0x2a2a, vec![]), alpn, versions, (0xdada, vec![0])]);
        let hello = hello.expect("a hello");
        assert_eq!(hello.alpn, [b"h2".to_vec()]);
        assert!(hello.offers_tls13);
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        assert!(with(&[(ALPN, vec![0, 2, 2, b'h'])]).is_err());
        assert!(with(&[(ALPN, vec![0, 1, 0])]).is_err());
        assert!(with(&[(SERVER_NAME, vec![0, 9, 0])]).is_err());
        assert!(with(&[(SUPPORTED_VERSIONS, vec![2, 3, 4, 0])]).is_err());
        assert!(parse(&[]).is_err());
        let many: Vec<_> = (100..229).map(|kind| (kind, vec![])).collect();
        assert!(with(&many).is_err());
        assert!(with(&many[..128]).is_ok());
    }
}
