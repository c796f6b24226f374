//! A mode as people read it.

use rustix::fs::FileType;

/// The letters of a mode as Go's `FileMode` writes them, which is what clients of the protocol
/// know: a letter for what it is, letters for setuid (`u`), setgid (`g`) and sticky (`t`), and
/// the nine permissions. A plain file has a dash in front, so that there are always ten or more.
pub(crate) fn letters(mode: u32) -> String {
    let mut letters = String::from(match FileType::from_raw_mode(mode) {
        FileType::Directory => "d",
        FileType::Symlink => "L",
        FileType::BlockDevice => "D",
        FileType::CharacterDevice => "Dc",
        FileType::Fifo => "p",
        FileType::Socket => "S",
        _ => "",
    });
    for (bit, letter) in [(0o4000, 'u'), (0o2000, 'g'), (0o1000, 't')] {
        if mode & bit != 0 {
            letters.push(letter);
        }
    }
    if letters.is_empty() {
        letters.push('-');
    }
    for (shift, letter) in (0..9).rev().zip("rwx".chars().cycle()) {
        letters.push(if mode >> shift & 1 == 1 { letter } else { '-' });
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::letters;

    #[test]
    fn modes_of_a_usual_system() {
        for (mode, expected) in [
            (0o100_644, "-rw-r--r--"),
            (0o040_755, "drwxr-xr-x"),
            (0o120_777, "Lrwxrwxrwx"),
            (0o104_755, "urwxr-xr-x"),
            (0o041_777, "dtrwxrwxrwx"),
            (0o042_750, "dgrwxr-x---"),
            (0o020_666, "Dcrw-rw-rw-"),
            (0o060_660, "Drw-rw----"),
            (0o010_600, "prw-------"),
            (0o140_000, "S---------"),
            (0o100_001, "---------x"),
        ] {
            assert_eq!(letters(mode), expected, "{mode:o}");
        }
    }
}
