use super::{Error, PAGE, Region};
use crate::pages::testing::{dies_by, peek, poke};
use crate::pages::{Committed, Sealed};

#[test]
fn a_private_page_is_the_files_until_it_is_written() {
    let mut memory = Committed::new("heap", 20).unwrap();
    let region = Region::reserve(4, 16, 4).unwrap();
    region
        .map_private(0..16, &memory.reader().unwrap(), 2)
        .unwrap();
    let mut mapped = memory.map(20).unwrap();
    mapped.write(3, b"a").unwrap();
    assert_eq!(peek(&region, 1), b'a');
    mapped.write(3, b"b").unwrap();
    assert_eq!(peek(&region, 1), b'b');
    poke(&region, 1, b'c');
    mapped.write(3, b"d").unwrap();
    assert_eq!(peek(&region, 1), b'c');
    region.forget(0..16).unwrap();
    assert_eq!(peek(&region, 1), b'd');
    let mut found = [0];
    mapped.read(3, &mut found).unwrap();
    assert_eq!(found, *b"d");
}

#[test]
fn a_discarded_page_stays_with_who_has_written_it() {
    let mut memory = Committed::new("heap", 4).unwrap();
    memory.map(4).unwrap().write(0, &[7; 4 * PAGE]).unwrap();
    let region = Region::reserve(0, 4, 0).unwrap();
    region
        .map_private(0..4, &memory.reader().unwrap(), 0)
        .unwrap();
    assert_eq!(peek(&region, 2), 7);
    poke(&region, 1, 8);
    memory.discard(0..4).unwrap();
    assert_eq!([1, 2].map(|page| peek(&region, page)), [8, 0]);
}

/// Who has a reader makes the file take memory, up to its length: that is to be limited elsewhere.
#[test]
fn a_hole_that_is_read_through_a_mapping_takes_memory() {
    let memory = Committed::new("heap", 100).unwrap();
    let region = Region::reserve(0, 100, 0).unwrap();
    region
        .map_private(0..100, &memory.reader().unwrap(), 0)
        .unwrap();
    assert_eq!((peek(&region, 3), memory.resident()), (0, Ok(PAGE as u64)));
    poke(&region, 4, 1);
    assert_eq!(memory.resident(), Ok(2 * PAGE as u64));
    region.populate(0..100).unwrap();
    assert_eq!(memory.resident(), Ok(100 * PAGE as u64));
}

#[test]
fn it_grows_by_mapping_what_follows_and_stays_one_mapping() {
    let memory = Committed::new("heap", 4096).unwrap();
    let (file, region) = (
        memory.reader().unwrap(),
        Region::reserve(1, 4096, 1).unwrap(),
    );
    for page in 0..1000 {
        region.map_private(page..page + 1, &file, page).unwrap();
        poke(&region, page, page as u8);
    }
    assert!((0..1000).all(|page| peek(&region, page) == page as u8));
    let (from, to) = (region.start() as usize, region.address(1000) as usize);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.contains(&format!("{from:x}-{to:x} rw-p")), "{maps}");
}

#[test]
fn what_is_not_mapped_or_a_guard_cannot_be_touched() {
    let region = Region::reserve(1, 8, 1).unwrap();
    region.map_anonymous(0..4).unwrap();
    let start = region.start();
    let at = |page: isize| start.wrapping_offset(page * PAGE as isize) as usize;
    for address in [at(-1), at(4), at(7), at(8)] {
        assert_eq!(dies_by(address, true), libc::SIGSEGV);
        assert_eq!(dies_by(address, false), libc::SIGSEGV);
    }
    poke(&region, 3, 9);
    assert_eq!(peek(&region, 3), 9);
}

#[test]
fn shared_pages_are_only_read() {
    let sealed = Sealed::of("module", &[5; 2 * PAGE]).unwrap();
    let region = Region::reserve(0, 4, 0).unwrap();
    let file = sealed.reader().unwrap();
    region.map_shared(1..3, &file, 0).unwrap();
    assert_eq!((peek(&region, 1), peek(&region, 2)), (5, 5));
    assert_eq!(dies_by(region.address(1) as usize, true), libc::SIGSEGV);
}

#[test]
fn nothing_outside_of_the_region_or_the_file_is_mapped() {
    let memory = Committed::new("heap", 4).unwrap();
    let (file, region) = (memory.reader().unwrap(), Region::reserve(1, 8, 1).unwrap());
    let outside = |end, pages| Err(Error::Outside { end, pages });
    assert_eq!(region.map_anonymous(0..9), outside(9, 8));
    assert_eq!(region.forget(8..9), outside(9, 8));
    assert_eq!(region.map_private(0..5, &file, 0), outside(5, 4));
    assert_eq!(
        region.map_shared(0..1, &file, usize::MAX),
        outside(usize::MAX, 4)
    );
    assert!(Region::reserve(usize::MAX, 1, 0).is_err());
    assert!(Region::reserve(0, usize::MAX / 2, 0).is_err());
    assert_eq!(region.map_private(8..8, &file, 4), Ok(()));
}

#[test]
fn huge_pages_are_off_in_all_that_is_mapped() {
    let memory = Committed::new("heap", 1024).unwrap();
    let region = Region::reserve(1, 2048, 1).unwrap();
    region
        .map_private(0..1024, &memory.reader().unwrap(), 0)
        .unwrap();
    region.map_anonymous(1024..2048).unwrap();
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    for page in [0, 1024] {
        let header = format!("{:x}-", region.address(page) as usize);
        let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&header));
        let flags = lines.find(|line| line.starts_with("VmFlags:")).unwrap();
        assert!(flags.contains(" nh"), "{flags}");
    }
}
