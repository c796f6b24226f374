//! DNS for the wildcard domain, where no real one is.
//!
//! It knows one domain: this and the names right below it are here, deeper ones aren't, and about
//! all others it isn't asked (REFUSED): it asks nobody else, and nothing can be learnt or amplified
//! by it. Sources: RFC 1035 §4, RFC 6891 (EDNS), RFC 7766 (TCP).

use casemate_core::error::{Error, Result};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The longest question that is looked at.
const QUESTION: usize = 1024;
const HEADER: usize = 12;
/// What is offered to clients with EDNS.
const PAYLOAD: u16 = 1232;
/// Seconds that an answer is good for. The next run may have other addresses.
const TTL: u32 = 5;
/// TCP connections at a time, and how long each may be quiet.
const CONNECTIONS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);
const RECOVERY: Duration = Duration::from_millis(50);

/// A responder for one domain.
#[derive(Debug, Clone)]
pub struct Responder {
    domain: Name,
    addresses: Vec<IpAddr>,
}

impl Responder {
    /// A responder that answers with these addresses.
    ///
    /// # Errors
    /// The domain is no name.
    pub fn new(domain: &str, addresses: Vec<IpAddr>) -> Result<Self> {
        let mut name = Name::from_ascii(domain).map_err(|error| {
            Error::rule("answer DNS questions about", error.to_string()).on(domain)
        })?;
        name.set_fqdn(true);
        Ok(Self {
            domain: name.to_lowercase(),
            addresses,
        })
    }

    /// Answers until `stop` resolves. Both sockets have the same address.
    pub async fn serve(&self, udp: UdpSocket, tcp: TcpListener, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = self.datagrams(&udp) => {}
            () = self.connections(&tcp) => {}
            () = stop => {}
        }
    }

    /// The answer to a message; none to one that isn't a question, or makes no sense at all.
    pub fn answer(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let header = bytes.first_chunk::<HEADER>()?;
        if header[2] & 0x80 != 0 {
            return None;
        }
        let failed = |code: ResponseCode| {
            let mut reply = *header;
            (reply[2], reply[3]) = (0x80 | (header[2] & 0x79), code.low());
            reply[4..].fill(0);
            Some(reply.to_vec())
        };
        if header[2] >> 3 & 0x0f != 0 {
            return failed(ResponseCode::NotImp);
        }
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        // Checked before anything is read, which bounds the reading.
        let plain = (count(4), count(6), count(8)) == (1, 0, 0) && count(10) <= 1;
        if bytes.len() > QUESTION || !plain {
            return failed(ResponseCode::FormErr);
        }
        match Message::from_vec(bytes) {
            Ok(question) => self.reply(&question).to_vec().ok(),
            Err(_) => failed(ResponseCode::FormErr),
        }
    }

    fn reply(&self, asked: &Message) -> Message {
        let metadata = &asked.metadata;
        let mut reply = Message::new(metadata.id, MessageType::Response, OpCode::Query);
        reply.metadata.recursion_desired = metadata.recursion_desired;
        if asked.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD);
            reply.set_edns(edns);
        }
        reply.add_queries(asked.queries.iter().cloned());
        let Some(question) = asked.queries.first() else {
            reply.metadata.response_code = ResponseCode::FormErr;
            return reply;
        };
        let name = question.name();
        let ours = self.domain.zone_of(&name.to_lowercase());
        if !ours || question.query_class() != DNSClass::IN {
            reply.metadata.response_code = ResponseCode::Refused;
            return reply;
        }
        reply.metadata.authoritative = true;
        // A wildcard certificate is good for one label, too.
        if name.num_labels() > self.domain.num_labels() + 1 {
            reply.metadata.response_code = ResponseCode::NXDomain;
            return reply;
        }
        let wanted = question.query_type();
        let data = self.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(own) if wanted == RecordType::A => Some(RData::A(A(*own))),
            IpAddr::V6(own) if wanted == RecordType::AAAA => Some(RData::AAAA(AAAA(*own))),
            _ => None,
        });
        reply.add_answers(data.map(|data| Record::from_rdata(name.clone(), TTL, data)));
        reply
    }

    async fn datagrams(&self, udp: &UdpSocket) {
        let mut question = [0; QUESTION + 1];
        loop {
            match udp.recv_from(&mut question).await {
                Ok((length, peer)) => {
                    if let Some(answer) = self.answer(&question[..length]) {
                        // A client that can't be reached asks again, or not.
                        let _ = udp.send_to(&answer, peer).await;
                    }
                }
                // An earlier answer's fate; the next may do better.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    async fn connections(&self, tcp: &TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            while connections.try_join_next().is_some() {}
            match tcp.accept().await {
                Ok((stream, _)) => {
                    let own = self.clone();
                    connections.spawn(async move {
                        let _ = own.connection(stream).await;
                        drop(place);
                    });
                }
                Err(_) => sleep(RECOVERY).await,
            }
        }
    }

    async fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let exchange = async {
                let mut question = vec![0; usize::from(stream.read_u16().await?)];
                stream.read_exact(&mut question).await?;
                let Some(answer) = self.answer(&question) else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                let length = (answer.len() as u16).to_be_bytes();
                stream.write_all(&[&length[..], &answer].concat()).await
            };
            timeout(PATIENCE, exchange).await??;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;
    use proptest::prelude::*;

    fn responder() -> Responder {
        let addresses = ["127.0.0.1", "::1"].map(|own| own.parse().unwrap());
        Responder::new("Sbx.localhost", addresses.to_vec()).unwrap()
    }

    fn asked(name: &str, kind: RecordType) -> Message {
        let mut question = Message::new(7, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let answer = responder().answer(&question.to_vec().unwrap()).unwrap();
        Message::from_vec(&answer).unwrap()
    }

    #[test]
    fn the_domain_and_its_names_are_here() {
        let id = "3000-i0123456789abcdefghij.sbx.localhost.";
        for name in ["sbx.localhost.", "API.sbx.LOCALHOST.", id] {
            let answer = asked(name, RecordType::A);
            assert_eq!(answer.metadata.id, 7);
            assert_eq!(answer.answers.len(), 1, "{name}");
            assert_eq!(
                answer.answers[0].data,
                RData::A(A("127.0.0.1".parse().unwrap()))
            );
            let answer = asked(name, RecordType::AAAA);
            assert_eq!(
                answer.answers[0].data,
                RData::AAAA(AAAA("::1".parse().unwrap()))
            );
        }
    }

    #[test]
    fn other_kinds_are_empty_and_other_names_are_not_here() {
        let answer = asked("x.sbx.localhost.", RecordType::TXT);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.answers.is_empty());
        let answer = asked("a.b.sbx.localhost.", RecordType::A);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        for name in ["example.com.", "localhost.", "xsbx.localhost.", "."] {
            let answer = asked(name, RecordType::A);
            assert_eq!(
                answer.metadata.response_code,
                ResponseCode::Refused,
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let mut answer = Message::new(7, MessageType::Response, OpCode::Query);
        answer.add_query(Query::query(Name::root(), RecordType::A));
        assert_eq!(responder().answer(&answer.to_vec().unwrap()), None);
        assert_eq!(responder().answer(b"short"), None);
        let many = [&[0, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0][..], &[0; 90]].concat();
        let code = responder().answer(&many).unwrap()[3] & 0x0f;
        assert_eq!(code, ResponseCode::FormErr.low());
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic(bytes: Vec<u8>) {
            let _ = responder().answer(&bytes);
        }
    }
}
