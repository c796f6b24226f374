//! What a run may use, and how a limit that was reached is said.
//!
//! Every limit has a default, since a sandbox without one is a way to take the host down. A
//! limit that was *asked for* must be enforced or the run fails; a *default* may be enforced
//! more weakly, and the report says by what.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// So many mebibytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        for (unit, shift) in UNITS {
            if self.0 >= 1 << shift {
                let tenths = (u128::from(self.0) * 10) >> shift;
                return match tenths % 10 {
                    0 => write!(f, "{} {unit}", tenths / 10),
                    rest => write!(f, "{}.{rest} {unit}", tenths / 10),
                };
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    /// Reads `1048576`, `512K`, `64M`, `2G`, `1T`, and the same with `iB` or `B`. All units are
    /// powers of 1024, as with ulimit(1) and docker(1).
    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "expected a number with K, M, G or T, such as 512M";
        let (number, unit) = number_and_unit(text, FORM)?;
        let shift = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(FORM.into()),
        };
        let bytes = number
            .checked_mul(1 << shift)
            .filter(|bytes| *bytes <= i64::MAX as u64);
        match bytes {
            None => Err("the size is too large".into()),
            Some(0) => Err("the size must be larger than zero".into()),
            Some(bytes) => Ok(Self(bytes)),
        }
    }
}

/// The digits at the start, and what follows them.
fn number_and_unit<'a>(text: &'a str, form: &str) -> Result<(u64, &'a str), String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match text[..digits].parse() {
        Ok(number) => Ok((number, &text[digits..])),
        Err(_) if digits == 0 => Err(form.into()),
        Err(_) => Err("the number is too large".into()),
    }
}

/// Reads a duration: `90`, `90s`, `1500ms`, `5m`, `2h`, `1d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "expected a duration such as 500ms, 30s, 5m or 2h";
    let (number, unit) = number_and_unit(text, FORM)?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(FORM.into()),
    };
    match number
        .checked_mul(millis)
        .filter(|total| *total <= u64::from(u32::MAX) * 1000)
    {
        None => Err("the duration is too long".into()),
        Some(0) => Err("the duration must be longer than zero".into()),
        Some(total) => Ok(Duration::from_millis(total)),
    }
}

/// CPU bandwidth in thousandths of one CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct MilliCpus(pub u32);

impl FromStr for MilliCpus {
    type Err = String;

    /// Reads `2`, `1.5`, `0.25`; the kernel's smallest share is a hundredth.
    fn from_str(text: &str) -> Result<Self, String> {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let count: f64 = text
            .parse()
            .ok()
            .filter(|_| plain)
            .ok_or("expected a number of CPUs such as 2 or 0.5")?;
        if !(0.01..=4096.0).contains(&count) {
            return Err("expected between 0.01 and 4096 CPUs".into());
        }
        Ok(Self((count * 1000.0).round() as u32))
    }
}

/// A limit's value and whether the caller asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit<T> {
    /// The value that is enforced.
    pub value: T,
    /// True if the caller gave it; then weak enforcement is an error.
    pub asked: bool,
}

impl<T> Limit<T> {
    /// The caller's value, or else the default.
    pub fn new(asked: Option<T>, default: T) -> Self {
        match asked {
            Some(value) => Self { value, asked: true },
            None => Self {
                value: default,
                asked: false,
            },
        }
    }
}

/// The limits of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all processes together, bytes.
    pub memory: Limit<ByteSize>,
    /// Threads and processes at one time.
    pub pids: Limit<u32>,
    /// Bytes on the private file systems together.
    pub disk: Limit<ByteSize>,
    /// Files and folders on the private file systems together.
    pub inodes: u64,
    /// Open files of one process (RLIMIT_NOFILE).
    pub open_files: u64,
    /// CPU bandwidth, if limited.
    pub cpus: Option<MilliCpus>,
    /// Wall time, if limited.
    pub time: Option<Duration>,
}

