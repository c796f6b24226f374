use super::{PageMap, Then};
use crate::pages::testing::{in_a_fork, peek, poke, tracks_writes};
use crate::pages::{Committed, Error, Reader, Region, Run, Runs, Userfault};

fn mapped(pages: usize) -> (Committed, Reader, Region) {
    let memory = Committed::new("heap", pages).unwrap();
    let reader = memory.reader().unwrap();
    let region = Region::reserve(1, pages, 1).unwrap();
    region.map_private(0..pages, &reader, 0).unwrap();
    (memory, reader, region)
}

fn private(pagemap: &PageMap, region: &Region) -> Vec<Run> {
    let mut found = Runs::default();
    pagemap
        .private(region, 0..region.pages(), &mut found)
        .unwrap();
    found.as_slice().to_vec()
}

/// What the check against use in another process is for: an inherited descriptor is about the parent.
#[test]
fn an_inherited_page_map_is_the_parents() {
    let (_memory, _reader, region) = mapped(8);
    poke(&region, 1, 1);
    let inherited = std::fs::File::open("/proc/self/pagemap").unwrap();
    in_a_fork(|| {
        poke(&region, 5, 1);
        let ours = PageMap::open().unwrap();
        let run = |page| Run {
            start: page,
            end: page + 1,
        };
        assert_eq!(private(&ours, &region), [run(1), run(5)]);
        for scans in [true, false] {
            let theirs = PageMap {
                file: inherited.try_clone().unwrap(),
                born: super::Birthplace::here().unwrap(),
                scans,
            };
            assert_eq!(private(&theirs, &region), [run(1)]);
        }
    });
}

#[test]
fn a_kernel_without_the_scan_is_unsupported() {
    let pagemap = PageMap::open().unwrap().without_scan();
    let (_memory, _reader, region) = mapped(8);
    let found = pagemap.written(&region, 0..8, Then::Leave, &mut Runs::default());
    assert!(matches!(
        found,
        Err(Error::Unsupported {
            needs: "Linux 6.7",
            ..
        })
    ));
}

/// Anonymous memory that was only read is the one page of zeros.
#[test]
fn anonymous_memory_that_was_only_read_was_not_written() {
    let pagemap = PageMap::open().unwrap();
    if !tracks_writes() {
        return eprintln!("skipped: this kernel doesn't track writes");
    }
    let region = Region::reserve(0, 100, 0).unwrap();
    region.map_anonymous(0..100).unwrap();
    let userfault = Userfault::open().unwrap();
    userfault.register(&region, 0..100).unwrap();
    assert!((0..100).all(|page| peek(&region, page) == 0));
    poke(&region, 50, 1);
    let mut found = Runs::default();
    pagemap
        .written(&region, 0..100, Then::Protect, &mut found)
        .unwrap();
    assert_eq!(found.as_slice(), [Run { start: 50, end: 51 }]);
    assert_eq!(private(&pagemap, &region), found.as_slice());
    found.clear();
    pagemap
        .written(&region, 0..100, Then::Protect, &mut found)
        .unwrap();
    assert!(found.is_empty());
}

/// A page that is protected and then dropped leaves a mark of that, which isn't a write.
#[test]
fn a_protected_page_that_was_dropped_is_not_written() {
    if !tracks_writes() {
        return eprintln!("skipped: this kernel doesn't track writes");
    }
    let (_memory, _reader, region) = mapped(8);
    let (pagemap, userfault) = (PageMap::open().unwrap(), Userfault::open().unwrap());
    userfault.register(&region, 0..8).unwrap();
    let written = |then| {
        let mut found = Runs::default();
        pagemap.written(&region, 0..8, then, &mut found).unwrap();
        found.pages()
    };
    poke(&region, 3, 1);
    assert_eq!((written(Then::Protect), written(Then::Leave)), (1, 0));
    region.forget(0..8).unwrap();
    assert_eq!(written(Then::Leave), 0);
    let marked = private(&pagemap, &region);
    assert_eq!((peek(&region, 3), written(Then::Leave)), (0, 0));
    assert!(marked.is_empty() || marked == [Run { start: 3, end: 4 }]);
    assert_eq!(private(&pagemap, &region), []);
    poke(&region, 3, 1);
    assert_eq!(written(Then::Leave), 1);
}
