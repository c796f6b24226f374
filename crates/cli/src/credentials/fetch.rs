//! Secrets brought from where they are.

use super::view;
use casemate_core::error::{Error, Result};
use casemate_core::spec::SandboxSpec;
use casemate_policy::credentials::Source;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

/// The longest secret.
const MOST: usize = 64 << 10;

/// Others than the owner.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

const STEP: &str = "read a secret";

/// Brings one; the error never has a part of it.
pub(super) fn fetch(
    source: &Source,
    spec: &SandboxSpec,
    notes: &mut Vec<String>,
) -> Result<Zeroizing<Vec<u8>>> {
    let mut secret = match source {
        Source::Env(name) => {
            let value = std::env::var_os(name).ok_or_else(|| {
                Error::rule(STEP, format!("the variable {name} is not set"))
                    .hint("set it for casemate, not for the program")
            })?;
            Zeroizing::new(value.into_vec())
        }
        Source::File(path) => file(path, spec, notes)?,
        Source::Command(words) => command(words)?,
    };
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
    if secret.is_empty() {
        return Err(Error::rule(STEP, "it is empty"));
    }
    Ok(secret)
}

fn file(path: &Path, spec: &SandboxSpec, notes: &mut Vec<String>) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |error: &std::io::Error| Error::io(STEP, error).on(path.display());
    let refuse = |why: &str| Error::rule(STEP, why).on(path.display());
    view::refuse_visible(path, spec)?;
    // Looked at before it's opened: opening a FIFO waits for a writer.
    if !std::fs::metadata(path)
        .map_err(|error| failed(&error))?
        .is_file()
    {
        return Err(refuse("this is no regular file"));
    }
    let file = File::open(path).map_err(|error| failed(&error))?;
    let meta = file.metadata().map_err(|error| failed(&error))?;
    let hint = format!("chmod 600 {}", path.display());
    if meta.mode() & OTHERS_WRITE != 0 {
        return Err(refuse("others than its owner can change it").hint(hint));
    }
    if meta.mode() & OTHERS != 0 {
        let path = path.display();
        notes.push(format!(
            "others than its owner can read the secret in {path}: {hint}"
        ));
    }
    read(file, &path.display().to_string())
}

/// What a program prints; what it says on standard error is for the caller.
fn command(words: &[String]) -> Result<Zeroizing<Vec<u8>>> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Error::rule(STEP, "there is no program to ask"));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Error::io(STEP, &error).on(program))?;
    let printed = match child.stdout.take() {
        Some(stdout) => read(stdout, program),
        None => Err(Error::rule(STEP, "it has no output").on(program)),
    };
    if printed.is_err() {
        // It may still be printing.
        let _ = child.kill();
    }
    let status = child
        .wait()
        .map_err(|error| Error::io(STEP, &error).on(program))?;
    match status.success() || printed.is_err() {
        true => printed,
        false => Err(Error::rule(STEP, format!("the program failed: {status}")).on(program)),
    }
}

/// Reads into memory that isn't moved, so that no copy is left behind.
fn read(mut from: impl Read, name: &str) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; MOST + 1]);
    let mut length = 0;
    while length < bytes.len() {
        match from.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(STEP, &error).on(name)),
        }
    }
    if length > MOST {
        return Err(Error::rule(STEP, format!("it is longer than {MOST} bytes")).on(name));
    }
    bytes.truncate(length);
    Ok(bytes)
}
