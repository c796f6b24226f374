//! Somebody at a terminal: keys, job control, window size, signals, streams.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/pty.rs"]
mod pty;
#[path = "support/sandbox.rs"]
mod sandbox;
mod support;

use pty::{CTRL_BACKSLASH, CTRL_C, CTRL_D, CTRL_Z, Seat};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, Termios};
use sandbox::{Stage, both, wait_until};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{PATIENCE, end_of, start, wait_for_file};

both!(
    job_control_inside,
    a_terminal_of_its_own,
    no_terminal_at_all,
    the_window_size_follows,
    the_window_size_at_the_start,
    control_c_ends_the_foreground_only,
    control_backslash,
    control_d_ends_the_input,
    the_status_passes,
    settings_come_back,
    settings_come_back_after_a_signal,
    control_z_in_an_outer_shell,
    control_z_leaves_the_settings_alone,
    control_z_in_a_pipeline,
    started_in_the_background,
    continued_in_the_background,
    pipes_instead_of_a_terminal,
    pipes_know_the_end_of_input,
    control_z_with_pipes,
    input_from_a_pipe,
    output_to_a_pipe,
    typing_for_others_is_refused,
    the_window_is_closed,
    forwarded_signals,
    a_signal_at_the_very_end,
    a_signal_from_the_terminal_reaches_the_group,
    stopped_and_continued_by_signals,
    a_closed_output_is_seen_as_closed,
    an_unread_pipe_does_not_hold_up_the_limits,
    an_unread_terminal_does_not_hold_up_the_limits,
    an_unread_terminal_does_not_hold_up_signals,
    a_slow_reader_gets_everything,
);

const BASH: [&str; 4] = ["--", "/usr/bin/bash", "--norc", "--noprofile"];

/// An interactive shell inside.
fn shell_inside(stage: &Stage, flags: &[&'static str]) -> Seat {
    let prompt = ["--env", "PS1"];
    let mut seat = Seat::run(
        stage,
        flags
            .iter()
            .copied()
            .chain(prompt)
            .chain(BASH)
            .chain(["-i"]),
    );
    seat.expect("ready> ");
    seat
}

fn job_control_inside(stage: &Stage) {
    let mut seat = shell_inside(stage, &["-t"]);
    assert!(seat.line("sleep 1000 &").starts_with("[1] "));
    assert!(seat.line("jobs").contains("Running"));
    seat.type_in("fg\n");
    seat.expect("sleep 1000\r\n");
    // bash says what it continues before it hands the terminal over.
    std::thread::sleep(Duration::from_millis(300));
    seat.type_in(CTRL_Z);
    seat.expect("Stopped");
    seat.expect("ready> ");
    assert!(seat.line("bg").contains("sleep 1000 &"));
    assert!(seat.line("jobs").contains("Running"));
    seat.type_in("fg\n");
    seat.expect("sleep 1000\r\n");
    seat.type_in(CTRL_C);
    seat.expect("ready> ");
    assert_eq!(seat.line("echo $?"), "130\n");
    assert_eq!(seat.line("jobs"), "");
    seat.type_in("exit 7\n");
    assert_eq!(seat.end().code(), Some(7));
}

fn a_terminal_of_its_own(stage: &Stage) {
    let script = "tty; test -t 0 && test -t 1 && test -t 2 && echo all; echo mine > /dev/tty; ls -1 /dev/pts; ps -o tpgid= -p $$ | tr -d ' '; echo $$";
    let mut seat = Seat::run(stage, ["--", "/usr/bin/bash", "-c", script]);
    assert_eq!(seat.end().code(), Some(0));
    // The sandbox's own list of terminals has this one only, and the program is in front.
    assert_eq!(
        seat.transcript().replace('\r', ""),
        "/dev/pts/0\nall\nmine\n0\nptmx\n2\n2\n"
    );
}

/// `-t` makes a terminal even where the caller has none.
fn no_terminal_at_all(stage: &Stage) {
    let mut child = start(
        stage
            .casemate()
            .args(["run", "-t", "--", "tty"])
            .stdout(Stdio::piped()),
    );
    let mut said = String::new();
    let mut stdout = child.stdout.take().unwrap();
    let status = end_of(&mut child, PATIENCE / 4);
    stdout.read_to_string(&mut said).unwrap();
    assert_eq!((status.code(), &*said), (Some(0), "/dev/pts/0\r\n"));
}

fn the_window_size_follows(stage: &Stage) {
    let script = "trap 'stty size; exit 3' WINCH; stty size; while :; do sleep 0.05; done";
    let mut seat = Seat::run(stage, ["--", "sh", "-c", script]);
    seat.expect("24 80\r\n");
    seat.resize(33, 99);
    seat.expect("33 99\r\n");
    assert_eq!(seat.end().code(), Some(3));
}

/// The size is there before the program can ask.
fn the_window_size_at_the_start(stage: &Stage) {
    for _ in 0..20 {
        let mut seat = Seat::run(stage, ["--", "stty", "size"]);
        assert_eq!(seat.end().code(), Some(0));
        assert_eq!(seat.transcript(), "24 80\r\n");
    }
}

fn control_c_ends_the_foreground_only(stage: &Stage) {
    let mut seat = shell_inside(stage, &[]);
    // What is typed while the shell still edits its line may be thrown away.
    seat.type_in("echo on; cat\n");
    seat.expect("cat\r\non\r\n");
    seat.type_in("typed\n");
    seat.expect("typed\r\ntyped\r\n");
    seat.type_in(CTRL_C);
    seat.expect("ready> ");
    assert_eq!(seat.line("echo $?"), "130\n");
    seat.type_in("exit 3\n");
    assert_eq!(seat.end().code(), Some(3));
}

fn control_backslash(stage: &Stage) {
    let mut seat = Seat::run(stage, ["--", "sh", "-c", "echo started; exec sleep 1000"]);
    seat.expect("started");
    seat.type_in(CTRL_BACKSLASH);
    assert_eq!(seat.end().code(), Some(128 + Signal::QUIT.as_raw()));
}

fn control_d_ends_the_input(stage: &Stage) {
    let mut seat = Seat::run(stage, ["--", "sh", "-c", "echo started; cat; echo ended"]);
    seat.expect("started");
    seat.type_in("words\n");
    seat.expect("words\r\nwords\r\n");
    seat.type_in(CTRL_D);
    seat.expect("ended");
    assert_eq!(seat.end().code(), Some(0));
}

fn the_status_passes(stage: &Stage) {
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -TERM $$", 143)] {
        assert_eq!(
            Seat::run(stage, ["--", "sh", "-c", script]).end().code(),
            Some(code),
            "{script}"
        );
    }
}

