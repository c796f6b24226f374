//! The program that the kernel starts first. Its source is the folder `program`; `build.rs`
//! compiles it, and here it is embedded. It is no crate, so `cargo fmt` doesn't reach it: run
//! `rustfmt --edition 2024` on its `main.rs`.

use casemate_core::error::{Error, Result};

#[cfg(test)]
#[path = "program/list.rs"]
mod list;

const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/first"));

/// The program, a static executable for x86-64.
///
/// # Errors
/// On another kind of machine there is none.
pub fn program() -> Result<&'static [u8]> {
    match PROGRAM {
        [] => Err(Error::rule(
            "take the guest's first program",
            "it is written for x86-64, and this program was built for another machine",
        )),
        program => Ok(program),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_small_static_executable() {
        let program = program().unwrap();
        assert!(program.starts_with(b"\x7fELF\x02\x01"));
        let kind = u16::from_le_bytes([program[16], program[17]]);
        assert_eq!(kind, 2, "ET_EXEC: nothing relocates it");
        assert!(program.len() < 16 << 10, "{} bytes", program.len());
    }

    #[test]
    fn it_does_nothing_unless_it_is_the_first_process() {
        use std::os::unix::fs::OpenOptionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o755);
        std::io::Write::write_all(&mut options.open(&path).unwrap(), program().unwrap()).unwrap();
        let done = std::process::Command::new(&path).output().unwrap();
        assert_eq!(done.status.code(), Some(1));
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(said.starts_with("casemate: first: "), "{said}");
        assert!(said.ends_with("by hand\n"), "{said}");
    }

    #[test]
    fn a_list_is_its_paths() {
        let paths = |list| {
            list::paths(list)
                .map(|p| p.to_str().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(paths(b"/a.ko\0/b.ko\0"), ["/a.ko", "/b.ko"]);
        assert_eq!(paths(b"\0/a.ko\0\0/cut"), ["/a.ko"]);
        assert!(paths(b"").is_empty());
    }

    #[test]
    fn numbers_are_digits() {
        for (number, text) in [(0, "0"), (7, "7"), (110, "110"), (u32::MAX, "4294967295")] {
            assert_eq!(list::digits(number, &mut [0; 10]), text.as_bytes());
        }
    }
}
