//! Attempts to get out, each first outside of the wall, where it has to succeed: otherwise
//! its failure inside would show nothing, and it is skipped.

use anyhow::{Result, bail};

use super::Attempts;
use super::image::USER;
use super::protocol::{Status, Step};
use super::stage::{PROGRAM, Stage};
use super::steps::{Ended, run_with};

/// Begins the name of each step that is an attempt.
pub(crate) const PREFIX: &str = "attempt-";
/// Exit statuses of an attempt that got out, that was stopped, that could not be prepared.
const CROSSED: i32 = 0;
const STOPPED: i32 = 77;
const UNPREPARED: i32 = 99;

/// A line of `attempt list`.
struct Listed {
    name: String,
    needs: String,
    setting: String,
}

/// Makes the attempts that were ordered.
pub(crate) fn make(orders: &Attempts, tell: &mut dyn FnMut(Step) -> Result<()>) -> Result<()> {
    if matches!(orders, Attempts::None) {
        return Ok(());
    }
    match chosen(orders) {
        Ok(names) => names.iter().try_for_each(|name| tell(attempt(name))),
        Err(why) => {
            let detail = format!("{why:#}");
            tell(Step {
                name: "attempts".to_owned(),
                status: Status::Fail,
                detail,
            })
        }
    }
}

/// By default those that need no root, no kernel feature and no flag of the sandbox.
fn chosen(orders: &Attempts) -> Result<Vec<String>> {
    let ended = run_with(USER, &[PROGRAM, "list"], &[])?;
    let listed: Vec<Listed> = ended.stdout.lines().filter_map(Listed::parse).collect();
    if listed.is_empty() {
        bail!("the attempts list nothing: {}", ended.shown());
    }
    let Attempts::Named(names) = orders else {
        let plain = listed.into_iter().filter(Listed::is_plain);
        return Ok(plain.map(|attempt| attempt.name).collect());
    };
    match names
        .iter()
        .find(|name| !listed.iter().any(|attempt| attempt.name == **name))
    {
        Some(name) => bail!("there is no attempt {name}\nhint: `attempt list` has their names"),
        None => Ok(names.clone()),
    }
}

impl Listed {
    /// Name, group, what is tried, needs, setting.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, _, _, needs, setting] = fields[..] else {
            return None;
        };
        Some(Listed {
            name: name.into(),
            needs: needs.into(),
            setting: setting.into(),
        })
    }

    fn is_plain(&self) -> bool {
        self.needs.is_empty() && self.setting == "plain"
    }
}

fn attempt(name: &str) -> Step {
    let (status, detail) = match halves(name) {
        Ok(verdict) => verdict,
        Err(why) => (Status::Fail, format!("{why:#}")),
    };
    Step {
        name: format!("{PREFIX}{name}"),
        status,
        detail: detail.trim().to_owned(),
    }
}

fn halves(name: &str) -> Result<(Status, String)> {
    let outside = outside(name)?;
    if outside.status.code() != Some(CROSSED) {
        return Ok((Status::Skip, format!("outside: {}", outside.shown())));
    }
    let inside = inside(name)?;
    Ok(match inside.status.code() {
        Some(STOPPED) => (Status::Ok, inside.stdout),
        Some(UNPREPARED) => (Status::Skip, format!("inside: {}", inside.shown())),
        _ => (Status::Fail, inside.shown()),
    })
}

fn outside(name: &str) -> Result<Ended> {
    let stage = Stage::set()?;
    run_with(USER, &[PROGRAM, name], &stage.environment(true))
}

/// The sandbox hands on only the variables that it is told.
fn inside(name: &str) -> Result<Ended> {
    let stage = Stage::set()?;
    let environment = stage.environment(false);
    let flags: Vec<String> = environment
        .iter()
        .map(|(name, value)| format!("--env={name}={value}"))
        .collect();
    let mut words = vec!["/bin/casemate", "run"];
    words.extend(flags.iter().map(String::as_str));
    words.extend(["--", PROGRAM, name]);
    run_with(USER, &words, &environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_attempts_are_made_unasked() {
        let plain = |line| Listed::parse(line).map(|listed| listed.is_plain());
        assert_eq!(plain("read-shadow\tfiles\treads it\t\tplain"), Some(true));
        assert_eq!(plain("fork-bomb\texhaustion\tforks\t\tpids"), Some(false));
        assert_eq!(plain("mknod\tdevices\tmakes one\troot\tplain"), Some(false));
        assert_eq!(plain("no tabs"), None);
    }
}
