//! The log: lines on standard error, as text or as JSON.
//!
//! They go through a bounded queue to a thread that writes them: a terminal or a pipe that nobody
//! reads holds up no request. What the queue has no room for is lost, counted, and said later.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use tracing_subscriber::fmt::MakeWriter;

/// Lines on their way.
const ON_THE_WAY: usize = 4096;
/// For the last ones.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

enum Message {
    Line(Vec<u8>),
    /// Is told when everything before it is written.
    Flush(SyncSender<()>),
}

/// See the module. Copies are the same log.
#[derive(Clone)]
pub(super) struct Log {
    messages: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

impl Log {
    /// One that ends up here.
    pub(super) fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (messages, received) = sync_channel(ON_THE_WAY);
        let lost = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&lost);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(out, &received, &counted))?;
        Ok(Self { messages, lost })
    }

    /// Waits for a little until what was said is written.
    pub(super) fn flush(&self) {
        let until = Instant::now() + PATIENCE;
        let (done, written) = sync_channel(1);
        let mut flush = Message::Flush(done);
        // A full queue empties as fast as somebody reads.
        while let Err(TrySendError::Full(back)) = self.messages.try_send(flush) {
            if Instant::now() >= until {
                return;
            }
            flush = back;
            std::thread::sleep(LOOK_AGAIN);
        }
        let _ = written.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn write(mut out: impl Write, messages: &Receiver<Message>, lost: &AtomicU64) {
    // Nobody is left to tell if it can't be written.
    while let Ok(message) = messages.recv() {
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let _ = writeln!(out, "casemate: note: {missing} lines of the log were lost");
        }
        match message {
            Message::Line(line) => drop(out.write_all(&line)),
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line {
            text: Vec::new(),
            log: self.clone(),
        }
    }
}

/// A line that is being written.
pub(super) struct Line {
    text: Vec<u8>,
    log: Log,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let line = Message::Line(std::mem::take(&mut self.text));
        if self.log.messages.try_send(line).is_err() {
            self.log.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Log, ON_THE_WAY};
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex, mpsc};
    use tracing_subscriber::fmt::MakeWriter;

    /// Writes when it may.
    struct Slow(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_never_waits_and_what_is_lost_is_told() {
        let (go_on, may) = mpsc::sync_channel(1);
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let log = Log::to(Slow(may, Arc::clone(&written))).unwrap();
        for _ in 0..2 * ON_THE_WAY {
            log.make_writer().write_all(b"a line\n").unwrap();
        }
        drop(go_on);
        log.flush();
        log.make_writer().write_all(b"the last\n").unwrap();
        log.flush();
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.contains("lines of the log were lost\n"), "{text}");
        assert!(text.ends_with("the last\n"), "{text}");
    }
}