/// All of the settings that matter to whoever sits there.
fn shown(settings: &Termios) -> String {
    format!(
        "{:?} {:?} {:?} {:?}",
        settings.input_modes, settings.output_modes, settings.control_modes, settings.local_modes
    )
}

fn is_raw(seat: &Seat) -> bool {
    !seat
        .settings()
        .local_modes
        .intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
}

/// Starts something that runs on, and waits until the keys go to it.
fn running(stage: &Stage) -> (Seat, String) {
    let mut seat = Seat::run(stage, ["--", "sh", "-c", "echo started; read line; exit 4"]);
    let before = shown(&seat.settings());
    seat.expect("started");
    wait_until(Duration::from_secs(10), "raw mode", || is_raw(&seat));
    (seat, before)
}

fn settings_come_back(stage: &Stage) {
    let (mut seat, _) = running(stage);
    seat.type_in("\n");
    assert_eq!(seat.end().code(), Some(4));
    let fresh = shown(&Seat::start(stage, "true", [""; 0]).settings());
    assert_eq!(shown(&seat.settings()), fresh);
    // Also if it never came to a program.
    let mut seat = Seat::run(stage, ["--", "no-such-program"]);
    assert_eq!(seat.end().code(), Some(127));
    assert_eq!(shown(&seat.settings()), fresh);
}

fn settings_come_back_after_a_signal(stage: &Stage) {
    for signal in [Signal::TERM, Signal::HUP, Signal::QUIT] {
        let (mut seat, _) = running(stage);
        seat.signal(signal);
        assert_eq!(seat.end().code(), Some(128 + signal.as_raw()));
        assert!(!is_raw(&seat), "{signal:?}");
    }
    let mut seat = Seat::run(stage, ["--time", "300ms", "--", "sleep", "1000"]);
    assert_eq!(seat.end().code(), Some(124));
    assert!(!is_raw(&seat));
}

/// Types a command with `casemate` for `CM` at an outer shell's prompt.
fn type_command(stage: &Stage, seat: &mut Seat, command: &str) {
    let line = command.replace("CM", &stage.text("casemate"));
    seat.type_in(&format!("{line}\n"));
    seat.expect("\r\n");
}