impl Limits {
    /// Default number of processes and threads: room for a parallel build, none for a bomb.
    pub const PIDS: u32 = 2048;
    /// Default open files of one process.
    pub const OPEN_FILES: u64 = 16_384;

    /// The defaults for a machine with so much memory: half of it for the program, and an
    /// eighth for files that live in memory.
    pub fn defaults(total_memory: ByteSize) -> Self {
        let disk = ByteSize((total_memory.0 / 8).clamp(64 << 20, 4 << 30));
        Self {
            memory: Limit::new(None, ByteSize((total_memory.0 / 2).max(64 << 20))),
            pids: Limit::new(None, Self::PIDS),
            disk: Limit::new(None, disk),
            inodes: Self::inodes_for(disk),
            open_files: Self::OPEN_FILES,
            cpus: None,
            time: None,
        }
    }

    /// One inode for each 8 KiB of disk, as mke2fs does for small files, and at least 1,024.
    pub fn inodes_for(disk: ByteSize) -> u64 {
        (disk.0 >> 13).max(1024)
    }
}

/// A limit that was reached, with its measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "limit")]
pub enum Reached {
    /// Memory.
    Memory {
        /// The limit, bytes.
        max: ByteSize,
        /// The peak that was seen, bytes.
        peak: ByteSize,
    },
    /// Processes and threads.
    Pids {
        /// The limit.
        max: u32,
    },
    /// Bytes of the private file systems.
    Disk {
        /// The limit, bytes.
        max: ByteSize,
    },
    /// Inodes of the private file systems.
    Inodes {
        /// The limit.
        max: u64,
    },
    /// Wall time.
    Time {
        /// The limit.
        #[serde(serialize_with = "seconds")]
        max: Duration,
    },
    /// Attempts at protected names in the workspace.
    Protected {
        /// The name that it kept on creating.
        name: String,
        /// How often.
        times: u32,
    },
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl Reached {
    /// The exit code for it; see [`crate::exit`].
    pub fn code(&self) -> u8 {
        use crate::exit;
        match self {
            Self::Memory { .. } => exit::MEMORY,
            Self::Pids { .. } => exit::PIDS,
            Self::Disk { .. } | Self::Inodes { .. } => exit::DISK,
            Self::Time { .. } => exit::TIME,
            Self::Protected { .. } => exit::PROTECTED,
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { max, peak } => write!(f, "memory limit {max} reached (peak {peak})"),
            Self::Pids { max } => write!(f, "process limit {max} reached"),
            Self::Disk { max } => write!(f, "disk limit {max} reached"),
            Self::Inodes { max } => write!(f, "inode limit {max} reached"),
            Self::Time { max } => write!(f, "time limit {max:?} reached"),
            Self::Protected { name, times } => {
                write!(
                    f,
                    "the program created the protected name {name} {times} times"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!("64M".parse(), Ok(ByteSize::mib(64)));
        assert_eq!("1GiB".parse(), Ok(ByteSize::mib(1024)));
        assert_eq!("512".parse(), Ok(ByteSize(512)));
        assert_eq!(ByteSize(1536 << 10).to_string(), "1.5 MiB");
    }

    #[test]
    fn sizes_that_overflow_or_mean_nothing_are_refused() {
        for bad in [
            "",
            "M",
            "-1",
            "1.5G",
            "99999999999999999999",
            "16777216T",
            "0",
            "5X",
            "1 G",
        ] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1500ms"), Ok(Duration::from_millis(1500)));
        for bad in [
            "",
            "s",
            "1w",
            "0",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn cpus() {
        assert_eq!("1.5".parse(), Ok(MilliCpus(1500)));
        for bad in ["", "0", "-1", "inf", "nan", "1e3", "0.001", "5000"] {
            assert!(bad.parse::<MilliCpus>().is_err(), "{bad} was accepted");
        }
    }
}
