//! What a number can't be read without: the machine, the day and the versions.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::tools::{self, Tools};

/// Facts of one run.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) distribution: String,
    pub(crate) processor: String,
    pub(crate) cpus: usize,
    pub(crate) memory_mib: u64,
    /// UTC, `YYYY-MM-DDTHH:MM:SSZ`.
    pub(crate) date: String,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    pub(crate) versions: BTreeMap<String, String>,
}

impl Machine {
    /// Looks around before anything is measured.
    pub(crate) fn describe(tools: &Tools) -> Self {
        Machine {
            versions: versions(tools),
            ..Machine::here()
        }
    }

    /// The same without the versions of anything.
    pub(crate) fn here() -> Self {
        let system = rustix::system::uname();
        Machine {
            kernel: system.release().to_string_lossy().into_owned(),
            distribution: field("/etc/os-release", "PRETTY_NAME=").replace('"', ""),
            processor: field("/proc/cpuinfo", "model name"),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory_mib(),
            date: date(SystemTime::now()),
            load_before: load(),
            load_after: String::new(),
            versions: BTreeMap::new(),
        }
    }

    /// Notes how busy the machine was at the end.
    pub(crate) fn finish(&mut self) {
        self.load_after = load();
    }
}

fn versions(tools: &Tools) -> BTreeMap<String, String> {
    let asked = [
        ("python3", tools.python.as_path()),
        ("git", Path::new("git")),
        ("tar", Path::new("tar")),
    ];
    let mut versions: BTreeMap<String, String> = asked
        .into_iter()
        .map(|(name, file)| (name.to_owned(), tools::version(file).unwrap_or_default()))
        .collect();
    versions.insert("casemate".to_owned(), tools.casemate_version.clone());
    let peers = tools.bubblewraps.iter();
    versions.extend(peers.map(|peer| (peer.name.clone(), peer.version.clone())));
    versions
}

/// What follows the first line start, without the separator.
fn field(file: &str, start: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(start))
        .unwrap_or("unknown");
    rest.trim_start_matches([' ', '\t', ':']).to_owned()
}

fn memory_mib() -> u64 {
    let info = rustix::system::sysinfo();
    let bytes = info.totalram as u64 * u64::from(info.mem_unit);
    bytes / (1 << 20)
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn date(now: SystemTime) -> String {
    let seconds = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days since 1970 to a date. Source: H. Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`; years begin in March, so that leap days come last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_453), (2025, 12, 31));
    }
}