fn control_z_in_an_outer_shell(stage: &Stage) {
    let mut seat = Seat::shell(stage);
    type_command(
        stage,
        &mut seat,
        "CM run -- sh -c 'echo started; read line; echo \"got $line\"; exit 5'",
    );
    seat.expect("started");
    seat.type_in(CTRL_Z);
    seat.expect("Stopped");
    seat.expect("ready> ");
    assert!(seat.line("jobs").contains("Stopped"));
    seat.type_in("fg\n");
    seat.expect("exit 5'\r\n");
    seat.type_in("words\n");
    seat.expect("got words");
    seat.expect("ready> ");
    assert_eq!(seat.line("echo $?"), "5\n");
}

fn control_z_leaves_the_settings_alone(stage: &Stage) {
    let mut seat = Seat::shell(stage);
    let before = seat.line("stty -a");
    for _ in 0..3 {
        type_command(
            stage,
            &mut seat,
            "CM run -- sh -c 'echo started; exec sleep 1000'",
        );
        seat.expect("started");
        seat.type_in(CTRL_Z);
        seat.expect("Stopped");
        seat.expect("ready> ");
        assert_eq!(seat.line("stty -a"), before);
        seat.type_in("fg\n");
        seat.expect("sleep 1000'\r\n");
        // The keys must go inside again, which takes a moment.
        wait_until(Duration::from_secs(10), "raw mode", || is_raw(&seat));
        seat.type_in(CTRL_C);
        seat.expect("ready> ");
        assert_eq!(seat.line("echo $?"), "130\n");
        assert_eq!(seat.line("stty -a"), before);
    }
}

/// The shell waits until every process of the job has stopped.
fn control_z_in_a_pipeline(stage: &Stage) {
    let mut seat = Seat::shell(stage);
    type_command(
        stage,
        &mut seat,
        "CM run -- sh -c 'echo started >&2; read line; echo \"got $line\"' | cat",
    );
    seat.expect("started");
    seat.type_in(CTRL_Z);
    seat.expect("Stopped");
    seat.expect("ready> ");
    seat.type_in("fg\n");
    seat.expect("| cat\r\n");
    seat.type_in("words\n");
    seat.expect("got words");
    seat.expect("ready> ");
}

/// Types at the outer shell while a sandbox runs in the background: the keys and the settings
/// belong to the shell.
fn shell_keeps_the_terminal(stage: &Stage, seat: &mut Seat) {
    for number in 0..5 {
        let said = seat.line(&format!("echo typed $(({number} + 1))"));
        assert_eq!(said, format!("typed {}\n", number + 1));
        assert!(!is_raw(seat), "{}", seat.transcript());
        std::thread::sleep(Duration::from_millis(50));
    }
    stage.write("ws/go", "");
    wait_for_file(stage, "ws/file");
    let jobs = seat.line("jobs");
    assert!(!jobs.contains("Stopped"), "{}", seat.transcript());
}

/// Runs until the test lets it end.
/// By bash, which forks: a shell that uses vfork(2) can't be stopped while its child, stopped first,
/// has not executed yet.
const WAITS: &str = "while ! test -e go; do sleep 0.05; done; echo done > file";

fn started_in_the_background(stage: &Stage) {
    let mut seat = Seat::shell(stage);
    let command = format!("CM run -- bash -c 'echo here > up; {WAITS}' &");
    type_command(stage, &mut seat, &command);
    seat.expect("ready> ");
    wait_for_file(stage, "ws/up");
    shell_keeps_the_terminal(stage, &mut seat);
}

fn continued_in_the_background(stage: &Stage) {
    let mut seat = Seat::shell(stage);
    let command = format!("CM run -- bash -c 'echo started; {WAITS}'");
    type_command(stage, &mut seat, &command);
    seat.expect("started\r\n");
    seat.type_in(CTRL_Z);
    seat.expect("Stopped");
    seat.expect("ready> ");
    seat.line("bg");
    shell_keeps_the_terminal(stage, &mut seat);
}

fn pipes_instead_of_a_terminal(stage: &Stage) {
    let script = "for fd in 0 1 2; do test -t $fd || test ! -p /dev/fd/$fd || echo pipe; done; echo error >&2; exec 3<> /dev/tty";
    let mut seat = Seat::run(stage, ["-T", "--", "bash", "-c", script]);
    assert_ne!(seat.end().code(), Some(0));
    let said = seat.transcript().replace('\r', "");
    // Two pipes have no order between them.
    assert_eq!(said.matches("pipe\n").count(), 3, "{said}");
    assert_eq!(said.matches("error\n").count(), 1, "{said}");
    assert!(
        said.contains("/dev/tty: No such device or address"),
        "{said}"
    );
}

fn pipes_know_the_end_of_input(stage: &Stage) {
    let mut seat = Seat::run(
        stage,
        ["-T", "--", "sh", "-c", "echo started; cat; echo ended"],
    );
    seat.expect("started");
    seat.type_in("words\n");
    seat.expect("words\r\nwords\r\n");
    seat.type_in(CTRL_D);
    seat.expect("ended");
    assert_eq!(seat.end().code(), Some(0));
}

