//! DNS inside the sandbox: questions checked, answers made.
//!
//! Only allowed names are answered, and only with addresses. A question is never forwarded: the
//! proxy resolves an allowed name by itself and answers from what it found, so that nothing the
//! sandbox writes into a question leaves the machine. Aliases (CNAME) are followed on the outside
//! and not shown: the addresses are answered under the name that was asked for.
//!
//! Sources: RFC 1035 §4; RFC 6891 (EDNS); RFC 9715 and RFC 8020 for sizes and NXDOMAIN.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use crate::host::Host;

/// The longest question that is looked at.
pub const MAX_QUERY_BYTES: usize = 1024;

/// The most addresses in one answer.
pub const MAX_ADDRESSES: usize = 16;

/// The longest answer by UDP, whatever the client offers: more would be fragmented.
pub const MAX_UDP_BYTES: usize = 1232;

/// What a client without EDNS takes by UDP.
const PLAIN_UDP_BYTES: usize = 512;

/// Bounds of an answer's time to live, in seconds. Short, since a policy may change.
pub const TTL_SECONDS: std::ops::RangeInclusive<u32> = 1..=60;

const HEADER_BYTES: usize = 12;

/// What was asked about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// IPv4 addresses.
    V4,
    /// IPv6 addresses.
    V6,
    /// Anything else; for an allowed name the answer is empty.
    Other,
}

/// A question that can be answered.
#[derive(Clone, Debug)]
pub struct DnsQuery {
    name: Host,
    wanted: Wanted,
    request: Message,
}

/// The transport that a question came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Long answers are cut, and the client asks again by TCP.
    Udp,
    /// Any length will do.
    Tcp,
}

/// What the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// These addresses, of which those that were asked for are told, for this many seconds.
    Addresses(&'a [IpAddr], u32),
    /// The name is allowed and there's nothing of what was asked for.
    Empty,
    /// There's no such name.
    NxDomain,
    /// The policy doesn't allow it.
    Refused,
    /// It couldn't be resolved.
    ServFail,
}

/// What to do with something that isn't a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Nothing: it's no question at all, and to answer could start a loop.
    Drop,
    /// Send this error.
    Reply(Vec<u8>),
}

