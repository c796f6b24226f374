use super::super::testing::{as_each_user, become_nobody, in_a_fork};
use super::{Committed, Error, PAGE, Reader, Run, Runs, memory_file};
use crate::Errno;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, SealFlags};
use std::ptr;

fn page(of: u8) -> Vec<u8> {
    vec![of; PAGE]
}

#[test]
fn what_is_written_is_read_everywhere() {
    let mut memory = Committed::new("heap", 1 << 20).unwrap();
    assert_eq!((memory.pages(), memory.resident()), (1 << 20, Ok(0)));
    let reader = memory.reader().unwrap();
    let mut mapped = memory.map(10).unwrap();
    mapped.write(3, &[page(1), page(2)].concat()).unwrap();
    mapped.write(9, b"end").unwrap();
    let mut found = page(0);
    mapped.read(4, &mut found).unwrap();
    assert_eq!(found, page(2));
    reader.read(3, &mut found).unwrap();
    assert_eq!(found, page(1));
    memory.read(9, &mut found).unwrap();
    assert!(found.starts_with(b"end\0\0"));
    assert_eq!(memory.resident(), Ok(3 * PAGE as u64));
    // Holes stay holes when they are read so.
    memory.read(100_000, &mut found).unwrap();
    assert_eq!((found, memory.resident()), (page(0), Ok(3 * PAGE as u64)));
}

#[test]
fn a_window_is_widened_and_keeps_what_it_shows() {
    let mut memory = Committed::new("heap", 1 << 30).unwrap();
    memory.map(1).unwrap().write(0, &page(7)).unwrap();
    let mut wide = memory.map(1 << 25).unwrap();
    assert!(wide.pages() >= 1 << 25);
    wide.write((1 << 25) - 1, &page(8)).unwrap();
    let mut found = page(0);
    wide.read(0, &mut found).unwrap();
    assert_eq!(found, page(7));
    assert_eq!(memory.map(1).unwrap().pages(), 1 << 25);
    memory.unmap();
    assert_eq!(memory.map(1).unwrap().pages(), 1);
    memory.read((1 << 25) - 1, &mut found).unwrap();
    assert_eq!(found, page(8));
}

#[test]
fn nothing_outside_is_reached() {
    let mut memory = Committed::new("heap", 10).unwrap();
    let outside = |end, pages| Err(Error::Outside { end, pages });
    assert_eq!(memory.map(11).err(), outside(11, 10).err());
    assert_eq!(memory.read(9, &mut [0; PAGE + 1]), outside(11, 10));
    assert_eq!(memory.discard(9..11), outside(11, 10));
    let mut mapped = memory.map(5).unwrap();
    assert_eq!(mapped.write(5, b"x"), outside(6, 5));
    assert_eq!(mapped.read(usize::MAX, &mut [0]), outside(usize::MAX, 5));
    assert_eq!(mapped.write(4, &page(1)), Ok(()));
    let (mut lower, mut upper) = mapped.split(2);
    assert_eq!(lower.write(1, &page(2)), Ok(()));
    assert_eq!(lower.write(1, &[2; PAGE + 1]), outside(3, 2));
    assert_eq!(upper.write(2, &page(3)), Ok(()));
    assert!(upper.write(1, &page(4)).is_err() && upper.read(0, &mut [0]).is_err());
    assert_eq!(upper.write(5, b"x"), outside(6, 5));
    let mut found = page(0);
    for (number, byte) in [(1, 2), (2, 3), (4, 1)] {
        memory.read(number, &mut found).unwrap();
        assert_eq!(found, page(byte));
    }
}

#[test]
fn discarded_pages_are_zero_and_take_nothing() {
    let mut memory = Committed::new("heap", 100).unwrap();
    let mut mapped = memory.map(100).unwrap();
    mapped.write(0, &vec![1; 100 * PAGE]).unwrap();
    memory.discard(10..90).unwrap();
    memory.discard(5..5).unwrap();
    assert_eq!(memory.resident(), Ok(20 * PAGE as u64));
    let mut found = vec![9; 100 * PAGE];
    memory.read(0, &mut found).unwrap();
    let zeros = |from: usize, to: usize| found[from * PAGE..to * PAGE].iter().all(|b| *b == 0);
    assert!(zeros(10, 90) && !zeros(9, 10) && !zeros(90, 91));
}