fn control_z_with_pipes(stage: &Stage) {
    let mut seat = Seat::shell(stage);
    type_command(
        stage,
        &mut seat,
        "CM run -T -- sh -c 'echo started; read line; echo \"got $line\"; exit 6'",
    );
    seat.expect("started");
    seat.type_in(CTRL_Z);
    seat.expect("Stopped");
    seat.expect("ready> ");
    seat.type_in("fg\n");
    seat.expect("exit 6'\r\n");
    seat.type_in("words\n");
    seat.expect("got words");
    seat.expect("ready> ");
    assert_eq!(seat.line("echo $?"), "6\n");
}

fn input_from_a_pipe(stage: &Stage) {
    let mut seat = Seat::shell(stage);
    type_command(
        stage,
        &mut seat,
        "echo piped | CM run -- sh -c 'cat; test -t 0 || echo in is no terminal; test -t 1 && echo out is one'",
    );
    assert_eq!(
        seat.expect("ready> ").replace('\r', ""),
        "piped\nin is no terminal\nout is one\n"
    );
    type_command(
        stage,
        &mut seat,
        "yes | CM run -- sh -c 'echo started; exec sleep 1000'",
    );
    seat.expect("started");
    seat.type_in(CTRL_C);
    seat.expect("ready> ");
    assert_eq!(seat.line("echo $?"), "130\n");
}

fn output_to_a_pipe(stage: &Stage) {
    let mut seat = Seat::shell(stage);
    type_command(
        stage,
        &mut seat,
        "CM run -- sh -c 'test -t 0 && test -t 2 && read line && echo \"got $line\"' | od -c",
    );
    seat.type_in("words\n");
    let said = seat.expect("ready> ");
    // What goes to a pipe has no carriage returns.
    assert!(
        said.contains("g   o   t       w   o   r   d   s  \\n\r\n"),
        "{said}"
    );
}

fn typing_for_others_is_refused(stage: &Stage) {
    let script = "
import fcntl, os, termios
for name, request, argument in (('TIOCSTI', termios.TIOCSTI, b'x'), ('TIOCLINUX', 0x541c, b'\\3\\0\\0\\0')):
    for path in ('/dev/stdin', '/dev/tty', '/dev/pts/0'):
        try:
            fcntl.ioctl(os.open(path, os.O_RDWR), request, argument)
            print(name, 'works at', path)
        except OSError as error:
            print(name, error.strerror)
";
    let mut seat = Seat::run(stage, ["--", "/usr/bin/python3", "-c", script]);
    assert_eq!(seat.end().code(), Some(0));
    let refused = ["TIOCSTI", "TIOCLINUX"]
        .map(|name| format!("{name} Operation not permitted\n").repeat(3))
        .concat();
    assert_eq!(seat.transcript().replace('\r', ""), refused);
}

fn the_window_is_closed(stage: &Stage) {
    let mut seat = Seat::run(
        stage,
        [
            "--",
            "sh",
            "-c",
            "trap 'echo up > file; exit 9' HUP; echo started; while :; do sleep 0.05; done",
        ],
    );
    seat.expect("started");
    seat.hang_up();
    seat.end_unread();
    wait_for_file(stage, "ws/file");
}

/// Starts `casemate run -- sh -c SCRIPT` without a terminal; the script says when it is ready.
fn ready(stage: &Stage, script: &str) -> (Child, impl BufRead + use<>) {
    let script = format!("{script}\necho ready\nwhile :; do sleep 0.05; done");
    let mut child = start(
        stage
            .casemate()
            .args(["run", "--", "bash", "-c", &script])
            .stdout(Stdio::piped()),
    );
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, reader)
}

fn forwarded_signals(stage: &Stage) {
    let signals = [
        ("TERM", Signal::TERM),
        ("INT", Signal::INT),
        ("HUP", Signal::HUP),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("ALRM", Signal::ALARM),
        ("CONT", Signal::CONT),
        ("WINCH", Signal::WINCH),
    ];
    for (name, signal) in signals {
        let (mut child, mut reader) =
            ready(stage, &format!("trap 'echo got {name}; exit 5' {name}"));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = end_of(&mut child, PATIENCE / 4);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!((status.code(), said), (Some(5), format!("got {name}\n")));
    }
    // And one that nobody handles does what it does.
    for signal in [Signal::TERM, Signal::HUP, Signal::USR1] {
        let (mut child, _reader) = ready(stage, "");
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(
            end_of(&mut child, PATIENCE / 4).code(),
            Some(128 + signal.as_raw())
        );
    }
}

