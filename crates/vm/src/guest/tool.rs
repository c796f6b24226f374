//! Programs of the system that do what isn't worth doing again: each has a limit in time and in
//! what it may print, and an absent one is named with the package that holds it.

use casemate_core::error::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Bytes of what a program says of its failure that go into the error.
const LAST_WORDS: usize = 2 << 10;
/// Where administrators' programs are, which a user's PATH may not name.
const FURTHER: [&str; 2] = ["/usr/sbin", "/sbin"];

/// A program, and Debian's package of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tool {
    program: &'static str,
    package: &'static str,
}

impl Tool {
    pub(super) const APT_CACHE: Self = Self::new("apt-cache", "apt");
    pub(super) const APT_GET: Self = Self::new("apt-get", "apt");
    pub(super) const DEBOOTSTRAP: Self = Self::new("debootstrap", "debootstrap");
    pub(super) const DPKG_DEB: Self = Self::new("dpkg-deb", "dpkg");
    pub(super) const GZIP: Self = Self::new("gzip", "gzip");
    pub(super) const MKE2FS: Self = Self::new("mke2fs", "e2fsprogs");
    pub(super) const TAR: Self = Self::new("tar", "tar");
    pub(super) const XZ: Self = Self::new("xz", "xz-utils");
    pub(super) const ZSTD: Self = Self::new("zstd", "zstd");

    const fn new(program: &'static str, package: &'static str) -> Self {
        Self { program, package }
    }

    /// Where it is.
    pub(super) fn find(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(FURTHER.map(PathBuf::from))
            .map(|folder| folder.join(self.program))
            .find(|file| file.is_file())
    }

    /// A command of it, in the C locale.
    pub(super) fn command(self) -> Result<Command> {
        let Self { program, package } = self;
        let found = self.find().ok_or_else(|| {
            Error::rule("find a program", format!("{program} is not on PATH"))
                .hint(format!("apt-get install {package}"))
        })?;
        let mut command = Command::new(found);
        command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        Ok(command)
    }
}

/// Runs a command to its end and gives what it printed: more than `most` bytes, or more time than
/// `limit`, is a failure, and so is an exit status other than zero.
pub(super) fn output(
    step: &str,
    mut command: Command,
    most: u64,
    limit: Duration,
) -> Result<Vec<u8>> {
    let failed = |error: io::Error| Error::io(step, &error);
    // Files instead of pipes: nothing has to be read while it runs.
    let (said, complained) = (tempfile::tempfile(), tempfile::tempfile());
    let (mut said, mut complained) = (said.map_err(failed)?, complained.map_err(failed)?);
    command
        .stdout(said.try_clone().map_err(failed)?)
        .stderr(complained.try_clone().map_err(failed)?);
    let mut child = command.spawn().map_err(failed)?;
    let ended = wait(&mut child, limit).map_err(failed)?;
    match ended {
        Some(status) if status.success() => {
            said.rewind().map_err(failed)?;
            read_bounded(said, most).map_err(failed)
        }
        ended => {
            let program = Path::new(command.get_program());
            let program = program.file_name().unwrap_or_default().display();
            let how = match ended {
                Some(status) => status.to_string(),
                None => format!("no end after {} s", limit.as_secs()),
            };
            let mut words = last_words(&mut complained).map_err(failed)?;
            // Some complain where others print.
            if words.is_empty() {
                words = last_words(&mut said).map_err(failed)?;
            }
            Err(Error::rule(step, format!("{program}: {how}{words}")))
        }
    }
}

/// `None` if it took too long; it is killed then.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let begin = Instant::now();
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let rest = limit.saturating_sub(begin.elapsed());
        let time = Timespec::try_from(rest).map_err(io::Error::other)?;
        let mut ends = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut ends, Some(&time)) {
            Ok(0) => {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            Ok(_) => return child.wait().map(Some),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn last_words(complained: &mut File) -> io::Result<String> {
    let length = complained.seek(io::SeekFrom::End(0))?;
    complained.seek(io::SeekFrom::Start(
        length.saturating_sub(LAST_WORDS as u64),
    ))?;
    let mut bytes = Vec::new();
    complained.take(LAST_WORDS as u64).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim();
    Ok(match text.is_empty() {
        true => String::new(),
        false => format!(": {text}"),
    })
}

/// All of a file, if it isn't longer.
pub(super) fn read_bounded(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::other(format!("more than {most} bytes"))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: Tool = Tool::new("sh", "dash");
    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = SHELL.command().unwrap();
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_it_prints_is_bounded() {
        assert_eq!(output("say", shell("echo yes"), 4, LONG).unwrap(), b"yes\n");
        let error = output("say", shell("echo yes"), 3, LONG).unwrap_err();
        assert_eq!(error.to_string(), "say: more than 3 bytes");
    }

    #[test]
    fn a_failure_has_its_last_words() {
        let error = output("try", shell("echo no way >&2; exit 3"), 9, LONG).unwrap_err();
        assert_eq!(error.to_string(), "try: sh: exit status: 3: no way");
        let error = output("try", shell("echo no way; exit 3"), 9, LONG).unwrap_err();
        assert_eq!(error.to_string(), "try: sh: exit status: 3: no way");
    }

    #[test]
    fn one_that_never_ends_is_killed() {
        let error = output(
            "wait",
            shell("exec sleep 600"),
            9,
            Duration::from_millis(20),
        );
        assert_eq!(error.unwrap_err().to_string(), "wait: sh: no end after 0 s");
    }

    #[test]
    fn an_absent_one_is_named_with_its_package() {
        let error = Tool::new("no-such-program", "no-such-package")
            .command()
            .unwrap_err();
        assert_eq!(
            error.hint.as_deref(),
            Some("apt-get install no-such-package")
        );
    }
}
