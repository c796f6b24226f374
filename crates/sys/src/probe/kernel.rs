//! Which kernel this is, and for which machine.

use std::fmt;

/// The oldest kernel that can carry the process wall: Landlock came with it.
pub const OLDEST: Version = Version {
    major: 5,
    minor: 13,
};

/// A kernel version; the patch level says little about a distribution's kernel and is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number of the release.
    pub major: u32,
    /// The second number of the release.
    pub minor: u32,
}

impl Version {
    /// Reads the start of a release such as `6.1.0-13-amd64`.
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Version { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What `uname(2)` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The whole release, such as `6.1.0-13-amd64`.
    pub release: String,
    /// Its numbers, where it starts with numbers.
    pub version: Option<Version>,
    /// The machine, such as `x86_64`.
    pub machine: String,
}

impl Kernel {
    /// True if the version is known and not older than [`OLDEST`].
    pub fn is_new_enough(&self) -> bool {
        self.version.is_some_and(|version| version >= OLDEST)
    }
}

/// Asks the kernel who it is.
pub fn probe() -> Kernel {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    Kernel {
        version: Version::parse(&release),
        machine: uname.machine().to_string_lossy().into_owned(),
        release,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_are_read() {
        let version = |major, minor| Some(Version { major, minor });
        assert_eq!(Version::parse("6.1.0-13-amd64"), version(6, 1));
        assert_eq!(Version::parse("5.13"), version(5, 13));
        assert_eq!(Version::parse("6.18-rc3"), version(6, 18));
        assert_eq!(Version::parse("5.4.0"), version(5, 4));
        assert_eq!(Version::parse("6"), None);
        assert_eq!(Version::parse(""), None);
        assert_eq!(Version::parse("next-20240101"), None);
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(Version::parse("5.9") < Some(OLDEST));
        assert!(Version::parse("6.1") > Some(OLDEST));
    }
}
