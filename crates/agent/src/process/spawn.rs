//! From a request to a process that runs.

use super::births::Births;
use super::terminal::Terminal;
use crate::users::{Credentials, User, is_variable};
use crate::{Agent, paths};
use casemate_proto::connectrpc::ConnectError;
use casemate_proto::process::{PTY, ProcessConfig};
use casemate_sys::process::command::{self, Command, Failure, Started, Step};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// PATH where the agent has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Folders of PATH that are searched.
const FOLDERS: usize = 256;

/// What is to be run, checked.
pub(super) struct Plan {
    name: String,
    places: Vec<CString>,
    args: Vec<CString>,
    env: Vec<CString>,
    folder: PathBuf,
    credentials: Credentials,
}

/// What our ends of its streams are.
pub(super) enum Streams {
    Pipes {
        /// Absent if it has no standard input.
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    Terminal(OwnedFd),
}

impl Plan {
    /// Checks a request of this user.
    pub(super) fn new(
        agent: &Agent,
        user: &User,
        config: &ProcessConfig,
    ) -> Result<Self, ConnectError> {
        let given = agent.given();
        let folder = paths::resolve(
            config.cwd.as_deref().unwrap_or_default(),
            &user.home,
            given.workdir.as_deref(),
        )?;
        if let Err(Errno::NOENT | Errno::NOTDIR) = rustix::fs::stat(&folder) {
            let message = format!("cwd '{}' does not exist", folder.display());
            return Err(ConnectError::invalid_argument(message));
        }
        let own = OWN.iter().filter_map(|name| {
            let value = std::env::var(name).ok()?;
            Some(((*name).to_owned(), value))
        });
        let env = environment(own, user, &given.environment, config)?;
        let args = std::iter::once(&config.cmd).chain(&config.args);
        Ok(Self {
            name: config.cmd.clone(),
            places: places(&config.cmd, env.get("PATH").map_or(PATH, String::as_str))?,
            args: args
                .map(|arg| c(arg.as_str(), "args"))
                .collect::<Result<_, _>>()?,
            env: env
                .iter()
                .map(|(name, value)| c(format!("{name}={value}"), "envs"))
                .collect::<Result<_, _>>()?,
            folder,
            credentials: agent.identities.credentials(user),
        })
    }

    /// Starts it with a terminal.
    pub(super) fn with_terminal(
        &self,
        births: &Births,
        size: &PTY,
    ) -> Result<(Started, Streams), ConnectError> {
        let owner = match self.credentials {
            Credentials::Of { uid, .. } => Some(uid),
            Credentials::Own | Credentials::Root => None,
        };
        let Terminal { master, slave } =
            Terminal::open(size, owner).map_err(|e| machine("open a terminal", e))?;
        let slave = slave.as_fd();
        let started = self.start(births, [slave, slave, slave], true)?;
        Ok((started, Streams::Terminal(master)))
    }

    /// Starts it with pipes.
    pub(super) fn with_pipes(
        &self,
        births: &Births,
        stdin: bool,
    ) -> Result<(Started, Streams), ConnectError> {
        let failed = |errno| machine("make its streams", errno);
        let (input, stdin) = standard_input(stdin).map_err(failed)?;
        let (stdout, output) = pipe_to_us().map_err(failed)?;
        let (stderr, errors) = pipe_to_us().map_err(failed)?;
        let theirs = [input.as_fd(), output.as_fd(), errors.as_fd()];
        let started = self.start(births, theirs, false)?;
        let streams = Streams::Pipes {
            stdin,
            stdout,
            stderr,
        };
        Ok((started, streams))
    }

