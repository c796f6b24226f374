//! QEMU with a few words, as these tests need it.

use crate::parts::Parts;
use casemate_mux::{Host, Session};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;

/// How long a test waits for what must happen: every instruction of the machine is translated, and
/// other tests run beside it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// A machine that ends with this value.
pub(crate) struct Machine {
    child: Child,
    console: PathBuf,
    /// Its port `casemate.agent`.
    channel: PathBuf,
}

impl Machine {
    pub(crate) fn boot(parts: &Parts, tools: &Path) -> Self {
        let console = parts.folder.path().join("console");
        let channel = parts.folder.path().join("channel");
        let drive = |id: &str, file: &Path, more: &str| {
            format!("if=none,id={id},format=raw,file={}{more}", file.display())
        };
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"]);
        qemu.args([
            "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256",
        ]);
        qemu.arg("-kernel")
            .arg(&parts.kernel)
            .arg("-initrd")
            .arg(&parts.initramfs);
        qemu.args([
            "-append",
            "console=ttyS0 loglevel=4 panic=-1 mitigations=off -- --user root",
        ]);
        qemu.args(["-drive", &drive("root", &parts.root, "")]);
        qemu.args(["-device", "virtio-blk-pci,drive=root"]);
        qemu.args(["-drive", &drive("tools", tools, ",readonly=on")]);
        qemu.args(["-device", "virtio-blk-pci,drive=tools"]);
        qemu.args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]);
        let socket = format!(
            "socket,id=agent,server=on,wait=off,path={}",
            channel.display()
        );
        qemu.args(["-chardev", &socket]);
        qemu.args([
            "-device",
            "virtserialport,chardev=agent,name=casemate.agent",
        ]);
        qemu.args(["-serial", &format!("file:{}", console.display())]);
        let child = qemu.stdin(Stdio::null()).spawn().unwrap();
        Self {
            child,
            console,
            channel,
        }
    }

    /// A session with process 1. What is said before that listens waits in QEMU.
    pub(crate) async fn connect(&self) -> Session {
        let begin = Instant::now();
        let channel = loop {
            match UnixStream::connect(&self.channel).await {
                Ok(channel) => break channel,
                Err(why) => assert!(begin.elapsed() < PATIENCE, "{why}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let connected = Host::connect(channel, PATIENCE).await;
        connected.unwrap_or_else(|why| panic!("{why}; its console:\n{}", self.console()))
    }

    /// What it has written on its console so far.
    pub(crate) fn console(&self) -> String {
        let bytes = fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    /// Its console, once it has switched itself off.
    pub(crate) fn wait_for_end(mut self) -> String {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "QEMU: {status}\n{}", self.console());
                return self.console();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it doesn't end; its console:\n{}", self.console());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
