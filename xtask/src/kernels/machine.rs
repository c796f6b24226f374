//! The emulated machine. It needs no KVM: every instruction is translated, which is slow
//! and works everywhere.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::protocol::{Line, Step};
use crate::packages;

/// Quiet, since the console is only for what goes wrong; Landlock first; a panic ends QEMU.
const KERNEL_LINE: &str = "console=ttyS1 loglevel=4 panic=-1 lsm=landlock,lockdown,yama,apparmor \
                           mitigations=off -- guest-init";

/// A guest that has been started; it ends with this value.
pub(crate) struct Machine {
    child: Child,
    console: PathBuf,
}

/// What the guest's steps came to.
pub(crate) struct Run {
    pub(crate) steps: Vec<Step>,
    /// Why there may be fewer steps than there should be.
    pub(crate) cut_short: Option<String>,
}

impl Machine {
    /// Boots a kernel with an initramfs; the console goes to a file in `folder`.
    pub(crate) fn start(kernel: &Path, image: &Path, folder: &Path) -> Result<Self> {
        let qemu = packages::installed("qemu-system-x86_64", "qemu-system-x86")?;
        let console = folder.join("console.log");
        let child = Command::new(&qemu)
            .args([
                "-nodefaults",
                "-no-user-config",
                "-no-reboot",
                "-display",
                "none",
            ])
            .args([
                "-machine",
                "q35",
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max",
            ])
            .args(["-smp", "2", "-m", "1024"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(image)
            .args(["-append", KERNEL_LINE])
            .args([
                "-chardev",
                "stdio,id=steps,signal=off",
                "-serial",
                "chardev:steps",
            ])
            .args(["-serial", &format!("file:{}", console.display())])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", qemu.display()))?;
        Ok(Machine { child, console })
    }

    /// Follows the guest until it ends, or for `limit` at most.
    pub(crate) fn steps(mut self, limit: Duration) -> Result<Run> {
        let output = self
            .child
            .stdout
            .take()
            .context("the guest has no serial line")?;
        let lines = follow(output);
        let deadline = Instant::now() + limit;
        let mut steps = Vec::new();
        let ending = loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Line::Step(step)) => {
                    eprintln!("xtask: {:4} {}", step.status, step.name);
                    steps.push(step);
                }
                Ok(Line::End(count)) if count == steps.len() => break None,
                Ok(Line::End(count)) => {
                    break Some(format!("{count} steps were made, not all arrived"));
                }
                Err(RecvTimeoutError::Disconnected) => break Some("the guest stopped".to_owned()),
                Err(RecvTimeoutError::Timeout) => {
                    break Some(format!("the guest took more than {} s", limit.as_secs()));
                }
            }
        };
        let cut_short = ending.map(|why| self.explain(&why, &steps));
        Ok(Run { steps, cut_short })
    }

    fn explain(&self, why: &str, steps: &[Step]) -> String {
        let after = steps
            .last()
            .map_or("before its first step", |step| &step.name);
        let log = fs::read(&self.console).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(15)..].join("\n");
        let file = self.console.display();
        format!("{why} (last step: {after})\nits console ({file}) ends with:\n{tail}")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the serial line beside the clock; ends with the machine.
fn follow(output: impl Read + Send + 'static) -> Receiver<Line> {
    let (sender, receiver) = sync_channel(16);
    std::thread::spawn(move || {
        for text in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = Line::parse(&String::from_utf8_lossy(&text));
            if line.is_some_and(|line| sender.send(line).is_err()) {
                return;
            }
        }
    });
    receiver
}
