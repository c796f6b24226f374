//! What this machine is, as far as the kernel tells everybody.

use std::fs;

/// Bytes of the machine's memory: all of it, and what is in use.
pub(super) fn memory() -> (u64, u64) {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = kib(&text, "MemTotal:");
    (total, total.saturating_sub(kib(&text, "MemAvailable:")))
}

/// A line of `/proc/meminfo` (proc_meminfo(5)), in bytes.
fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// The processors that this process may use.
pub(super) fn processors() -> u32 {
    let count = std::thread::available_parallelism();
    count.map_or(1, |count| count.get() as u32)
}

/// Family, model, and the model's name of the first processor (proc_cpuinfo(5)).
pub(super) fn processor() -> [String; 3] {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    ["cpu family", "model", "model name"].map(|name| {
        let value = text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        });
        value.unwrap_or_default()
    })
}
