//! What the kernel on a micro board is told of the processor's clock.
//!
//! Such a board has nothing by which a kernel could measure it: it would give up, or wait for ever.

use casemate_core::error::{Error, Result};

/// Timer interrupts a second of the kernels that we know (`CONFIG_HZ`); a wrong number makes short
/// waits of the kernel's too long or too short by as much.
const HZ: u64 = 250;

/// The words for a kernel's command line.
pub(super) fn words() -> Result<String> {
    let path = "/proc/cpuinfo";
    let info = std::fs::read_to_string(path).map_err(|error| Error::io("read", &error).on(path))?;
    let khz = khz(&info).ok_or_else(|| {
        Error::rule("find the processor's clock rate", "the kernel doesn't say")
            .on(path)
            .hint("use the board `pci`")
    })?;
    Ok(format!("tsc_early_khz={khz} lpj={}", khz * 1000 / HZ))
}

fn khz(info: &str) -> Option<u64> {
    let line = info.lines().find(|line| line.starts_with("cpu MHz"))?;
    let (mega, rest) = line.split_once(':')?.1.trim().split_once('.')?;
    let kilo: u64 = rest.get(..3)?.parse().ok()?;
    let mega: u64 = mega.parse().ok()?;
    Some(mega * 1000 + kilo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_rate_is_read() {
        let info = "processor\t: 0\ncpu MHz\t\t: 2596.140\ncache size\t: 1 KB\n";
        assert_eq!(khz(info), Some(2_596_140));
        assert_eq!(khz("cpu MHz\t\t: fast"), None);
        assert_eq!(khz(""), None);
    }
}
