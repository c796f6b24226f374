//! Bodies of HTTP/1.1: taken out of one connection and put on another, a piece at a time.

use super::stream::{Incoming, Outgoing};
use crate::http1::{BodyDecoder, BodyEncoder, Framing, Malformed};
use std::io;
use std::time::Duration;

/// Why a body can't be read whole.
#[derive(Debug)]
pub(super) enum Unread {
    TooLarge,
    Malformed(Malformed),
    Broken(io::Error),
}

/// Which side broke while a body was relayed.
#[derive(Debug)]
pub(super) enum Broke {
    From(io::Error),
    To(io::Error),
}

/// Reads a body of at most `most` bytes.
pub(super) async fn whole(
    from: &mut Incoming,
    framing: Framing,
    most: usize,
    patience: Duration,
) -> Result<Vec<u8>, Unread> {
    if matches!(framing, Framing::Length(length) if length > most as u64) {
        return Err(Unread::TooLarge);
    }
    let (mut decoder, mut body) = (BodyDecoder::new(framing), Vec::new());
    while take(from, &mut decoder, &mut body).map_err(Unread::Malformed)? {
        if body.len() > most {
            return Err(Unread::TooLarge);
        }
        if from.fill(patience).await.map_err(Unread::Broken)? == 0 {
            return Err(Unread::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    if body.len() > most {
        return Err(Unread::TooLarge);
    }
    Ok(body)
}

/// Relays a body as it arrives, framed anew.
pub(super) async fn relay(
    from: &mut Incoming,
    to: &mut Outgoing,
    (read_as, write_as): (Framing, Framing),
    patience: Duration,
) -> Result<(), Broke> {
    let bad = |bad: Malformed| Broke::From(io::Error::new(io::ErrorKind::InvalidData, bad));
    let mut decoder = BodyDecoder::new(read_as);
    let mut encoder = BodyEncoder::new(write_as);
    let (mut plain, mut framed) = (Vec::new(), Vec::new());
    loop {
        plain.clear();
        framed.clear();
        let more = take(from, &mut decoder, &mut plain).map_err(bad)?;
        encoder.encode(&plain, &mut framed).map_err(bad)?;
        if !framed.is_empty() {
            to.write(&framed).await.map_err(Broke::To)?;
        }
        if !more {
            break;
        }
        if from.fill(patience).await.map_err(Broke::From)? == 0 {
            decoder.close().map_err(bad)?;
            break;
        }
    }
    framed.clear();
    encoder.end(&mut framed).map_err(bad)?;
    match framed.is_empty() {
        true => Ok(()),
        false => to.write(&framed).await.map_err(Broke::To),
    }
}

/// Takes what is there; whether there is more to come.
fn take(
    from: &mut Incoming,
    decoder: &mut BodyDecoder,
    out: &mut Vec<u8>,
) -> Result<bool, Malformed> {
    let progress = decoder.decode(&from.buffer, out)?;
    from.buffer.drain(..progress.consumed);
    Ok(!progress.done)
}
