//! `attempt`: tries one way out of a sandbox and says whether it worked.
//!
//! - `attempt list` prints name, group, what is tried, the needs of the half outside the wall,
//!   and the sandbox's setting; separated by tabs.
//! - `attempt NAME` exits with 0 if the attack succeeded, 77 if it was stopped and 99 if its
//!   preparation failed. "Stopped" means something only for an attack that succeeds where there
//!   is no wall, so the harness makes each one there too.
//! - `attempt --victim` is the process that others are to leave alone.
//! - `attempt --linger FILE` leaves a daemon behind that writes FILE a second later.
//! - `attempt --identity` prints its effective user, for a set-user-ID copy.
//! - `attempt --reach ADDRESS:PORT`, `--reach-after PIPE ADDRESS:PORT`, `--lend FD`, `--hammer` and
//!   `--hold` are what the program does that a policy allows something.

mod attempt;
mod call;
mod capabilities;
mod carriers;
mod devices;
mod egress;
mod exhaustion;
mod fds;
mod files;
mod io_uring;
mod ipc;
mod kernel;
mod keyring;
mod mounts;
mod namespaces;
mod privileges;
mod proc;
mod ptrace;
mod run;
mod seccomp;
mod setid;
mod signals;
mod sockets;
mod stage;
mod terminal;
mod unix;
mod victim;
mod world;
mod writing;

use std::process::ExitCode;

use attempt::Attempt;

/// Every attempt under the name of its group; two files may serve one group.
const GROUPS: &[(&str, &[Attempt])] = &[
    ("files", files::ATTEMPTS),
    ("files", writing::ATTEMPTS),
    ("files", setid::ATTEMPTS),
    ("proc", proc::ATTEMPTS),
    ("devices", devices::ATTEMPTS),
    ("sockets", sockets::ATTEMPTS),
    ("sockets", unix::ATTEMPTS),
    ("ipc", ipc::ATTEMPTS),
    ("ptrace", ptrace::ATTEMPTS),
    ("namespaces", namespaces::ATTEMPTS),
    ("mounts", mounts::ATTEMPTS),
    ("capabilities", capabilities::ATTEMPTS),
    ("capabilities", privileges::ATTEMPTS),
    ("seccomp", seccomp::ATTEMPTS),
    ("seccomp", kernel::ATTEMPTS),
    ("io_uring", io_uring::ATTEMPTS),
    ("keyring", keyring::ATTEMPTS),
    ("fds", fds::ATTEMPTS),
    ("terminal", terminal::ATTEMPTS),
    ("signals", signals::ATTEMPTS),
    ("exhaustion", exhaustion::ATTEMPTS),
    ("carriers", carriers::ATTEMPTS),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["list"] => list(),
        ["--victim"] => victim::wait_for_signals(),
        ["--linger", file] => victim::leave_daemon(file),
        ["--reach", to] => return exit(egress::reach_and_tell(to)),
        ["--reach-after", pipe, to] => return exit(egress::reach_after(pipe, to)),
        ["--lend", fd] => return exit(egress::lend(fd)),
        ["--hammer"] => return exit(egress::hammer()),
        ["--hold"] => call::sleep(200),
        ["--identity"] => println!("{}", unsafe { libc::geteuid() }),
        [name] => return attempt_named(name),
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn exit(code: i32) -> ExitCode {
    ExitCode::from(code as u8)
}

fn groups() -> impl Iterator<Item = (&'static str, &'static [Attempt])> {
    let egress = egress::GROUPS.iter().map(|attempts| ("egress", *attempts));
    GROUPS.iter().copied().chain(egress)
}

fn list() {
    for (group, attempts) in groups() {
        for attempt in attempts {
            let (name, needs, setting) = (attempt.name(), attempt.needs(), attempt.setting.name());
            println!("{name}\t{group}\t{}\t{needs}\t{setting}", attempt.tries);
        }
    }
}

fn attempt_named(name: &str) -> ExitCode {
    let mut attempts = groups().flat_map(|(_, attempts)| attempts);
    match attempts.find(|attempt| attempt.name() == name) {
        Some(attempt) => run::watched(attempt),
        None => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: attempt list | attempt NAME");
    ExitCode::from(2)
}
