//! Requests of the host to the machine itself (`casemate_core::guest` has them).

use super::children::Children;
use super::{names, power};
use crate::{Error, Result};
use casemate_core::guest::{Answer, ENTROPY, LINE, Request, Status};
use rustix::fd::AsFd;
use rustix::time::{ClockId, Timespec, clock_settime};
use std::fs::{self, File};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// How long an answer may take to leave before the power goes.
const FAREWELL: Duration = Duration::from_secs(2);

/// Answers requests until the host has no more, or sends what is none.
pub(super) async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    children: &Children,
) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(LINE, stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut next = (&mut stream).take(LINE as u64);
        if next.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let request = match line.strip_suffix(b"\n") {
            Some(line) => serde_json::from_slice(line).map_err(|e| e.to_string()),
            None => Err(format!("a request is a line of {LINE} bytes at most")),
        };
        let is_last = request.is_err();
        let ends = request == Ok(Request::PowerOff);
        let answer = match request {
            Ok(request) => {
                let answered = answer(request, children).await;
                answered.unwrap_or_else(|e| failed(&e.to_string()))
            }
            Err(why) => failed(&why),
        };
        stream.write_all(&encoded(&answer)).await?;
        stream.flush().await?;
        if ends {
            leave(stream).await;
            power::off();
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Gives the answer time to arrive: the host's end of the conversation says that it has.
async fn leave(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let goodbye = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(FAREWELL, goodbye).await;
}

fn failed(why: &str) -> Answer {
    // An answer is a line of bounded length, and JSON makes of one character six at most.
    Answer::Failed(why.chars().take(LINE / 8).collect())
}

fn encoded(answer: &Answer) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}

async fn answer(request: Request, children: &Children) -> Result<Answer> {
    match request {
        Request::Status => return status(children).map(Answer::Status),
        Request::SetClock {
            seconds,
            nanoseconds,
        } => set_clock(seconds, nanoseconds)?,
        Request::AddEntropy { hex } => add_entropy(&hex)?,
        Request::SetHostName { name } => names::set_host_name(&name)?,
        Request::Release => children.release()?,
        // It waits for disks, and other connections don't.
        Request::Sync => tokio::task::spawn_blocking(rustix::fs::sync)
            .await
            .map_err(|e| Error::rule("sync", e.to_string()))?,
        // Done by the caller, once this answer is on its way.
        Request::PowerOff => {}
    }
    Ok(Answer::Done)
}

fn status(children: &Children) -> Result<Status> {
    let file = "/proc/sys/kernel/random/boot_id";
    let boot_id = fs::read_to_string(file).map_err(|e| Error::io("read", &e).on(file))?;
    Ok(Status {
        boot_id: boot_id.trim_end().to_owned(),
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        agent_starts: children.starts(),
    })
}

fn set_clock(seconds: i64, nanoseconds: u32) -> Result<()> {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.into(),
    };
    clock_settime(ClockId::Realtime, time)
        .map_err(|e| Error::errno("set the clock", e.raw_os_error()))
}

fn add_entropy(hex: &str) -> Result<()> {
    let step = "add randomness";
    let bytes = bytes(hex).ok_or_else(|| {
        let why = format!("it isn't up to {ENTROPY} bytes in hexadecimal digits");
        Error::rule(step, why)
    })?;
    let random = File::open("/dev/urandom").map_err(|e| Error::io(step, &e))?;
    casemate_sys::entropy::add(random.as_fd(), &bytes)
        .map_err(|e| Error::errno(step, e.raw_os_error()))
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let is_bounded = !hex.is_empty() && hex.len() <= 2 * ENTROPY;
    is_bounded.then(|| casemate_core::hex::decode(hex))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn children() -> Children {
        let settings = super::super::Settings {
            program: "/none".into(),
            arguments: Vec::new(),
            agent: Vec::new(),
        };
        Children::new(settings, File::open("/dev/null").unwrap().into())
    }

    async fn conversation(said: &[u8]) -> Vec<Answer> {
        let (mut host, guest) = tokio::io::duplex(64 << 10);
        host.write_all(said).await.unwrap();
        host.shutdown().await.unwrap();
        let _ = converse(guest, &children()).await;
        let mut heard = String::new();
        host.read_to_string(&mut heard).await.unwrap();
        let lines = heard.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn it_says_who_it_is() {
        let answers = conversation(b"{\"do\":\"status\"}\n{\"do\":\"sync\"}\n").await;
        let [Answer::Status(status), Answer::Done] = &answers[..] else {
            panic!("{answers:?}");
        };
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert_eq!(status.boot_id, boot_id.trim_end());
        assert_eq!(status.agent_starts, 0);
    }

    #[tokio::test]
    async fn what_is_refused_goes_on_and_what_is_no_request_ends_it() {
        let bad = b"{\"do\":\"set_host_name\",\"name\":\"a b\"}\n{\"do\":\"add_entropy\",\"hex\":\"zz\"}\n\
                    {\"do\":\"dance\"}\n{\"do\":\"sync\"}\n";
        let answers = conversation(bad).await;
        assert_eq!(answers.len(), 3, "{answers:?}");
        assert!(
            answers
                .iter()
                .all(|answer| matches!(answer, Answer::Failed(_)))
        );
    }

    #[tokio::test]
    async fn a_line_without_end_is_not_kept() {
        let mut long = vec![b' '; LINE * 4];
        long.extend(b"{\"do\":\"sync\"}\n");
        let answers = conversation(&long).await;
        let [Answer::Failed(why)] = &answers[..] else {
            panic!("{answers:?}");
        };
        assert!(why.contains("4096"), "{why}");
    }

    #[test]
    fn an_answer_fits_into_a_line() {
        let answer = failed(&"\u{1}".repeat(LINE * 2));
        assert!(encoded(&answer).len() <= LINE);
    }

    #[test]
    fn randomness_is_hexadecimal_and_bounded() {
        assert_eq!(bytes("00fF10"), Some(vec![0, 255, 16]));
        assert_eq!(bytes(&"00".repeat(ENTROPY)).unwrap().len(), ENTROPY);
        for hex in ["", "0", "0g", "+1", &"00".repeat(ENTROPY + 1)] {
            assert_eq!(bytes(hex), None, "{hex}");
        }
    }
}
