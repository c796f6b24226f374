//! Programs that keep processors busy.

use super::Result;
use std::process::{Child, Command};

/// They end with this value.
pub(crate) struct Busy(Vec<Child>);

impl Busy {
    /// So many, which give way to others a little.
    pub(crate) fn start(count: usize) -> Result<Self> {
        let mut busy = Self(Vec::new());
        for _ in 0..count {
            let mut program = Command::new("nice");
            program.args(["-n", "10", "sh", "-c", "while :; do :; done"]);
            busy.0.push(program.spawn()?);
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
