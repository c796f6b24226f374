//! How large a worker is, asked from outside: what it says of itself isn't believed.

use std::fs::File;
use std::io::Read as _;

/// Bytes of /proc/PID/statm, which are seven numbers.
const LONGEST: u64 = 256;

/// The memory of a process, bytes; `None` once it has ended. As long as it hasn't, which is asked
/// after its numbers were read, its process id is nobody else's, and so are they.
pub(crate) fn resident(pid: i32, has_ended: impl FnOnce() -> bool) -> Option<u64> {
    let statm = File::open(format!("/proc/{pid}/statm")).ok()?;
    let mut text = String::new();
    statm.take(LONGEST).read_to_string(&mut text).ok()?;
    (!has_ended()).then(|| pages(&text)).flatten()
}

/// The second number, in pages (proc_pid_statm(5)).
fn pages(statm: &str) -> Option<u64> {
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_unless_it_has_ended() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(resident(own, || false).unwrap() > 4096);
        assert_eq!(resident(own, || true), None);
        assert_eq!(resident(-1, || false), None);
    }

    #[test]
    fn what_is_no_list_of_numbers_is_nothing() {
        let page = rustix::param::page_size() as u64;
        assert_eq!(pages("9 2 1\n"), Some(2 * page));
        let long = "9 99999999999999999999";
        for bad in ["", "9", "9 -2", long, "9 18446744073709551615"] {
            assert_eq!(pages(bad), None, "{bad}");
        }
    }
}
