//! What `--help` says of each command is what the list of commands says of it.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/program.rs"]
mod program;

use std::process::Command;

fn help(of: &[&str]) -> String {
    let mut command = Command::new(program::casemate());
    let output = command.args(of).arg("--help").output().unwrap();
    assert!(output.status.success(), "{of:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Names and summaries of the commands that a help text lists.
fn listed(help: &str) -> Vec<(&str, &str)> {
    let (_, after) = help.split_once("\nCommands:\n").unwrap_or_default();
    let lines = after.lines().take_while(|line| line.starts_with("  "));
    lines
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(name, summary)| (name, summary.trim()))
        .collect()
}

#[test]
fn every_command_says_what_the_list_says() {
    let top = help(&[]);
    let commands = listed(&top);
    assert!(commands.len() >= 6, "{top}");
    for (name, summary) in commands {
        let own = help(&[name]);
        assert_eq!(own.lines().next(), Some(summary), "{name}");
        for (inner, summary) in listed(&own) {
            let own = help(&[name, inner]);
            assert_eq!(own.lines().next(), Some(summary), "{name} {inner}");
        }
    }
}
