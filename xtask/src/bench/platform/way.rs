//! A way to a program: directly, or through the gateway into a sandbox.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::peer::{CHUNK, head};

/// Where a connection goes, and the headers that say whom it is for.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) address: SocketAddr,
    pub(super) headers: String,
}

impl Way {
    /// A connection, and the head of the answer to this request, whose other headers are given.
    pub(super) fn ask(&self, request: &str, headers: &str) -> Result<(TcpStream, String)> {
        let mut stream = self.send(request, headers, b"")?;
        let head = head(&mut stream)?.context("no answer")?;
        Ok((stream, head))
    }

    /// The same with a body, and without waiting for an answer.
    pub(super) fn send(&self, request: &str, headers: &str, body: &[u8]) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        let head = format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\n{}{headers}\r\n",
            self.headers
        );
        stream.write_all(&[head.as_bytes(), body].concat())?;
        Ok(stream)
    }

    /// Reads so many bytes from this path. MiB a second.
    pub(super) fn download(&self, path: &str, size: usize) -> Result<f64> {
        let since = Instant::now();
        let (mut stream, head) = self.ask(&format!("GET {path}"), "")?;
        ensure!(head.contains(" 200 "), "GET {path}: {head}");
        let mut chunk = vec![0; CHUNK];
        let mut left = size;
        while left > 0 {
            let most = left.min(CHUNK);
            match stream.read(&mut chunk[..most])? {
                0 => bail!("cut off: {left} bytes of {size} are missing"),
                read => left -= read,
            }
        }
        Ok(rate(size, since))
    }

    /// Sends so many bytes to this path. MiB a second.
    pub(super) fn upload(&self, path: &str, size: usize) -> Result<f64> {
        let chunk = vec![0; CHUNK];
        let chunks = std::iter::repeat_n(&chunk[..], size / CHUNK);
        let since = Instant::now();
        self.put(path, size / CHUNK * CHUNK, chunks)?;
        Ok(rate(size, since))
    }

    /// Sends these bytes.
    pub(super) fn put<'a>(
        &self,
        path: &str,
        size: usize,
        chunks: impl Iterator<Item = &'a [u8]>,
    ) -> Result<()> {
        let headers =
            format!("Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n");
        let mut stream = self.send(&format!("POST {path}"), &headers, b"")?;
        for chunk in chunks {
            stream.write_all(chunk)?;
        }
        let head = head(&mut stream)?.context("no answer")?;
        ensure!(head.contains(" 200 "), "POST {path}: {head}");
        Ok(())
    }

    /// Sends as much as goes through an upgraded connection, and reads it back, until it is to stop.
    pub(super) fn flood(&self, stop: &AtomicBool) -> Result<()> {
        let headers = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let (stream, head) = self.ask("GET /", headers)?;
        ensure!(head.contains(" 101 "), "upgrade: {head}");
        std::thread::scope(|scope| {
            let mut reader = stream.try_clone()?;
            let read = scope.spawn(move || {
                let mut chunk = vec![0; CHUNK];
                while reader.read(&mut chunk).is_ok_and(|read| read > 0) {}
            });
            // Frames as a chat has them, many at a time.
            let frames = vec![0; 16 << 10];
            while !stop.load(Ordering::Relaxed) {
                (&stream).write_all(&frames)?;
            }
            stream.shutdown(std::net::Shutdown::Both)?;
            let _ = read.join();
            Ok(())
        })
    }
}

fn rate(size: usize, since: Instant) -> f64 {
    size as f64 / f64::from(1 << 20) / since.elapsed().as_secs_f64()
}
