//! What Firecracker counts: lines of JSON that it writes into a pipe, a minute apart and whenever it
//! is asked. The last one is kept.

use std::os::fd::OwnedFd;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The longest line, bytes.
const LONGEST: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Counters {
    last: watch::Receiver<Option<String>>,
    reader: JoinHandle<()>,
}

impl Counters {
    pub(super) fn of(pipe: OwnedFd) -> std::io::Result<Self> {
        let pipe = Receiver::from_owned_fd(pipe)?;
        let (tell, last) = watch::channel(None);
        let reader = tokio::spawn(follow(pipe, tell));
        Ok(Self { last, reader })
    }

    /// What is written from now on, the first line of it.
    pub(super) fn next(&self) -> impl Future<Output = Option<String>> + use<> {
        let mut last = self.last.clone();
        last.mark_unchanged();
        async move {
            last.changed().await.ok()?;
            last.borrow().clone()
        }
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn follow(pipe: Receiver, tell: watch::Sender<Option<String>>) {
    let (mut line, mut is_whole) = (Vec::new(), true);
    let mut block = vec![0; 8192];
    while pipe.readable().await.is_ok() {
        let count = match pipe.try_read(&mut block) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        for byte in &block[..count] {
            match byte {
                b'\n' if is_whole => {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    tell.send_replace(Some(text));
                    line.clear();
                }
                b'\n' => (is_whole, line) = (true, Vec::new()),
                _ if line.len() < LONGEST => line.push(*byte),
                _ => is_whole = false,
            }
        }
    }
}
