use super::{Backing, Event, Events, Memory, Told, Userfault};
use crate::Errno;
use rustix::event::{PollFd, PollFlags, poll};
use std::fs::File;
use std::io::Write;
use std::thread;

const PAGE: u64 = 4096;

/// Memory of so many pages that are reported, or a word why there is none.
fn world(pages: u64, told: Told) -> Option<(Memory, Userfault)> {
    let userfault = match Userfault::open(told) {
        Ok(userfault) => userfault,
        Err(errno) => {
            println!("skipped: no userfaultfd here ({errno})");
            return None;
        }
    };
    let memory = Memory::new(pages * PAGE).unwrap();
    userfault.register(&memory, 0..pages * PAGE).unwrap();
    Some((memory, userfault))
}

fn next(userfault: &Userfault) -> Event {
    let mut poll_for = [PollFd::new(userfault, PollFlags::IN)];
    poll(&mut poll_for, None).unwrap();
    let mut events = Events::default();
    let mut found = userfault.read(&mut events).unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn fault(userfault: &Userfault) -> u64 {
    match next(userfault) {
        Event::Fault(address) => address,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_page_is_filled_while_its_reader_waits() {
    let Some((memory, userfault)) = world(4, Told::default()) else {
        return;
    };
    thread::scope(|scope| {
        let reader = scope.spawn(|| memory.word(2 * PAGE + 8));
        let address = fault(&userfault);
        assert_eq!(address / PAGE, memory.address() / PAGE + 2);
        let filled = userfault.copy(memory.address() + 2 * PAGE, &[7; PAGE as usize]);
        assert_eq!((filled.bytes, filled.stopped), (PAGE, None));
        assert_eq!(reader.join().unwrap(), 0x0707_0707_0707_0707);
    });
    assert_eq!(
        userfault.read(&mut Events::default()).err(),
        Some(Errno::AGAIN)
    );
}

#[test]
fn zeros_are_filled_in_and_a_page_that_is_there_stays() {
    let Some((memory, userfault)) = world(8, Told::default()) else {
        return;
    };
    let start = memory.address();
    assert_eq!(userfault.zero(start..start + 2 * PAGE).bytes, 2 * PAGE);
    memory.set_word(PAGE, 5);
    let again = userfault.copy(start + PAGE, &[1; PAGE as usize]);
    assert_eq!(again.stopped, Some(Errno::EXIST));
    // It comes up to the page that is there, and says why not further when it is asked again.
    let pages = vec![3; 4 * PAGE as usize];
    assert_eq!(userfault.copy(start + 3 * PAGE, &pages[..4096]).bytes, PAGE);
    let partly = userfault.copy(start + 2 * PAGE, &pages);
    assert_eq!((partly.bytes, partly.stopped), (PAGE, Some(Errno::AGAIN)));
    assert_eq!((memory.word(0), memory.word(PAGE)), (0, 5));
    userfault.wake(start..start + PAGE).unwrap();
    userfault.unregister(start..start + 8 * PAGE).unwrap();
    assert_eq!(memory.word(7 * PAGE), 0, "the kernel fills it by itself");
}

#[test]
fn pages_come_from_a_file_also_if_it_is_cut_short() {
    let Some((memory, userfault)) = world(8, Told::default()) else {
        return;
    };
    let mut file = tempfile();
    file.write_all(&[9; 4 * PAGE as usize]).unwrap();
    let backing = Backing::map(&file, 4 * PAGE).unwrap();
    backing.populate(0..4 * PAGE).unwrap();
    let start = memory.address();
    let filled = userfault.copy_mapped(start, &backing, PAGE..3 * PAGE);
    assert_eq!((filled.bytes, filled.stopped), (2 * PAGE, None));
    assert_eq!(memory.word(PAGE), 0x0909_0909_0909_0909);
    let beyond = userfault.copy_mapped(start + 4 * PAGE, &backing, 3 * PAGE..5 * PAGE);
    assert_eq!((beyond.bytes, beyond.stopped), (0, Some(Errno::INVAL)));
    file.set_len(PAGE).unwrap();
    let cut = userfault.copy_mapped(start + 4 * PAGE, &backing, 2 * PAGE..3 * PAGE);
    assert_eq!((cut.bytes, cut.stopped), (0, Some(Errno::FAULT)));
    assert!(backing.populate(0..4 * PAGE).is_err());
}

/// A file of no name.
fn tempfile() -> File {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    rustix::fs::memfd_create("backing", flags).unwrap().into()
}

#[test]
fn what_is_given_back_is_told_before_it_is_gone() {
    let told = Told {
        removes: true,
        ..Told::default()
    };
    let Some((memory, userfault)) = world(8, told) else {
        return;
    };
    let start = memory.address();
    assert_eq!(userfault.copy(start, &[1; 8192]).stopped, None);
    thread::scope(|scope| {
        let giver = scope.spawn(|| memory.discard(0..PAGE));
        let mut poll_for = [PollFd::new(&userfault, PollFlags::IN)];
        poll(&mut poll_for, None).unwrap();
        let early = userfault.copy(start + 4 * PAGE, &[1; 4096]);
        assert_eq!((early.bytes, early.stopped), (0, Some(Errno::AGAIN)));
        let Event::Remove(range) = next(&userfault) else {
            panic!("it is told");
        };
        assert_eq!(range, start..start + PAGE);
        assert_eq!(giver.join().unwrap(), Ok(()));
    });
    assert_eq!(userfault.copy(start + 4 * PAGE, &[1; 4096]).stopped, None);
}

#[test]
fn a_read_does_not_wait_though_the_owner_wants_it_to() {
    let Some((_memory, userfault)) = world(1, Told::default()) else {
        return;
    };
    let owners = userfault.descriptor.try_clone().unwrap();
    let userfault = Userfault::received(userfault.descriptor).unwrap();
    let nothing = || userfault.read(&mut Events::default()).err();
    assert_eq!(nothing(), Some(Errno::AGAIN));
    let waits = userfault
        .reads_without_waiting
        .load(std::sync::atomic::Ordering::Relaxed);
    if !waits {
        return println!("skipped: reads wait as their owner likes before Linux 6.10");
    }
    rustix::fs::fcntl_setfl(&owners, rustix::fs::OFlags::empty()).unwrap();
    assert_eq!(nothing(), Some(Errno::AGAIN));
}

#[test]
fn only_a_userfaultfd_is_one() {
    let null = File::open("/dev/null").unwrap();
    assert_eq!(Userfault::received(null.into()).err(), Some(Errno::INVAL));
    let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    assert_eq!(Userfault::received(event).err(), Some(Errno::INVAL));
}
