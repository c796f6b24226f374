//! The one task of a process, from its start until it is forgotten.

use super::births::Births;
use super::end::End;
use super::input::{self, Kind, Writer};
use super::output::{Output, Subscriber};
use super::pump::pump;
use super::ring::Source;
use super::spawn::{Plan, Streams};
use super::table::{Process, Table};
use super::watched::watched;
use crate::Agent;
use casemate_proto::connectrpc::ConnectError;
use casemate_proto::process::{PTY, ProcessConfig};
use casemate_sys::process::command::{News, Started};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, pidfd_send_signal, waitid,
    waitpid,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long an end is told to clients that come late.
const REMEMBERED: Duration = Duration::from_secs(30);

/// What is to be started.
pub(super) struct Order {
    pub(super) plan: Plan,
    pub(super) config: ProcessConfig,
    pub(super) tag: Option<String>,
    pub(super) terminal: Option<PTY>,
    pub(super) stdin: bool,
    /// When it is killed.
    pub(super) deadline: Option<Instant>,
}

/// The first subscriber, and the process's number.
pub(super) type Begun = Result<(u32, Subscriber), ConnectError>;

/// Our ends of its streams.
enum Ends {
    Pipes(AsyncFd<OwnedFd>, AsyncFd<OwnedFd>),
    Terminal(Arc<AsyncFd<OwnedFd>>),
}

/// Starts a process and stays with it. The answer comes once the program runs; if nobody waits
/// for it any more, the program runs all the same.
pub(super) async fn live(
    agent: Arc<Agent>,
    table: Arc<Table>,
    order: Order,
    answer: oneshot::Sender<Begun>,
) {
    let output = Arc::new(Output::new());
    // Before there is a process, so that its first word isn't missed.
    let Some(subscriber) = output.subscribe(super::output::From::Now) else {
        return;
    };
    let deadline = order.deadline;
    let (process, ends, writer) = match begin(&agent.births, order, &output).await {
        Ok(begun) => begun,
        Err(error) => {
            let _ = answer.send(Err(error));
            return;
        }
    };
    let process = Arc::new(process);
    let key = table.add(Arc::clone(&process));
    // A client that has left takes its subscription along.
    let _ = answer.send(Ok((process.pid, subscriber)));
    let end = attend(&process, &ends, writer, deadline).await;
    table.end(key);
    output.finish(end);
    drop((ends, process));
    tokio::time::sleep(REMEMBERED).await;
    table.forget(key);
}

async fn begin(
    births: &Births,
    order: Order,
    output: &Arc<Output>,
) -> Result<(Process, Ends, Writer), ConnectError> {
    let (started, streams) = match &order.terminal {
        Some(size) => order.plan.with_terminal(births, size)?,
        None => order.plan.with_pipes(births, order.stdin)?,
    };
    let Started { pid, pidfd, news } = started;
    let pidfd = watched(pidfd, Interest::READABLE).map_err(|error| {
        abandon(pid);
        unwatched(error)
    })?;
    let (ends, input, writer) = match running(&order.plan, news, streams).await {
        Ok(begun) => begun,
        Err(error) => {
            // Ended already, if it told why.
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            reap(&pidfd).await;
            return Err(error);
        }
    };
    let terminal = match &ends {
        Ends::Terminal(master) => Some(Arc::clone(master)),
        Ends::Pipes(..) => None,
    };
    let process = Process {
        pid: pid.unsigned_abs(),
        tag: order.tag,
        config: order.config,
        output: Arc::clone(output),
        input,
        pidfd,
        terminal,
    };
    Ok((process, ends, writer))
}

/// Waits until the program runs.
async fn running(
    plan: &Plan,
    news: News,
    streams: Streams,
) -> Result<(Ends, input::Input, Writer), ConnectError> {
    let news = watched(news, Interest::READABLE).map_err(unwatched)?;
    let told = news.async_io(Interest::READABLE, |news| Ok(news.read()?));
    match told.await.map_err(unwatched)? {
        Some(failure) => Err(plan.explain(failure)),
        None => connect(streams).map_err(unwatched),
    }
}

fn unwatched(error: impl Into<std::io::Error>) -> ConnectError {
    ConnectError::internal(format!("watch the process: {}", error.into()))
}

fn connect(streams: Streams) -> std::io::Result<(Ends, input::Input, Writer)> {
    match streams {
        Streams::Pipes {
            stdin,
            stdout,
            stderr,
        } => {
            let read = |fd| watched(fd, Interest::READABLE);
            let write = |fd| watched(fd, Interest::WRITABLE).map(Arc::new);
            let (input, writer) = input::queue(Kind::Stdin, stdin.map(write).transpose()?);
            Ok((Ends::Pipes(read(stdout)?, read(stderr)?), input, writer))
        }
        Streams::Terminal(master) => {
            let master = Arc::new(watched(master, Interest::READABLE | Interest::WRITABLE)?);
            let (input, writer) = input::queue(Kind::Terminal, Some(Arc::clone(&master)));
            Ok((Ends::Terminal(master), input, writer))
        }
    }
}

/// Moves input and output until the process has ended and nobody can print any more, and reaps
/// it only then: its number stays its own as long as it can be asked for.
async fn attend(process: &Process, ends: &Ends, writer: Writer, deadline: Option<Instant>) -> End {
    let printed = async {
        let output = &process.output;
        match ends {
            Ends::Pipes(stdout, stderr) => {
                tokio::join!(
                    pump(stdout, Source::Stdout, output),
                    pump(stderr, Source::Stderr, output)
                );
            }
            Ends::Terminal(master) => pump(master, Source::Terminal, output).await,
        }
    };
    let all = async {
        tokio::join!(printed, exited(&process.pidfd));
    };
    let late = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
        // Gone already is as good.
        let _ = pidfd_send_signal(&process.pidfd, Signal::KILL);
        std::future::pending::<()>().await;
    };
    let write = async {
        writer.run().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = all => {}
        () = late => {}
        () = write => {}
    }
    reap(&process.pidfd).await
}

/// Waits for the end without taking note of it: a pidfd is readable from then on.
async fn exited(pidfd: &AsyncFd<OwnedFd>) {
    // An error means that the runtime goes down.
    let _ = pidfd.readable().await;
}

/// Takes note of the end; doesn't trust readiness enough to block on it.
async fn reap(pidfd: &AsyncFd<OwnedFd>) -> End {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    loop {
        let Ok(mut ready) = pidfd.readable().await else {
            return End::failed("the agent is going down");
        };
        match waitid(WaitId::PidFd(pidfd.as_fd()), options) {
            Ok(Some(status)) => return End::new(&status),
            Ok(None) | Err(Errno::INTR) => ready.clear_ready(),
            Err(errno) => {
                return End::failed(&format!("wait for it: {}", std::io::Error::from(errno)));
            }
        }
    }
}

/// Ends a child that can't be watched. Killed, it doesn't make us wait.
fn abandon(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
        let _ = waitpid(Some(pid), WaitOptions::empty());
    }
}
