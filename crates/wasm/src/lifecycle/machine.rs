//! What the machine has.

use casemate_core::error::{Error, Result};

const MEMINFO: &str = "/proc/meminfo";

/// Memory that programs could still get without swapping, bytes (MemAvailable of proc_meminfo(5)).
pub fn available() -> Result<u64> {
    read("MemAvailable")
}

/// All of its memory, bytes.
pub fn total() -> Result<u64> {
    read("MemTotal")
}

fn read(field: &str) -> Result<u64> {
    let step = format!("read {field}");
    let text = std::fs::read_to_string(MEMINFO)
        .map_err(|error| Error::io(step.clone(), &error).on(MEMINFO))?;
    value(&text, field).ok_or_else(|| Error::rule(step, "there is no such line").on(MEMINFO))
}

/// `Field:     123 kB`.
fn value(text: &str, field: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let number = line.trim().strip_suffix("kB")?.trim();
    number.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_less_left_than_it_has() {
        let (available, total) = (available().unwrap(), total().unwrap());
        assert!(0 < available && available < total, "{available} {total}");
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "MemTotal:  8 kB\nMemTotalOf:  9 kB\nBad: many kB\n";
        assert_eq!(value(text, "MemTotal"), Some(8192));
        for field in ["Mem", "Bad", "None"] {
            assert_eq!(value(text, field), None, "{field}");
        }
    }
}
