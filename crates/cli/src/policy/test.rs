//! `casemate policy test`: a policy against a file of cases.

use super::{Reading, answer, counted};
use crate::printer;
use anyhow::anyhow;
use casemate_policy::{Judge, cases};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

// The arguments of `casemate policy test`.
#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 all is as expected; 1 a case isn't; 125 a file can't be used."
)]
pub(super) struct TestArgs {
    /// The policy
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What is expected of it
    #[arg(value_name = "CASES")]
    cases: PathBuf,
    #[command(flatten)]
    reading: Reading,
}

/// Tries each case.
pub(super) fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let judge = Judge::new(&args.reading.load(&args.file)?)?;
    let cases = cases::load(&args.cases).map_err(|error| anyhow!("read the cases:\n{error}"))?;
    let (mut text, mut failed) = (String::new(), 0);
    for case in &cases {
        let name = case.name.replace('\n', " ");
        match case.against(&judge.rule(&case.question)) {
            None => text += &format!("ok    {name}\n"),
            Some(why) => {
                failed += 1;
                let place = format!("{}:{}", args.cases.display(), case.position);
                text += &format!("FAIL  {name} ({place}): {why}\n");
            }
        }
    }
    text += &format!("{}, {failed} failed\n", counted(cases.len(), "case"));
    printer::say(&text)?;
    Ok(answer(failed == 0))
}
