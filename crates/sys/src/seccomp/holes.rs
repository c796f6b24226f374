//! A filter besides, for a process that maps a file which others read: it makes no holes in files.
//!
//! fallocate(2) with `FALLOC_FL_PUNCH_HOLE` says that the file system can't. Whoever asks for a hole
//! to save room can go on without.

use super::program::{
    Instruction, JUMP_ANY_BIT, JUMP_EQUAL, LOAD, OFFSET_ARGS, OFFSET_NR, RET_ALLOW, RET_ERRNO,
    RETURN, op,
};

/// Where the second argument is: the mode.
const MODE: u32 = OFFSET_ARGS + 8;

/// The filter.
pub static NO_HOLES: [Instruction; 6] = [
    op(LOAD, OFFSET_NR),
    Instruction {
        code: JUMP_EQUAL,
        jt: 0,
        jf: 3,
        k: libc::SYS_fallocate as u32,
    },
    op(LOAD, MODE),
    Instruction {
        code: JUMP_ANY_BIT,
        jt: 0,
        jf: 1,
        k: libc::FALLOC_FL_PUNCH_HOLE as u32,
    },
    op(RETURN, RET_ERRNO | libc::EOPNOTSUPP as u32),
    op(RETURN, RET_ALLOW),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privilege;
    use crate::seccomp::install;
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;

    #[test]
    fn files_stay_whole_and_can_grow() {
        let path = std::env::temp_dir().join(format!("casemate-holes-{}", std::process::id()));
        let file = std::fs::File::create_new(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        // A filter stays with its thread.
        let done = std::thread::spawn(move || {
            privilege::no_new_privileges().unwrap();
            install(&NO_HOLES, false).unwrap();
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            (
                fallocate(&file, FallocateFlags::empty(), 0, 8192),
                fallocate(&file, punch, 0, 4096),
                file.metadata().unwrap().len(),
            )
        });
        assert_eq!(done.join().unwrap(), (Ok(()), Err(Errno::OPNOTSUPP), 8192));
    }
}
