//! What flags ask for.

use super::run::RunArgs;
use super::wall;
use crate::run::{absolute, environment_rule};
use casemate_core::error::{Error, Result};
use casemate_core::spec::{Access, EnvRule};
use casemate_wasm::tool::{Folder, Invocation, Job, Moment};
use jiff::Timestamp;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A job, and the folders that the wall lets it see.
pub(super) struct Wish {
    pub(super) job: Job,
    pub(super) grants: Vec<(PathBuf, Access)>,
}

/// Puts together what a guest is told.
pub(super) fn wish(args: &RunArgs, cwd: &Path) -> Result<Wish> {
    let name = args.tool.file_name().unwrap_or(args.tool.as_os_str());
    let mut grants = Vec::new();
    let mut folders = Vec::new();
    for text in &args.dir {
        let (folder, grant) = folder(text, cwd)?;
        folders.push(folder);
        grants.push(grant);
    }
    let mut env = Vec::new();
    for text in &args.env {
        let (name, value) = match environment_rule(text)? {
            EnvRule::Set(name, value) => (name, Some(value)),
            EnvRule::Pass(name) => {
                let value = std::env::var_os(&name);
                (name, value)
            }
        };
        if let Some(value) = value {
            env.push((utf8("--env", &name)?, utf8("--env", &value)?));
        }
    }
    let words = args.args.iter().map(|word| utf8("as an argument", word));
    let job = Job {
        name: name.to_string_lossy().into_owned(),
        args: words.collect::<Result<_>>()?,
        env,
        folders,
        invoke: args.invoke.as_ref().map(|words| invocation(words)),
        fuel: args.fuel,
        counts: args.json.is_some(),
        memory: args.memory.unwrap_or_else(wall::default_memory).0,
        timeout: args.timeout,
        clock: args.clock,
        random_seed: args.random_seed,
    };
    Ok(Wish { job, grants })
}

fn invocation(words: &[String]) -> Invocation {
    let (function, args) = words
        .split_first()
        .map_or(("", &[][..]), |(first, rest)| (first, rest));
    Invocation {
        function: function.into(),
        args: args.to_vec(),
    }
}

/// `PATH` or `PATH:ro`; the guest calls the folder as it was called here.
fn folder(text: &OsStr, cwd: &Path) -> Result<(Folder, (PathBuf, Access))> {
    let (path, writable) = match text.as_bytes().strip_suffix(b":ro") {
        Some(path) => (Path::new(OsStr::from_bytes(path)), false),
        None => (Path::new(text), true),
    };
    let asked = absolute("--dir", path, cwd)?;
    let fail = |error: &std::io::Error| {
        Error::io("bring in --dir", error)
            .on(asked.display())
            .hint("--dir PATH brings a folder in, --dir PATH:ro for reading only")
    };
    let real = std::fs::canonicalize(&asked).map_err(|error| fail(&error))?;
    if !real.is_dir() {
        return Err(fail(&std::io::ErrorKind::NotADirectory.into()));
    }
    let name = utf8("--dir", path.as_os_str())?;
    let bare = name.trim_end_matches('/');
    let folder = Folder {
        path: real,
        name: if bare.is_empty() { name } else { bare.into() },
        writable,
    };
    let access = match writable {
        true => Access::ReadWrite,
        false => Access::ReadOnly,
    };
    Ok((folder, (asked, access)))
}

/// Texts of WASI are UTF-8.
fn utf8(what: &str, text: &OsStr) -> Result<String> {
    let text: OsString = text.into();
    text.into_string().map_err(|text| {
        Error::rule(
            format!("use {what}"),
            "it is not UTF-8, and WASI has no other texts",
        )
        .on(text.display())
    })
}

/// A time as RFC 3339 has it, or seconds since 1970.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    const FORM: &str = "expected a time such as 2026-01-31T12:00:00Z, or seconds since 1970";
    if let Ok(seconds) = text.parse() {
        return Ok(Moment {
            seconds,
            nanoseconds: 0,
        });
    }
    let time: Timestamp = text.parse().map_err(|_| FORM)?;
    let seconds = u64::try_from(time.as_second()).map_err(|_| "the time is before 1970")?;
    let nanoseconds =
        u32::try_from(time.subsec_nanosecond()).map_err(|_| "the time is before 1970")?;
    Ok(Moment {
        seconds,
        nanoseconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_texts_or_seconds() {
        let moment_of = |seconds, nanoseconds| {
            Ok(Moment {
                seconds,
                nanoseconds,
            })
        };
        assert_eq!(moment("86400"), moment_of(86400, 0));
        assert_eq!(
            moment("1970-01-02T00:00:00.5Z"),
            moment_of(86400, 500_000_000)
        );
        assert_eq!(moment("1970-01-02T01:00:00+01:00"), moment_of(86400, 0));
        for bad in [
            "",
            "now",
            "-1",
            "1969-12-31T23:59:59Z",
            "1969-12-31T23:59:59.5Z",
        ] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
