//! The text of a policy, with comments for whoever reads it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::gather::{Endpoint, Programs};
use super::{Around, Observation};
use crate::compiled::hex;
use crate::quote::{escaped, shortened};

/// Comments of one kind; what there is more of is counted.
const MAX_LISTED: usize = 20;

/// What couldn't be allowed, and why.
type LeftOut<'a> = &'a [(Observation, &'static str)];

pub(super) fn policy(
    programs: &Programs<'_>,
    around: &Around<'_>,
    left_out: LeftOut<'_>,
) -> String {
    let mut text = String::new();
    for remark in around.remarks {
        line(&mut text, 0, &format!("# {}", escaped(remark)));
    }
    if let Some((path, _)) = around.base {
        line(&mut text, 0, &format!("extends: {}", scalar(path)));
    }
    line(&mut text, 0, "version: 1");
    if around.include_workdir {
        line(&mut text, 0, "filesystem_policy:");
        line(&mut text, 1, "include_workdir: true");
    }
    for (own, why) in left_out.iter().take(MAX_LISTED) {
        line(&mut text, 0, &format!("# left out: {}: {why}", said(own)));
    }
    if let Some(more @ 1..) = left_out.len().checked_sub(MAX_LISTED) {
        line(&mut text, 0, &format!("# and {more} more are left out"));
    }
    line(
        &mut text,
        0,
        match programs.is_empty() {
            true => "network_policies: {}",
            false => "network_policies:",
        },
    );
    let entries = around
        .base
        .map_or(&[][..], |(_, base)| &base.network.entries);
    let mut names: BTreeSet<String> = entries
        .iter()
        .flat_map(|entry| [entry.key.value.clone(), entry.name.clone()])
        .collect();
    for (&(path, sha256, script), endpoints) in programs {
        let seen = sum(endpoints.values());
        line(&mut text, 1, &format!("# {}: {seen}", shortened(path)));
        let key = name(script.unwrap_or(path), &mut names);
        line(&mut text, 1, &format!("{key}:"));
        line(&mut text, 2, "endpoints:");
        for ((host, port), endpoint) in endpoints {
            write_endpoint(host, *port, endpoint, &mut text);
        }
        line(&mut text, 2, "binaries:");
        line(&mut text, 3, &format!("- path: {}", scalar(path)));
        if let Some(digest) = &sha256 {
            line(&mut text, 4, &format!("sha256: \"{}\"", hex(digest)));
        }
        if let Some(script) = script {
            line(&mut text, 4, &format!("script: {}", scalar(script)));
        }
    }
    text
}

fn write_endpoint(host: &str, port: u16, endpoint: &Endpoint<'_>, text: &mut String) {
    let spoken = endpoint.spoken.iter();
    let spoken: String = spoken.map(|spoken| format!(", {spoken}")).collect();
    let seen = sum([endpoint].into_iter());
    line(text, 3, &format!("# {seen}{spoken}"));
    line(text, 3, &format!("- host: {}", scalar(host)));
    line(text, 4, &format!("port: {port}"));
    if endpoint.opaque {
        if !endpoint.requests.is_empty() {
            let different = endpoint.requests.len();
            line(
                text,
                4,
                &format!("# requests ({different} different), and bytes that are none"),
            );
        }
        return line(text, 4, "protocol: any");
    }
    line(text, 4, "protocol: rest");
    line(text, 4, "enforcement: enforce");
    line(text, 4, "rules:");
    for ((method, path), count) in &endpoint.requests {
        let path = scalar(&literal(path));
        let rule = format!("- allow: {{ method: {}, path: {path} }}", scalar(method));
        line(text, 5, &format!("# {}", times(*count)));
        line(text, 5, &rule);
    }
}

/// An observation in one line.
fn said(own: &Observation) -> String {
    let place = format!(
        "{} to {}:{}",
        shortened(&own.binary),
        shortened(&own.host),
        own.port
    );
    match &own.request {
        Some((method, path)) => format!("{place}, {} {}", shortened(method), shortened(path)),
        None => place,
    }
}

fn sum<'e>(endpoints: impl Iterator<Item = &'e Endpoint<'e>>) -> String {
    let add = |(count, bytes): (u64, u64), own: &Endpoint<'_>| {
        (
            count.saturating_add(own.times),
            bytes.saturating_add(own.bytes),
        )
    };
    let (count, bytes) = endpoints.fold((0, 0), add);
    format!("{}, {bytes} bytes", times(count))
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// A key for the entry: the file's name as far as it's plain, and a number if it's taken.
fn name(path: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    let file = path.rsplit('/').next().unwrap_or_default();
    let base: String = file.chars().filter(plain).take(64).collect();
    let base = match base.starts_with(|first: char| first.is_ascii_alphabetic()) {
        true => base,
        false => format!("program{base}"),
    };
    let numbered = (2_usize..).map(|number| format!("{base}-{number}"));
    let mut names = std::iter::once(base.clone()).chain(numbered);
    let name = names.find(|name| !taken.contains(name)).unwrap_or(base);
    taken.insert(name.clone());
    scalar(&name)
}

/// A pattern that only this text matches.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '*' | '?' | '[' | ']' | '{' | '}' => {
                let _ = write!(pattern, "[{letter}]");
            }
            '\\' => pattern.push_str("\\\\"),
            letter => pattern.push(letter),
        }
    }
    pattern
}

/// The text as a scalar of YAML that is a string.
fn scalar(text: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_');
    let word = matches!(&*text.to_ascii_lowercase(), "null" | "true" | "false");
    let begins = text.starts_with(|first: char| first == '/' || first.is_ascii_alphabetic());
    match begins && !word && text.bytes().all(plain) {
        true => text.to_owned(),
        // JSON is YAML.
        false => serde_json::Value::from(text).to_string(),
    }
}

fn line(text: &mut String, level: usize, content: &str) {
    text.extend(std::iter::repeat_n("  ", level));
    text.push_str(content);
    text.push('\n');
}
