//! A network of its own with nothing but loopback in it, and a resolver's configuration of its own:
//! what is called `port 53` and `port 443` there is nobody else's, and no name is known but those
//! that a test's own server answers for. Making one needs root.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use crate::sandbox::Stage;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// See the module. It ends with the process that holds it.
pub(crate) struct Island {
    holder: Child,
}

/// Programs that it's made with.
const PROGRAMS: [&str; 3] = ["/usr/bin/unshare", "/usr/bin/nsenter", "/usr/sbin/ip"];

impl Island {
    /// Makes one; says so if this machine can't.
    pub(crate) fn new(stage: &Stage) -> Option<Self> {
        let missing = PROGRAMS.iter().find(|path| !Path::new(path).exists());
        if let Some(path) = missing {
            println!("skipped: needs {path}");
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let configuration = stage.path("outside/resolv.conf");
        std::fs::write(&configuration, "nameserver 127.0.0.1\n").unwrap();
        let script = "ip link set lo up\n\
                      echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start\n\
                      mount --bind \"$0\" /etc/resolv.conf\n\
                      echo ready\n\
                      read forever";
        let mut holder = Command::new("/usr/bin/unshare")
            .args(["--net", "--mount", "--", "/bin/sh", "-ec", script])
            .arg(&configuration)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = holder.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the namespaces are made");
        Some(Self { holder })
    }

    /// A program in it, as this user, in this folder and without an environment.
    pub(crate) fn command(&self, uid: u32, folder: &Path, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("/usr/bin/nsenter");
        command
            .arg(format!("--target={}", self.holder.id()))
            .args(["--net", "--mount"])
            .arg(format!("--wd={}", folder.display()));
        if uid != 0 {
            command.arg(format!("--setuid={uid}"));
            command.arg(format!("--setgid={uid}"));
        }
        command.arg("--").arg(program).env_clear();
        command
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        // It reads the end of its input, and ends.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
