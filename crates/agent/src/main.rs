//! `casemate-agent`: the agent as a program of its own.

use casemate_agent::{Error, Identities, Listener, Result, Settings, guest};
use std::process::ExitCode;

const USAGE: &str = "usage: casemate-agent (--listener-fd N | --listen ADDRESS:PORT) [--alone]
                      [--user NAME] [--workdir FOLDER]
       casemate-agent --guest [--alone] [--user NAME] [--workdir FOLDER]

  --listener-fd N   a listening socket, Unix or TCP, that is open as this descriptor
  --listen A:P      listen there
  --guest           be process 1 of a virtual machine, and keep an agent there
  --forgetful       SIGHUP makes it forget its token
  --alone           run every command as the agent's own user
  --user NAME       the user of requests that name none (user)
  --workdir FOLDER  what an empty path means (the user's home)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--help" || a == "-h") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("casemate-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Vec<String>) -> Result<()> {
    if arguments.first().is_some_and(|first| first == "--guest") {
        arguments.remove(0);
        // By the name it was started by: there is no /proc yet that could tell.
        let program = std::env::args_os().next().unwrap_or_default().into();
        return guest::run(guest::Settings {
            program,
            arguments: Vec::new(),
            agent: arguments,
        });
    }
    let settings = settings(arguments)?;
    casemate_agent::run(settings)
}

fn settings(arguments: Vec<String>) -> Result<Settings> {
    let wrong = |what: String| Error::rule("read arguments", what).hint(USAGE);
    let mut listener = None;
    let mut identities = Identities::Real;
    let mut user = "user".to_owned();
    let mut workdir = None;
    let mut forgetful = false;
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let missing = || wrong(format!("{argument} has no value"));
            arguments.next().ok_or_else(missing)
        };
        let bad = |value: &str| wrong(format!("{argument}: '{value}' is not one"));
        match argument.as_str() {
            "--alone" => identities = Identities::Alone,
            "--forgetful" => forgetful = true,
            "--user" => user = value()?,
            "--workdir" => workdir = Some(value()?.into()),
            "--listener-fd" => {
                let number = value()?;
                let raw = number.parse().map_err(|_| bad(&number))?;
                let socket = casemate_sys::descriptor::inherited(raw)
                    .map_err(|e| Error::errno("take over descriptor", e.raw_os_error()).on(raw))?;
                listener = Some(Listener::Given(socket));
            }
            "--listen" => {
                let address = value()?;
                listener = Some(Listener::Tcp(address.parse().map_err(|_| bad(&address))?));
            }
            other => return Err(wrong(format!("'{other}' is unknown"))),
        }
    }
    let listener = listener.ok_or_else(|| wrong("no listener".to_owned()))?;
    Ok(Settings {
        listener,
        identities,
        user,
        workdir,
        forgetful,
    })
}