impl DnsQuery {
    /// Reads a datagram, or a message by TCP without its length.
    pub fn parse(bytes: &[u8]) -> Result<Self, Rejected> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(Rejected::Drop)?;
        let is_response = header[2] & 0x80 != 0;
        if is_response {
            return Err(Rejected::Drop);
        }
        let reject = |code| Err(Rejected::Reply(error(header, code)));
        if header[2] >> 3 & 0x0f != 0 {
            return reject(ResponseCode::NotImp);
        }
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        // One question, and at most the client's own EDNS record besides. The counts are checked
        // before the records are read, so that reading is bounded.
        if bytes.len() > MAX_QUERY_BYTES
            || (count(4), count(6), count(8)) != (1, 0, 0)
            || count(10) > 1
        {
            return reject(ResponseCode::FormErr);
        }
        let Ok(request) = Message::from_vec(bytes) else {
            return reject(ResponseCode::FormErr);
        };
        let Some(question) = request.queries.first() else {
            return reject(ResponseCode::FormErr);
        };
        if question.query_class() != DNSClass::IN {
            return reject(ResponseCode::Refused);
        }
        let Ok(name) = Host::parse(&question.name().to_ascii()) else {
            return reject(ResponseCode::NXDomain);
        };
        if name.address().is_some() {
            return reject(ResponseCode::NXDomain);
        }
        let wanted = match question.query_type() {
            RecordType::A => Wanted::V4,
            RecordType::AAAA => Wanted::V6,
            _ => Wanted::Other,
        };
        Ok(Self {
            name,
            wanted,
            request,
        })
    }

    /// The name, in the spelling of policies.
    pub fn name(&self) -> &Host {
        &self.name
    }

    /// What was asked about it.
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// The message to send back; empty, which is nothing to send, if it can't be written.
    pub fn answer(&self, answer: Answer<'_>, transport: Transport) -> Vec<u8> {
        let code = match answer {
            Answer::Addresses(..) | Answer::Empty => ResponseCode::NoError,
            Answer::NxDomain => ResponseCode::NXDomain,
            Answer::Refused => ResponseCode::Refused,
            Answer::ServFail => ResponseCode::ServFail,
        };
        let mut message = self.reply(code);
        if let Answer::Addresses(addresses, ttl) = answer
            && let Some(question) = self.request.queries.first()
        {
            message.add_answers(self.records(question, addresses, ttl));
        }
        let bytes = message.to_vec().unwrap_or_default();
        if transport == Transport::Udp && bytes.len() > self.udp_limit() {
            return message.truncate().to_vec().unwrap_or_default();
        }
        bytes
    }

    fn reply(&self, code: ResponseCode) -> Message {
        let asked = &self.request.metadata;
        let mut message = Message::new(asked.id, MessageType::Response, OpCode::Query);
        message.metadata.recursion_desired = asked.recursion_desired;
        message.metadata.recursion_available = true;
        message.metadata.response_code = code;
        // The question is repeated as it was spelt: some clients check the case of each letter.
        message.add_queries(self.request.queries.iter().cloned());
        if self.request.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(MAX_UDP_BYTES as u16);
            message.set_edns(edns);
        }
        message
    }

    fn records(&self, question: &Question, addresses: &[IpAddr], ttl: u32) -> Vec<Record> {
        let ttl = ttl.clamp(*TTL_SECONDS.start(), *TTL_SECONDS.end());
        let data = addresses
            .iter()
            .filter_map(|address| match (address, self.wanted) {
                (IpAddr::V4(address), Wanted::V4) => Some(RData::A(A(*address))),
                (IpAddr::V6(address), Wanted::V6) => Some(RData::AAAA(AAAA(*address))),
                _ => None,
            });
        data.take(MAX_ADDRESSES)
            .map(|data| Record::from_rdata(question.name().clone(), ttl, data))
            .collect()
    }

    fn udp_limit(&self) -> usize {
        match &self.request.edns {
            Some(edns) => usize::from(edns.max_payload()).clamp(PLAIN_UDP_BYTES, MAX_UDP_BYTES),
            None => PLAIN_UDP_BYTES,
        }
    }
}

