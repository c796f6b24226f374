//! What `casemate doctor --json` has to find on a 6.1 kernel.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// How doctor tells Landlock's ABI in Linux 6.1 (landlock(7): 5.19 to 6.1 have 2).
const LANDLOCK_ABI: &str = "ABI 2";

#[derive(Deserialize)]
struct Document {
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    name: String,
    status: String,
    value: String,
}

/// Landlock has its ABI 2, and PAGEMAP_SCAN (Linux 6.7) is missing.
pub(crate) fn check(text: &str) -> Result<String> {
    let document: Document = serde_json::from_str(text).context("not the JSON of doctor")?;
    let landlock = document.named("landlock")?;
    if landlock.value.split(" without ").next() != Some(LANDLOCK_ABI) {
        bail!("landlock should have {LANDLOCK_ABI}: {}", landlock.value);
    }
    let pagemap = document.named("pagemap-scan")?;
    if pagemap.status != "missing" {
        bail!("pagemap-scan should be missing: {}", pagemap.status);
    }
    let lines = document.checks.iter().map(|check| {
        let Check {
            name,
            status,
            value,
        } = check;
        format!("{status:8} {name:16} {value}")
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

impl Document {
    fn named(&self, name: &str) -> Result<&Check> {
        let mut checks = self.checks.iter();
        checks
            .find(|check| check.name == name)
            .with_context(|| format!("no check {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(landlock: &str, pagemap: &str) -> String {
        let check = |name: &str, status: &str, value: &str| serde_json::json!({ "name": name, "status": status, "value": value, "remedy": null });
        let checks = [
            check("landlock", "weak", landlock),
            check("pagemap-scan", pagemap, "x"),
        ];
        serde_json::json!({ "ready": true, "checks": checks }).to_string()
    }

    #[test]
    fn an_old_kernel_is_recognised() {
        check(&document("ABI 2 without truncate, TCP", "missing")).expect("a 6.1 kernel");
        check(&document("ABI 2", "missing")).expect("a 6.1 kernel");
    }

    #[test]
    fn a_newer_kernel_is_told_apart() {
        assert!(check(&document("ABI 22", "missing")).is_err());
        assert!(check(&document("ABI 2", "ok")).is_err());
        assert!(check("{}").is_err());
    }
}
