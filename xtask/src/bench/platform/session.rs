//! A command in a sandbox that goes on: its stream, and what is typed at its terminal.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::peer::head;
use super::way::Way;

/// See the module. Closed, the command goes on.
pub(super) struct Session {
    stream: BufReader<TcpStream>,
    pid: u64,
}

/// A connection on which keys are typed.
pub(super) struct Keyboard {
    stream: BufReader<TcpStream>,
    request: Vec<u8>,
}

impl Session {
    /// Starts `sh -c SCRIPT`, at a terminal if that is asked for.
    pub(super) fn start(agent: &Way, script: &str, terminal: bool) -> Result<Self> {
        let mut message =
            json!({ "process": { "cmd": "/bin/sh", "args": ["-c", script] }, "stdin": false });
        if terminal {
            message["pty"] = json!({ "size": { "cols": 80, "rows": 24 } });
        }
        let message = message.to_string();
        let headers = format!(
            "Connect-Protocol-Version: 1\r\nContent-Type: application/connect+json\r\nContent-Length: {}\r\n",
            message.len() + 5
        );
        let mut body = vec![0];
        body.extend((message.len() as u32).to_be_bytes());
        body.extend(message.as_bytes());
        let mut stream = agent.send("POST /process.Process/Start", &headers, &body)?;
        let head = head(&mut stream)?.context("no answer")?;
        ensure!(head.contains(" 200 "), "Start: {head}");
        let mut own = Self {
            stream: BufReader::new(stream),
            pid: 0,
        };
        let first = own.event()?;
        own.pid = first["start"]["pid"].as_u64().context("no pid")?;
        Ok(own)
    }

    /// Waits until something that holds this, in base64, was said on this stream.
    pub(super) fn until(&mut self, stream: &str, said: &str) -> Result<()> {
        loop {
            let event = self.event()?;
            if !event["end"].is_null() {
                bail!("it ended: {event}");
            }
            if event["data"][stream]
                .as_str()
                .is_some_and(|data| data.contains(said))
            {
                return Ok(());
            }
        }
    }

    /// A keyboard at its terminal, with one key.
    pub(super) fn keyboard(&self, agent: &Way) -> Result<Keyboard> {
        // "k" in base64.
        let message =
            json!({ "process": { "pid": self.pid }, "input": { "pty": "aw==" } }).to_string();
        let request = format!(
            "POST /process.Process/SendInput HTTP/1.1\r\nHost: localhost\r\n{}Connect-Protocol-Version: 1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{message}",
            agent.headers,
            message.len()
        );
        let stream = TcpStream::connect(agent.address)?;
        stream.set_nodelay(true)?;
        Ok(Keyboard {
            stream: BufReader::new(stream),
            request: request.into_bytes(),
        })
    }

    /// The next event. A chunk may hold several messages, or a part of one, but the agent flushes
    /// each by itself.
    fn event(&mut self) -> Result<Value> {
        loop {
            let chunk = chunk(&mut self.stream)?;
            ensure!(chunk.len() >= 5, "the stream ended");
            let value: Value = serde_json::from_slice(&chunk[5..])?;
            if chunk[0] != 0 {
                bail!("the stream ended: {value}");
            }
            if value["event"]["keepalive"].is_null() {
                return Ok(value["event"].clone());
            }
        }
    }
}

/// A chunk of a body; the last one is empty.
fn chunk(stream: &mut BufReader<TcpStream>) -> Result<Vec<u8>> {
    let mut size = String::new();
    stream.read_line(&mut size)?;
    let size = usize::from_str_radix(size.trim_end(), 16).context("no chunk")?;
    let mut chunk = vec![0; size + 2];
    stream.read_exact(&mut chunk)?;
    chunk.truncate(size);
    Ok(chunk)
}

impl Keyboard {
    /// Presses the key.
    pub(super) fn press(&mut self) -> Result<()> {
        Ok(self.stream.get_mut().write_all(&self.request)?)
    }

    /// Reads that it was taken.
    pub(super) fn taken(&mut self) -> Result<()> {
        let head = head(&mut self.stream)?.context("no answer")?;
        ensure!(head.contains(" 200 "), "SendInput: {head}");
        let lower = head.to_ascii_lowercase();
        let length = lower.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
        if let Some(length) = length {
            return Ok(self.stream.read_exact(&mut vec![0; length])?);
        }
        while !chunk(&mut self.stream)?.is_empty() {}
        Ok(())
    }
}