    fn start(
        &self,
        births: &Births,
        streams: [rustix::fd::BorrowedFd<'_>; 3],
        terminal: bool,
    ) -> Result<Started, ConnectError> {
        let user = match &self.credentials {
            Credentials::Of { uid, gid, groups } => Some(command::User {
                uid: *uid,
                gid: *gid,
                groups,
            }),
            Credentials::Own | Credentials::Root => None,
        };
        let command = Command {
            places: self.places.clone(),
            args: self.args.clone(),
            env: self.env.clone(),
            folder: c(self.folder.as_os_str().as_bytes(), "cwd")?,
            streams,
            terminal,
            user,
        };
        births.start(&command, self.credentials == Credentials::Root)
    }

    /// Why the child ended before its program began.
    pub(super) fn explain(&self, failure: Failure) -> ConnectError {
        let why = std::io::Error::from(failure.errno);
        match failure.step {
            Step::Program => ConnectError::invalid_argument(format!(
                "error starting process '{}': {why}",
                self.name
            )),
            Step::Folder => {
                ConnectError::invalid_argument(format!("cwd '{}': {why}", self.folder.display()))
            }
            Step::User => ConnectError::internal(format!(
                "become the user of the command: {why}\n\
                 hint: an agent that isn't root runs all commands as its own user (--alone)"
            )),
            step => ConnectError::internal(format!("prepare the process ({step:?}): {why}")),
        }
    }
}

/// Variables that commands have from the agent: where programs are, and the files with the roots
/// that they are to trust.
const OWN: [&str; 8] = [
    "PATH",
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "DENO_CERT",
];

/// The variables of a command, later ones over earlier: the agent's own, the account's, those of
/// `/init`, those of the request.
fn environment(
    own: impl IntoIterator<Item = (String, String)>,
    user: &User,
    given: &BTreeMap<String, String>,
    config: &ProcessConfig,
) -> Result<BTreeMap<String, String>, ConnectError> {
    let home = user.home.to_string_lossy().into_owned();
    let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    env.extend(own);
    env.extend([
        ("HOME".to_owned(), home),
        ("USER".to_owned(), user.name.clone()),
        ("LOGNAME".to_owned(), user.name.clone()),
    ]);
    env.extend(given.clone());
    for (name, value) in &config.envs {
        if !is_variable(name, value) {
            let message = format!("envs: '{}' can't be a variable", name.escape_debug());
            return Err(ConnectError::invalid_argument(message));
        }
        env.insert(name.clone(), value.clone());
    }
    Ok(env)
}

/// Where a program may be: a path is one place, a name one in each folder of PATH.
fn places(name: &str, path: &str) -> Result<Vec<CString>, ConnectError> {
    if name.is_empty() {
        return Err(ConnectError::invalid_argument("cmd is empty"));
    }
    if name.contains('/') {
        return Ok(vec![c(name, "cmd")?]);
    }
    path.split(':')
        .take(FOLDERS)
        .map(|folder| if folder.is_empty() { "." } else { folder })
        .map(|folder| c(Path::new(folder).join(name).as_os_str().as_bytes(), "cmd"))
        .collect()
}

/// The program's end and ours; `/dev/null` if it gets no input.
fn standard_input(wanted: bool) -> Result<(OwnedFd, Option<OwnedFd>), Errno> {
    if !wanted {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        return Ok((rustix::fs::open("/dev/null", flags, Mode::empty())?, None));
    }
    let (theirs, ours) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((theirs, Some(ours)))
}

/// Our end and the program's. Only ours doesn't block: programs don't expect it of theirs.
fn pipe_to_us() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

fn c(text: impl Into<Vec<u8>>, field: &str) -> Result<CString, ConnectError> {
    CString::new(text)
        .map_err(|_| ConnectError::invalid_argument(format!("{field}: has a NUL byte")))
}

/// What fails for want of something that the machine may have again.
pub(super) fn machine(step: &str, errno: Errno) -> ConnectError {
    let message = format!("{step}: {}", std::io::Error::from(errno));
    match errno {
        Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOSPC => {
            ConnectError::resource_exhausted(message)
        }
        _ => ConnectError::internal(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        User {
            name: "user".into(),
            uid: 1,
            gid: 1,
            groups: vec![1],
            home: "/home/user".into(),
        }
    }

    #[test]
    fn the_request_overrides_init_and_init_the_account() {
        let given = [("HOME", "/h"), ("A", "init"), ("B", "init")];
        let given = given.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        let mut config = ProcessConfig::default();
        config.envs.insert("A".to_owned(), "request".to_owned());
        let own = [("PATH", "/bin"), ("SSL_CERT_FILE", "/ca")];
        let own = own.map(|(n, v)| (n.to_owned(), v.to_owned()));
        let env = environment(own, &user(), &given, &config).unwrap();
        let env: Vec<_> = env.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let expected = [
            "A=request",
            "B=init",
            "HOME=/h",
            "LOGNAME=user",
            "PATH=/bin",
            "SSL_CERT_FILE=/ca",
            "USER=user",
        ];
        assert_eq!(env, expected);
    }

    #[test]
    fn odd_variables_are_refused() {
        for (name, value) in [("", "x"), ("A=B", "x"), ("A", "\0")] {
            let mut config = ProcessConfig::default();
            config.envs.insert(name.to_owned(), value.to_owned());
            assert!(environment([], &user(), &BTreeMap::new(), &config).is_err());
        }
    }

    #[test]
    fn a_name_is_searched_and_a_path_is_not() {
        let found = |name| {
            let places = places(name, "/a:/b/::c").unwrap();
            places
                .iter()
                .map(|p| p.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("x"), ["/a/x", "/b/x", "./x", "c/x"]);
        assert_eq!(found("./x"), ["./x"]);
        assert_eq!(found("/x"), ["/x"]);
        assert!(places("", "/a").is_err() && places("a\0", "/a").is_err());
    }
}
