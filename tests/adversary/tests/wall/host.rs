//! A process of the caller that has nothing to do with the sandbox.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use crate::process::{Descriptors, spawn};
use crate::stage::User;

pub(crate) struct Victim(Child);

impl Victim {
    /// Starts it and waits until it can take signals.
    pub(crate) fn start(descriptors: &Descriptors, root: &Path, user: User) -> Self {
        let program = root.join("outside/program");
        let mut command = descriptors.command(&program, root, user);
        command
            .arg("--victim")
            .current_dir(root.join("outside"))
            .stdout(Stdio::piped());
        command.env("ATTEMPT_WORKSPACE", root.join("workspace"));
        command.env("ATTEMPT_SECRET", root.join("home/.ssh/id_ed25519"));
        let mut child = spawn(&mut command);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
