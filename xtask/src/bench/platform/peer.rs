//! The program at the other end of a port: run in a sandbox, and once more beside it, to be reached
//! directly. `GET /N` is N bytes, a `POST` is swallowed, and after an upgrade every byte comes back.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context, Result};

/// Bytes that are read or written at once.
pub(super) const CHUNK: usize = 128 << 10;
/// The longest head.
const HEAD: usize = 64 << 10;

// Flags of a hidden command.
#[derive(clap::Args)]
pub(crate) struct Peer {
    port: u16,
}

/// Says where it listens, and serves until it is killed.
pub(crate) fn peer(wanted: &Peer) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted.port))?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || {
            // A client that goes away is none of its business.
            let _ = serve(stream);
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let Some(head) = head(&mut stream)? else {
            return Ok(());
        };
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(':'));
            let mut found = lines.filter(|(own, _)| own.eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| value.trim())
        };
        let mut words = head.split([' ', '/']);
        let (method, size) = (words.next(), words.nth(1).unwrap_or_default());
        if let Some(protocol) = header("upgrade") {
            write!(
                stream,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n"
            )?;
            loop {
                match stream.read(&mut chunk)? {
                    0 => return Ok(()),
                    read => stream.write_all(&chunk[..read])?,
                }
            }
        }
        if method == Some("POST") {
            let mut left: usize = header("content-length").unwrap_or("0").parse()?;
            while left > 0 {
                let most = left.min(CHUNK);
                match stream.read(&mut chunk[..most])? {
                    0 => return Ok(()),
                    read => left -= read,
                }
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        let mut left: usize = size.parse().context("the path is no number")?;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n")?;
        while left > 0 {
            let now = left.min(CHUNK);
            stream.write_all(&chunk[..now])?;
            left -= now;
        }
    }
}

/// A head, read so that nothing behind it is taken; none at the end.
pub(super) fn head(stream: &mut impl Read) -> Result<Option<String>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > HEAD || stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}
