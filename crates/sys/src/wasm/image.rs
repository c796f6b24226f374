//! The note that the linker left in this program: a hash of all that it linked (elf(5), `PT_NOTE`
//! with `NT_GNU_BUILD_ID`).
//!
//! It is read from where the kernel loaded it, so that it belongs to what runs and not to what lies
//! at the program's path by now.

/// The most that is believed of a note. Linkers write 8 to 32 bytes.
const LONGEST: usize = 64;

/// The program's build id, if its linker wrote one.
pub fn build_id() -> Option<Vec<u8>> {
    let mut found: Option<Vec<u8>> = None;
    // SAFETY: the callback is called before this returns, with `found` as its data.
    unsafe { libc::dl_iterate_phdr(Some(first_object), (&raw mut found).cast()) };
    found
}

/// The program itself is the first object; the others are libraries.
unsafe extern "C" fn first_object(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    found: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the C library passes a valid description, and `build_id` its own variable. A segment
    // of notes is mapped for as long as the program runs.
    unsafe {
        let info = &*info;
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into());
        for header in headers.iter().filter(|h| h.p_type == libc::PT_NOTE) {
            let start = (info.dlpi_addr + header.p_vaddr) as *const u8;
            let notes = std::slice::from_raw_parts(start, header.p_memsz as usize);
            if let Some(id) = in_notes(notes, header.p_align as usize) {
                *found.cast::<Option<Vec<u8>>>() = Some(id.to_vec());
                break;
            }
        }
    }
    1
}

/// Looks through a segment of notes.
fn in_notes(mut notes: &[u8], align: usize) -> Option<&[u8]> {
    const GNU_BUILD_ID: u32 = 3;
    let align = align.clamp(4, 8);
    let padded = |length: usize| length.checked_next_multiple_of(align);
    loop {
        let (head, rest) = notes.split_at_checked(12)?;
        let word = |at: usize| head[at..at + 4].try_into().map(u32::from_ne_bytes).ok();
        let (name, length) = (word(0)? as usize, word(4)? as usize);
        let (owner, rest) = rest.split_at_checked(padded(name)?)?;
        let value = rest.get(..length)?;
        if word(8)? == GNU_BUILD_ID && owner.starts_with(b"GNU\0") {
            return Some(value).filter(|id| !id.is_empty() && id.len() <= LONGEST);
        }
        notes = rest.get(padded(length)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(kind: u32, owner: &[u8], value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [owner.len() as u32, value.len() as u32, kind] {
            bytes.extend(number.to_ne_bytes());
        }
        for part in [owner, value] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn the_right_note_is_found_among_others() {
        let notes = [
            note(3, b"Go\0", b"other"),
            note(1, b"GNU\0", b"abi"),
            note(3, b"GNU\0", b"12345678"),
        ];
        assert_eq!(in_notes(&notes.concat(), 4), Some(&b"12345678"[..]));
        assert_eq!(in_notes(&notes[..2].concat(), 4), None);
    }

    #[test]
    fn notes_that_are_cut_or_lie_about_their_length_hold_nothing() {
        let whole = note(3, b"GNU\0", b"12345678");
        for end in 0..whole.len() {
            assert_eq!(in_notes(&whole[..end], 4), None, "{end}");
        }
        let mut long = whole.clone();
        long[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(in_notes(&long, 4), None);
    }

    #[test]
    fn this_program_has_one() {
        assert!(build_id().is_some_and(|id| id.len() >= 8));
    }
}
