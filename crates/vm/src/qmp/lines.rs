//! Lines of a bounded length.

use tokio::net::UnixStream;

/// The longest line, bytes. Nothing that is asked here has an answer near that.
const LONGEST: usize = 256 << 10;

/// What came of a connection and isn't a whole line yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// So much of it has been looked through.
    seen: usize,
}

impl Lines {
    /// The next line, without its end.
    pub(super) async fn next(&mut self, socket: &UnixStream) -> Result<Vec<u8>, String> {
        loop {
            let fresh = &self.bytes[self.seen..];
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
                let end = self.seen + end;
                let rest = self.bytes.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.bytes, rest);
                line.truncate(end);
                self.seen = 0;
                return Ok(line);
            }
            self.seen = self.bytes.len();
            if self.seen > LONGEST {
                return Err(format!("a line of it is longer than {LONGEST} bytes"));
            }
            self.more(socket).await?;
        }
    }

    async fn more(&mut self, socket: &UnixStream) -> Result<(), String> {
        let fail = |error: std::io::Error| error.to_string();
        loop {
            socket.readable().await.map_err(fail)?;
            let mut block = [0; 8192];
            match socket.try_read(&mut block) {
                Ok(0) => return Err("it has closed the connection".to_owned()),
                Ok(count) => {
                    self.bytes.extend(&block[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(fail(error)),
            }
        }
    }
}
