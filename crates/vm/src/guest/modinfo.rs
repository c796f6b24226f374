//! What a kernel module says of itself: the section `.modinfo` of an ELF file, as pairs.
//!
//! It is read here instead of asking depmod(8), whose lists a kernel's package doesn't hold: they
//! are made when it is installed, and it isn't installed.
//!
//! Source: elf(5); the kernel's include/linux/module.h for the pairs.

/// What loading a module takes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Modules whose symbols it uses.
    pub(super) depends: Vec<String>,
    /// Modules or aliases that it asks the kernel for while it works.
    pub(super) before: Vec<String>,
}

/// Reads them; `None` if this is no module for a 64-bit little-endian machine.
pub(super) fn needs(module: &[u8]) -> Option<Needs> {
    let info = section(module, b".modinfo")?;
    let mut needs = Needs::default();
    for pair in info.split(|byte| *byte == 0) {
        let Some((key, value)) = std::str::from_utf8(pair)
            .ok()
            .and_then(|p| p.split_once('='))
        else {
            continue;
        };
        match key {
            "depends" => needs.depends.extend(names(value.split(','))),
            "softdep" => needs.before.extend(names(before(value))),
            _ => {}
        }
    }
    Some(needs)
}

/// Of "pre: a b post: c", a and b.
fn before(value: &str) -> impl Iterator<Item = &str> {
    let mut is_before = false;
    value.split_whitespace().filter(move |word| {
        match *word {
            "pre:" => is_before = true,
            "post:" => is_before = false,
            _ => return is_before,
        }
        false
    })
}

fn names<'a>(words: impl Iterator<Item = &'a str>) -> impl Iterator<Item = String> {
    words
        .filter(|word| !word.is_empty())
        .map(super::modules::canonical)
}

fn section<'a>(elf: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = number::<8>(elf, 0x28)?;
    let entry = number::<2>(elf, 0x3a)?;
    let count = number::<2>(elf, 0x3c)?;
    let start = |index: u64| table.checked_add(index.checked_mul(entry)?);
    let header = |index| part(elf, start(index)?, 64);
    let body = |header: &[u8]| part(elf, number::<8>(header, 0x18)?, number::<8>(header, 0x20)?);
    let names = body(header(number::<2>(elf, 0x3e)?)?)?;
    (0..count).filter_map(header).find_map(|header| {
        let name = names.get(usize::try_from(number::<4>(header, 0)?).ok()?..)?;
        let is_it = name.starts_with(wanted) && name.get(wanted.len()) == Some(&0);
        is_it.then(|| body(header))?
    })
}

fn part(bytes: &[u8], start: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    bytes.get(start..end)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let found = bytes.get(at..at.checked_add(N)?)?;
    let mut number = [0; 8];
    number.get_mut(..N)?.copy_from_slice(found);
    Some(u64::from_le_bytes(number))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The smallest ELF file that has this information.
    pub(in super::super) fn elf(info: &[u8]) -> Vec<u8> {
        const NAMES: &[u8] = b"\0.shstrtab\0.modinfo\0";
        let header = |name: u32, start: usize, size: usize| {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(start as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
            header
        };
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[0x28] = 64;
        elf[0x3a] = 64;
        elf[0x3c] = 3;
        elf[0x3e] = 1;
        let bodies = 64 * 4;
        elf.extend(header(0, 0, 0));
        elf.extend(header(1, bodies, NAMES.len()));
        elf.extend(header(11, bodies + NAMES.len(), info.len()));
        elf.extend(NAMES);
        elf.extend(info);
        elf
    }

    #[test]
    fn dependencies_are_names() {
        let elf = elf(b"name=b\0depends=virtio,virtio-ring\0softdep=pre: crc32c post: x\0\0");
        let needs = needs(&elf).unwrap();
        assert_eq!(needs.depends, ["virtio", "virtio_ring"]);
        assert_eq!(needs.before, ["crc32c"]);
    }

    #[test]
    fn none_is_none() {
        assert_eq!(needs(&elf(b"depends=\0")), Some(Needs::default()));
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_no_module_or_one_with_less() {
        let whole = elf(b"depends=a,b\0");
        for length in 0..whole.len() {
            let found = needs(&whole[..length]).unwrap_or_default();
            assert!(found.depends.is_empty(), "{length} bytes");
        }
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] = 0xff;
            let _ = needs(&bent);
        }
    }
}
