//! One compilation in a process of its own, from the controller's side.
//!
//! The result is in a file of the controller's, whose length the kernel bounds while the compiler
//! writes. It is looked at when the compiler is dead and the file sealed, so nobody can change it any
//! more: a compiler that was taken over by its guest can write what it likes, but only once.

use super::inside::kind;
use super::order::Order;
use super::tree::Tree;
use super::{CompileLimits, Failure, LONGEST_REFUSAL, Obituary, Worker};
use crate::wire::{Broken, Malformed, Reader};
use casemate_core::error::Error;
use casemate_sys::Errno;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};
use std::time::{Duration, Instant};

const COMPILER: &str = "the compiler";

/// How long a compiler may take to die once it has closed its socket.
const GRACE: Duration = Duration::from_secs(1);

/// Why nothing was compiled.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Uncompiled {
    /// The compiler refuses the guest, and says why.
    #[error("the module is refused: {0}")]
    Refused(String),
    /// It took longer than it may.
    #[error("compile the module: it takes longer than {}", seconds(.0))]
    Late(Duration),
    /// The result is longer than it may be.
    #[error("compile the module: the result is longer than {0} bytes")]
    TooLong(u64),
    /// The compiler died.
    #[error("compile the module: the compiler died: {0}")]
    Died(Box<Obituary>),
    /// There was no compiler.
    #[error(transparent)]
    Unstarted(#[from] Failure),
}

fn seconds(time: &Duration) -> String {
    format!("{} s", time.as_secs_f32())
}

/// What nobody may do to a file of which two processes have to think the same.
const SEALED: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

/// Compiles what is in a sealed file into another sealed file.
pub(super) fn compile(
    tree: &Tree,
    input: BorrowedFd<'_>,
    limits: &CompileLimits,
    patience: Duration,
) -> Result<OwnedFd, Uncompiled> {
    let started = Instant::now();
    let seals =
        fcntl_get_seals(input).map_err(|errno| Failure::step("read the module's seals", errno))?;
    if !seals.contains(SEALED) {
        let error = Error::rule(
            "compile the module",
            "its file isn't sealed against changes",
        );
        return Err(Failure::from(error).into());
    }
    let output =
        result_file().map_err(|errno| Failure::step("make a file for the result", errno))?;
    let order = Order::Compile {
        memory: limits.memory,
        // One more, so that a result that is too long can be told from one that just fits.
        output: limits.output.saturating_add(1),
        seconds: limits.time.as_secs().saturating_add(1),
    };
    let handed = tree.order(&order, &[input, output.as_fd()])?;
    let handed = handed.greet(COMPILER, patience.min(limits.time))?;
    let mut compiler = Compiler(Worker::of_any(handed));
    let said = compiler.listen(started + limits.time);
    compiler.end(patience);
    let length = adopt(&output).map_err(|errno| Failure::step("seal the result", errno))?;
    match said {
        Err(Broken::Late) => Err(Uncompiled::Late(limits.time)),
        _ if length > limits.output => Err(Uncompiled::TooLong(limits.output)),
        Err(_) => Err(Uncompiled::Died(Box::new(compiler.0.obituary()))),
        Ok(Err(text)) => Err(Uncompiled::Refused(text)),
        Ok(Ok(())) => Ok(output),
    }
}

/// Memory that nobody executes as a program and that can be sealed.
fn result_file() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create("wasm-compiled", flags | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3 there is no such flag.
        Err(Errno::INVAL) => memfd_create("wasm-compiled", flags),
        file => file,
    }
}

/// Takes over what a dead compiler wrote; its length.
fn adopt(output: &OwnedFd) -> Result<u64, Errno> {
    fcntl_add_seals(output, SEALED | SealFlags::SEAL)?;
    Ok(fstat(output)?.st_size as u64)
}

/// One that runs.
struct Compiler(Worker);

impl Compiler {
    /// What it says: that it is done, or what is wrong with the guest.
    fn listen(&mut self, deadline: Instant) -> Result<Result<(), String>, Broken> {
        let (frame, _) = self.0.connection.receive(Some(deadline))?;
        match frame.kind {
            kind::COMPILED => Ok(Ok(())),
            kind::REFUSED => {
                let mut reader = Reader::new(&frame.payload);
                let text = reader.text_within(LONGEST_REFUSAL, "a refusal")?.to_owned();
                reader.end()?;
                Ok(Err(text))
            }
            _ => Err(Malformed::Meaningless.into()),
        }
    }

    /// Kills it, and returns when it is dead and known how it died. It may be dying just now, and of
    /// what shall be told, so the signal isn't sent to one that has closed its socket.
    fn end(&mut self, patience: Duration) {
        let rest = self.0.connection.receive(Some(Instant::now()));
        if !matches!(rest, Err(Broken::Gone)) || self.0.wait(GRACE).is_none() {
            self.0.kill();
        }
        self.0.wait(patience);
    }
}
