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

/// Kinds of machines, which find their devices in different ways.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By PCI.
    Q35,
    /// At places in memory that ACPI tells of.
    Microvm,
}

impl Kind {
    /// With 256 MiB, of which the guest needs the least.
    fn arguments(self) -> [&'static str; 2] {
        match self {
            Self::Q35 => ["-machine", "q35"],
            Self::Microvm => ["-machine", "microvm,rtc=on"],
        }
    }

    /// Without a timer to compare with, a kernel can't measure how fast the processor counts.
    fn line(self) -> &'static str {
        match self {
            Self::Q35 => "",
            Self::Microvm => " tsc_early_khz=2600000 lpj=10400000",
        }
    }

    fn device(self, name: &str) -> String {
        match self {
            Self::Q35 => format!("{name}-pci"),
            Self::Microvm => format!("{name}-device"),
        }
    }
}

impl Machine {
    pub(crate) fn boot(kind: Kind, parts: &Parts, tools: &Path) -> Self {
        let console = parts.folder.path().join("console");
        let channel = parts.folder.path().join("channel");
        let line = kind.line();
        let line =
            format!("console=ttyS0 loglevel=4 panic=-1 mitigations=off{line} -- --user root");
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"]);
        qemu.args(kind.arguments())
            .args(["-accel", "tcg", "-cpu", "max", "-m", "256"]);
        qemu.arg("-kernel").arg(&parts.kernel);
        qemu.arg("-initrd")
            .arg(&parts.initramfs)
            .args(["-append", &line]);
        for (id, file, more) in [("root", &*parts.root, ""), ("tools", tools, ",readonly=on")] {
            let file = file.display();
            qemu.args([
                "-drive",
                &format!("if=none,id={id},format=raw,file={file}{more}"),
            ]);
            qemu.args([
                "-device",
                &format!("{},drive={id}", kind.device("virtio-blk")),
            ]);
        }
        qemu.args(["-device", &kind.device("virtio-rng")]);
        qemu.args(["-device", &kind.device("virtio-serial")]);
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

    /// Waits until it has written this on its console.
    pub(crate) async fn wait_for(&self, words: &str) {
        let begin = Instant::now();
        while !self.console().contains(words) {
            assert!(begin.elapsed() < PATIENCE, "{}", self.console());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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
