//! `casemate identity`: what is trusted on first use, and what to do when a program changed.

use crate::printer::say;
use crate::state;
use anyhow::bail;
use casemate_core::error::Error;
use casemate_identity::store::Record;
use casemate_identity::{Digest, Shown, Store};
use serde::Serialize;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

// The arguments of `casemate identity`.
#[derive(Debug, clap::Args)]
pub(crate) struct IdentityArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List all programs that are remembered
    List {
        /// Print one JSON document instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Show what is remembered of one program
    Show {
        /// Its path, as programs in the sandbox name it
        path: PathBuf,
        /// Print one JSON document instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Trust a program that was refused because it changed
    Approve {
        /// Its path, as programs in the sandbox name it
        path: PathBuf,
        /// Its SHA-256, if several were refused or none was seen yet
        #[arg(long, value_name = "HEX")]
        sha256: Option<OsString>,
    },
    /// Forget a program: what is seen at its path next is trusted
    Forget {
        /// Its path, as programs in the sandbox name it
        path: PathBuf,
    },
}

/// Lists, shows, approves or forgets.
///
/// # Errors
/// The store can't be used, or has nothing to do it with.
pub(crate) fn run(args: IdentityArgs) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::List { json } => list(None, json)?,
        Action::Show { path, json } => list(Some(&path), json)?,
        Action::Approve { path, sha256 } => approve(&path, sha256)?,
        Action::Forget { path } => forget(&path)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The file in which this user's trust is kept.
fn store_path() -> anyhow::Result<PathBuf> {
    let state = state::folder().ok_or_else(|| {
        Error::rule(
            "find the identity store",
            "neither XDG_STATE_HOME nor HOME is an absolute path",
        )
        .hint("set HOME")
    })?;
    Ok(state.join("identity.sqlite"))
}

fn list(path: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let store = Store::open_existing(&store_path()?)?;
    let records = match (&store, path) {
        (None, _) => Vec::new(),
        (Some(store), None) => store.list()?,
        (Some(store), Some(path)) => store.show(bytes(path))?,
    };
    if let (Some(path), true) = (path, records.is_empty()) {
        return Err(unknown("show", path));
    }
    let lines: Vec<Line<'_>> = records.iter().map(Line::of).collect();
    let text = match json {
        true => format!("{}\n", serde_json::to_string_pretty(&lines)?),
        false => lines.iter().map(Line::text).collect(),
    };
    say(&text)
}

/// Without a digest, the one that was refused is meant, if there was one only.
fn approve(path: &Path, sha256: Option<OsString>) -> anyhow::Result<()> {
    let store_path = store_path()?;
    let given = sha256.map(|text| {
        let digest = text.to_str().unwrap_or_default().parse::<Digest>();
        digest.map_err(|why| Error::rule("read --sha256", why).hint("sha256sum prints it"))
    });
    let (store, digest) = match given.transpose()? {
        Some(digest) => (Store::open(&store_path)?, digest),
        None => {
            let Some(store) = Store::open_existing(&store_path)? else {
                return Err(unknown("approve", path));
            };
            let digest = refused(path, &store.show(bytes(path))?)?;
            (store, digest)
        }
    };
    store.approve(bytes(path), digest)?;
    say(&format!(
        "approved {} sha256 {digest}\n",
        Shown(bytes(path))
    ))
}

fn refused(path: &Path, records: &[Record]) -> anyhow::Result<Digest> {
    let refused: Vec<Digest> = records
        .iter()
        .filter(|record| !record.approved)
        .map(|record| record.digest)
        .collect();
    match refused[..] {
        [digest] => Ok(digest),
        [] if records.is_empty() => Err(unknown("approve", path)),
        [] => bail!(
            Error::rule("approve", "nothing was refused there")
                .on(Shown(bytes(path)))
                .hint("to trust a digest before it is seen, give --sha256")
        ),
        _ => bail!(
            Error::rule(
                "approve",
                format!("{} different digests were refused there", refused.len())
            )
            .on(Shown(bytes(path)))
            .hint("`casemate identity show` lists them; name the one that is yours with --sha256")
        ),
    }
}

fn forget(path: &Path) -> anyhow::Result<()> {
    let store = Store::open_existing(&store_path()?)?;
    let forgotten = store.map_or(Ok(0), |store| store.forget(bytes(path)))?;
    if forgotten == 0 {
        return Err(unknown("forget", path));
    }
    say(&format!("forgot {}\n", Shown(bytes(path))))
}

fn unknown(step: &str, path: &Path) -> anyhow::Error {
    Error::rule(step, "nothing is remembered of it")
        .on(Shown(bytes(path)))
        .hint("`casemate identity list` shows the paths that are, as programs in the sandbox name them")
        .into()
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// One digest at one path.
#[derive(Serialize)]
struct Line<'a> {
    /// Escaped where it is no text.
    path: String,
    /// Byte by byte, where it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<&'a [u8]>,
    sha256: String,
    state: &'static str,
    first_seen: String,
    last_seen: String,
}

impl<'a> Line<'a> {
    fn of(record: &'a Record) -> Self {
        let text = std::str::from_utf8(&record.path);
        Self {
            path: text.map_or_else(|_| Shown(&record.path).to_string(), str::to_owned),
            path_bytes: text.is_err().then_some(&*record.path),
            sha256: record.digest.to_string(),
            state: if record.approved {
                "trusted"
            } else {
                "refused"
            },
            first_seen: utc(record.first_seen),
            last_seen: utc(record.last_seen),
        }
    }

    fn text(&self) -> String {
        let path = match self.path_bytes {
            Some(_) => self.path.clone(),
            None => Shown(self.path.as_bytes()).to_string(),
        };
        format!("{} {} {} {path}\n", self.state, self.sha256, self.last_seen)
    }
}

/// Seconds since 1970 as a date and a time (RFC 3339).
pub(crate) fn utc(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years that begin in March have the leap day at their end; 400 of them have 146,097 days.
    let from_march = days + 719_468;
    let (era, day) = (
        from_march.div_euclid(146_097),
        from_march.rem_euclid(146_097),
    );
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (date, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    let year = 400 * era + year + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(-1), "1969-12-31T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(utc(1_800_000_000), "2027-01-15T08:00:00Z");
    }
}