#[test]
fn holes_are_told_from_pages() {
    let mut memory = Committed::new("heap", 1 << 20).unwrap();
    let runs = |list: &[(usize, usize)]| -> Runs {
        let runs = list.iter().map(|(start, end)| Run {
            start: *start,
            end: *end,
        });
        runs.collect()
    };
    let all = runs(&[(0, 1 << 20)]);
    assert_eq!(memory.held(&all), Ok(Runs::default()));
    for (start, end) in [(3, 5), (9, 10), (1000, 1600)] {
        let content = vec![1; (end - start) * PAGE];
        memory.map(end).unwrap().write(start, &content).unwrap();
    }
    let held = |list: &[(usize, usize)]| memory.held(&runs(list)).unwrap();
    assert_eq!(
        held(&[(0, 1 << 20)]),
        runs(&[(3, 5), (9, 10), (1000, 1600)])
    );
    assert_eq!(
        held(&[(4, 9), (1200, 1300), (1500, 1700)]),
        runs(&[(4, 5), (1200, 1300), (1500, 1600)])
    );
    assert_eq!(
        held(&[(0, 3), (5, 9), (10, 1000), (1600, 1601)]),
        Runs::default()
    );
    let each: Vec<_> = (0..800).map(|n| (2 * n, 2 * n + 1)).collect();
    assert_eq!(held(&each).pages(), 1 + 300);
    memory.discard(4..1001).unwrap();
    assert_eq!(memory.held(&all).unwrap(), runs(&[(3, 4), (1001, 1600)]));
}

/// What a holder of the reader's descriptor could try.
fn can_only_read(reader: &Reader) {
    let file = reader.as_fd();
    let hole = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    assert_eq!(rustix::io::pwrite(file, b"x", 0), Err(Errno::BADF));
    assert_eq!(rustix::fs::ftruncate(file, 0), Err(Errno::INVAL));
    assert_eq!(rustix::fs::fallocate(file, hole, 0, 4096), Err(Errno::BADF));
    assert_eq!(
        rustix::fs::fcntl_add_seals(file, SealFlags::WRITE),
        Err(Errno::PERM)
    );
    let (read, write) = (libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE);
    let map = |access| {
        let raw = file.as_raw_fd();
        // SAFETY: a new mapping that nobody uses; it ends with this process.
        unsafe { libc::mmap(ptr::null_mut(), PAGE, access, libc::MAP_SHARED, raw, 0) }
    };
    assert_eq!(map(write), libc::MAP_FAILED);
    let mapping = map(read);
    assert_ne!(mapping, libc::MAP_FAILED);
    // SAFETY: the mapping just made.
    let made_writable = unsafe { libc::mprotect(mapping, PAGE, write) };
    assert_eq!(made_writable, -1);
}

#[test]
fn a_reader_can_only_read() {
    as_each_user(|| {
        let memory = Committed::new("heap", 10).unwrap();
        let reader = memory.reader().unwrap();
        can_only_read(&reader);
        can_only_read(&Reader::adopt(reader.into()).unwrap());
    });
}

#[test]
fn an_ordinary_reader_cannot_open_it_for_writing_either() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: this user is the owner");
    }
    let reader = Committed::new("heap", 10).unwrap().reader().unwrap();
    in_a_fork(|| {
        become_nobody();
        let path = format!("/proc/self/fd/{}", reader.as_fd().as_raw_fd());
        for flags in [OFlags::RDWR, OFlags::WRONLY, OFlags::RDONLY] {
            let opened = rustix::fs::open(&path, flags, Mode::empty());
            assert_eq!(opened.err(), Some(Errno::ACCESS), "{flags:?}");
        }
        assert_eq!(
            rustix::fs::fchmod(&reader, Mode::RWXU).err(),
            Some(Errno::PERM)
        );
    });
    in_a_fork(|| {
        become_nobody();
        // Its owner has to change the mode first, which a worker's filter doesn't let it.
        let reader = Committed::new("heap", 10).unwrap().reader().unwrap();
        let path = format!("/proc/self/fd/{}", reader.as_fd().as_raw_fd());
        let opened = rustix::fs::open(path, OFlags::RDWR, Mode::empty());
        assert_eq!(opened.err(), Some(Errno::ACCESS));
    });
}

#[test]
fn without_proc_that_is_what_it_says() {
    in_a_fork(|| {
        let memory = Committed::new("heap", 10).unwrap();
        if crate::probe::userns::enter(libc::CLONE_NEWNS).is_err() {
            return eprintln!("skipped: no namespaces here");
        }
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", "/proc", "tmpfs", none, c"size=64k").unwrap();
        assert_eq!(memory.reader().err(), Some(Error::NoProc));
    });
}

#[test]
fn only_files_of_a_fixed_length_are_taken_over() {
    let unsealed = memory_file("unsealed", 4096).unwrap();
    assert_eq!(Reader::adopt(unsealed).err(), Some(Error::NotSealed));
    let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    assert_eq!(Reader::adopt(null).err(), Some(Error::NotSealed));
    let (pipe, _) = rustix::pipe::pipe().unwrap();
    assert_eq!(Reader::adopt(pipe).err(), Some(Error::NotSealed));
    let memory = Committed::new("heap", 12).unwrap();
    assert_eq!(
        Reader::adopt(memory.reader().unwrap().into())
            .unwrap()
            .pages(),
        12
    );
}

#[test]
fn a_forked_process_does_not_have_the_window() {
    let mut memory = Committed::new("heap", 10).unwrap();
    let start = memory.map(10).unwrap().start() as usize;
    let listed = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.contains(&format!("{start:x}-"))
    };
    assert!(listed());
    in_a_fork(|| assert!(!listed()));
}
