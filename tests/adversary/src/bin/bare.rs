//! `bare FOLDER PROGRAM ARGS…` runs a program behind the wall that `casemate wasm run` puts around a
//! guest's process, with one folder: what a guest could do that has broken out of Wasm.

use casemate_core::limits::{ByteSize, Limits};
use casemate_core::spec::{Access, EnvRule, Grant, SandboxSpec};
use casemate_jail::Plan;
use casemate_jail::stay::Given;
use std::ffi::OsString;
use std::fs::File;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let (Some(folder), Some(program)) = (words.next(), words.next()) else {
        eprintln!("usage: bare FOLDER PROGRAM ARGS…");
        return ExitCode::from(99);
    };
    match run(folder, program, words.collect()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("bare: {error}");
            ExitCode::from(99)
        }
    }
}

fn run(folder: OsString, program: OsString, args: Vec<OsString>) -> Result<u8, String> {
    let say = |error: std::io::Error| error.to_string();
    let grant = Grant {
        path: folder.clone().into(),
        access: Access::ReadWrite,
        origin: "bare".into(),
        required: true,
        or_fresh: false,
    };
    let given = Given {
        program: File::open(&program).map_err(say)?.into(),
        kept: File::open("/dev/null").map_err(say)?.into(),
    };
    let command = std::iter::once(program).chain(args).collect();
    let cwd = std::env::current_dir().map_err(say)?;
    let limits = Limits::defaults(ByteSize::mib(2048));
    let mut spec = SandboxSpec::bare(command, vec![grant], cwd, limits);
    let ours =
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ATTEMPT_"));
    spec.env = ours
        .map(|(name, value)| EnvRule::Set(name, value))
        .collect();
    let plan = Plan::new(spec).map_err(|failure| failure.error.to_string())?;
    let finished = casemate_jail::run_given(&plan, &given);
    let finished = finished.map_err(|failure| failure.error.to_string())?;
    Ok(finished.outcome.code())
}