/// A header that says what is wrong, with nothing after it.
fn error(asked: &[u8; HEADER_BYTES], code: ResponseCode) -> Vec<u8> {
    let mut reply = [0; HEADER_BYTES];
    reply[..2].copy_from_slice(&asked[..2]);
    // A response, to the same kind of question, with recursion desired as it was and available.
    reply[2] = 0x80 | (asked[2] & 0x79);
    reply[3] = 0x80 | code.low();
    reply.to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A question of this type and class.
    fn question(name: &str, kind: u16, class: u16) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(class.to_be_bytes());
        bytes
    }

    fn with_edns(mut bytes: Vec<u8>, payload: u16) -> Vec<u8> {
        bytes[11] = 1;
        bytes.extend([0, 0, 41]);
        bytes.extend(payload.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0, 0]);
        bytes
    }

    fn answered(bytes: &[u8], answer: Answer<'_>) -> Message {
        let query = DnsQuery::parse(bytes).expect("a query");
        Message::from_vec(&query.answer(answer, Transport::Udp)).expect("an answer")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_are_answered_by_type() {
        let addresses = [ip("192.0.2.1"), ip("2001:db8::1"), ip("192.0.2.2")];
        let asked = question("Api.ExaMple.com", 1, 1);
        assert_eq!(
            DnsQuery::parse(&asked).expect("a query").name(),
            &Host::Name("api.example.com".to_owned())
        );
        let answer = answered(&asked, Answer::Addresses(&addresses, 9999));
        assert_eq!((answer.metadata.id, answer.answers.len()), (0x1234, 2));
        assert!(answer.answers.iter().all(|record| record.ttl == 60));
        // Spelt as it was asked.
        let raw = DnsQuery::parse(&asked)
            .expect("a query")
            .answer(Answer::Empty, Transport::Udp);
        assert!(raw.windows(7).any(|window| window == b"ExaMple"));

        let six = answered(
            &question("a.example", 28, 1),
            Answer::Addresses(&addresses, 0),
        );
        assert_eq!((six.answers.len(), six.answers[0].ttl), (1, 1));
        let text = answered(
            &question("a.example", 16, 1),
            Answer::Addresses(&addresses, 5),
        );
        assert_eq!(text.answers.len(), 0);
        assert_eq!(text.metadata.response_code, ResponseCode::NoError);
    }

    #[test]
    fn refusals_have_their_codes() {
        for (answer, code) in [
            (Answer::Refused, ResponseCode::Refused),
            (Answer::NxDomain, ResponseCode::NXDomain),
            (Answer::ServFail, ResponseCode::ServFail),
            (Answer::Empty, ResponseCode::NoError),
        ] {
            let message = answered(&question("a.example", 1, 1), answer);
            assert_eq!(message.metadata.response_code, code);
            assert!(message.answers.is_empty() && message.metadata.recursion_available);
        }
    }

    #[test]
    fn long_answers_are_cut_by_udp_only() {
        let many: Vec<_> = (0..40).map(|n| ip(&format!("2001:db8::{n}"))).collect();
        let name = vec!["a".repeat(60); 4].join(".");
        let answer = Answer::Addresses(&many, 5);
        let plain = answered(&question(&name, 28, 1), answer);
        assert!(plain.metadata.truncation && plain.answers.is_empty());
        let edns = answered(&with_edns(question(&name, 28, 1), 4096), answer);
        assert_eq!(edns.answers.len(), MAX_ADDRESSES);
        assert!(edns.edns.is_some());
        let query = DnsQuery::parse(&question(&name, 28, 1)).expect("a query");
        let tcp = Message::from_vec(&query.answer(answer, Transport::Tcp)).expect("an answer");
        assert_eq!(tcp.answers.len(), MAX_ADDRESSES);
    }

    #[test]
    fn what_is_no_question_is_dropped_or_refused() {
        let code = |bytes: &[u8]| match DnsQuery::parse(bytes) {
            Err(Rejected::Reply(reply)) => Some(reply[3] & 0x0f),
            Err(Rejected::Drop) => None,
            Ok(query) => panic!("accepted: {query:?}"),
        };
        let asked = question("a.example", 1, 1);
        let changed = |at: usize, value: u8| {
            let mut bytes = asked.clone();
            bytes[at] = value;
            bytes
        };
        assert_eq!(code(&asked[..11]), None);
        assert_eq!(code(&changed(2, 0x81)), None);
        assert_eq!(code(&changed(2, 0x29)), Some(4));
        assert_eq!(code(&changed(5, 0)), Some(1));
        assert_eq!(code(&changed(5, 2)), Some(1));
        assert_eq!(code(&changed(7, 1)), Some(1));
        assert_eq!(code(&changed(11, 2)), Some(1));
        assert_eq!(code(&asked[..20]), Some(1));
        assert_eq!(code(&question("a.example", 1, 3)), Some(5));
        assert_eq!(code(&question("a b.example", 1, 1)), Some(3));
        assert_eq!(code(&question("1.2.3.4", 1, 1)), Some(3));
        assert_eq!(code(&question("", 1, 1)), Some(3));
        assert_eq!(code(&[asked.clone(), vec![0; 2000]].concat()), Some(1));
        // A name that points at itself.
        let mut looped = asked[..12].to_vec();
        looped.extend([0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(code(&looped), Some(1));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_or_not(bytes: Vec<u8>) {
            for bytes in [bytes.clone(), [&question("a.example", 1, 1)[..12], &bytes].concat()] {
                match DnsQuery::parse(&bytes) {
                    Ok(query) => {
                        let reply = query.answer(Answer::Addresses(&[ip("192.0.2.1")], 5), Transport::Udp);
                        prop_assert!(reply.len() <= MAX_UDP_BYTES);
                        prop_assert!(Message::from_vec(&reply).is_ok());
                    }
                    Err(Rejected::Reply(reply)) => prop_assert!(Message::from_vec(&reply).is_ok()),
                    Err(Rejected::Drop) => {}
                }
            }
        }
    }
}