/// An order that init never reads, as it ends just then, must not cost the message before it.
fn a_signal_at_the_very_end(stage: &Stage) {
    for round in 0..60 {
        let mut child = start(stage.casemate().args(["run", "--", "sh", "-c", "exit 7"]));
        let pid = Pid::from_child(&child);
        let status = loop {
            // Harmless to a process that runs, even before its signals are taken care of.
            let _ = kill_process(pid, Signal::CONT);
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
        };
        assert_eq!(status.code(), Some(7), "round {round}");
    }
}

/// What a terminal sends goes to every process in front, not only to the first.
fn a_signal_from_the_terminal_reaches_the_group(stage: &Stage) {
    let child = "(trap 'echo child; exit' INT; echo started; while :; do sleep 0.05; done)";
    let script = format!("trap 'echo parent; exit 3' INT; {child}; echo not here");
    let mut seat = Seat::run(stage, ["-T", "--", "sh", "-c", &script]);
    seat.expect("started");
    seat.type_in(CTRL_C);
    seat.expect("child");
    seat.expect("parent");
    assert_eq!(seat.end().code(), Some(3));
}

fn stopped_and_continued_by_signals(stage: &Stage) {
    let (mut child, mut reader) = ready(stage, "trap 'echo done; exit 2' TERM");
    let pid = Pid::from_child(&child);
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next())
            .unwrap()
    };
    kill_process(pid, Signal::TSTP).unwrap();
    wait_until(Duration::from_secs(10), "casemate to stop", || {
        state() == 'T'
    });
    kill_process(pid, Signal::CONT).unwrap();
    wait_until(Duration::from_secs(10), "casemate to go on", || {
        state() != 'T'
    });
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(end_of(&mut child, PATIENCE / 4).code(), Some(2));
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert_eq!(said, "done\n");
}

/// A program that closes its output lets the reader go on, as outside.
fn a_closed_output_is_seen_as_closed(stage: &Stage) {
    let mut child = start(
        stage
            .casemate()
            .args([
                "run",
                "--",
                "sh",
                "-c",
                "echo said; exec >&-; read line; exit 8",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped()),
    );
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut said = String::new();
        stdout.read_to_string(&mut said).map(|_| said)
    });
    let closed = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        reader.is_finished()
    });
    drop(child.stdin.take());
    end_of(&mut child, PATIENCE);
    assert_eq!(reader.join().unwrap().unwrap(), "said\n");
    assert!(
        closed,
        "the pipe was still open two seconds after the program closed it"
    );
}

/// Runs something endless with a time limit of a second, its output going where nobody reads.
fn stopped_in_time(command: &mut Command) {
    let (_unread, output) = std::io::pipe().unwrap();
    let started = Instant::now();
    let mut child = start(command.stdout(output));
    assert_eq!(end_of(&mut child, PATIENCE / 4).code(), Some(124));
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "it took {:?}",
        started.elapsed()
    );
}

fn an_unread_pipe_does_not_hold_up_the_limits(stage: &Stage) {
    stopped_in_time(stage.casemate().args(["run", "--time", "1s", "--", "yes"]));
    stopped_in_time(
        stage
            .casemate()
            .args(["run", "-t", "--time", "1s", "--", "yes"]),
    );
}

fn an_unread_terminal_does_not_hold_up_the_limits(stage: &Stage) {
    for flag in ["-t", "-T"] {
        let mut seat = Seat::run(stage, [flag, "--time", "1s", "--", "yes"]);
        assert_eq!(seat.end_unread().code(), Some(124), "{flag}");
    }
}

fn an_unread_terminal_does_not_hold_up_signals(stage: &Stage) {
    for flag in ["-t", "-T"] {
        let mut seat = Seat::run(stage, [flag, "--", "yes"]);
        std::thread::sleep(Duration::from_millis(500));
        seat.signal(Signal::TERM);
        assert_eq!(seat.end_unread().code(), Some(143), "{flag}");
    }
}

/// Nothing is lost if the reader rests, which a pager does.
fn a_slow_reader_gets_everything(stage: &Stage) {
    let all: String = (1..=3000).map(|number| format!("{number}\r\n")).collect();
    for flag in ["-t", "-T"] {
        let mut seat = Seat::run(stage, [flag, "--", "seq", "3000"]);
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(seat.end().code(), Some(0));
        let said = seat.transcript();
        assert!(
            said == all,
            "{flag}: {} of {} bytes came",
            said.len(),
            all.len()
        );
    }
}
