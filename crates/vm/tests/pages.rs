//! The server of pages, with memory that really is missing in processes that really need it.

#[allow(dead_code, reason = "other tests need the rest")]
mod world;

use casemate_core::error::Result;
use casemate_vm::pages::{self, Layer, Options, Report, Source};
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::TempDir;
use world::uffd::{HUGE, PAGE, Peer, checksum};

/// SIGBUS (signal(7)).
const SIGBUS: i32 = 7;

#[test]
#[ignore = "a process of the other tests"]
fn page_peer() {
    world::uffd::obey();
}

/// A snapshot's memory: every fourth run of 16 pages is a hole.
struct Place {
    folder: TempDir,
    bytes: Vec<u8>,
}

impl Place {
    fn new(pages: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut bytes = vec![0; (pages * PAGE) as usize];
        let file = File::create(folder.path().join("memory")).expect("a file");
        file.set_len(pages * PAGE).expect("it is long");
        for (page, bytes) in bytes.chunks_mut(PAGE as usize).enumerate() {
            if page / 16 % 4 == 3 {
                continue;
            }
            for (at, word) in bytes.chunks_mut(8).enumerate() {
                word.copy_from_slice(&((page << 20 | at) as u64 + 1).to_le_bytes());
            }
            file.write_all_at(bytes, page as u64 * PAGE)
                .expect("it is written");
        }
        Self { folder, bytes }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn source(&self) -> Source {
        let layer = Layer::raw(&self.path("memory"), None).expect("it is memory");
        Source::new(vec![layer]).expect("it is whole")
    }

    /// A server that waits for a monitor, and the way to it.
    fn serve(&self, name: &str, options: Options) -> (PathBuf, JoinHandle<Result<Report>>) {
        let socket = self.path(name);
        let listener = pages::listen(&socket).expect("it listens");
        let source = self.source();
        let server = thread::spawn(move || pages::serve(listener, source, &options));
        (socket, server)
    }

    fn sum(&self, pages: Range<u64>) -> u64 {
        checksum(&self.bytes[(pages.start * PAGE) as usize..(pages.end * PAGE) as usize])
    }

    fn pages(&self) -> u64 {
        self.bytes.len() as u64 / PAGE
    }
}

/// A process that has memory in such parts; `None` and a word why if it can't have.
fn peer(order: &str) -> Option<Peer> {
    let mut peer = Peer::start("page_peer");
    match peer.ask(order).as_str() {
        "ok" => Some(peer),
        why => {
            println!("skipped: {why}");
            None
        }
    }
}

/// One that is served.
fn begin(place: &Place, options: Options) -> Option<(Peer, JoinHandle<Result<Report>>)> {
    let mut peer = peer(&format!("map {}", place.bytes.len()))?;
    let (socket, server) = place.serve("socket", options);
    assert_eq!(peer.ask(&format!("connect {}", socket.display())), "ok");
    Some((peer, server))
}

fn end(mut peer: Peer, server: JoinHandle<Result<Report>>) -> Report {
    peer.kill();
    let served = server.join().expect("it doesn't panic");
    served.unwrap_or_else(|error| panic!("{error}"))
}

/// The error by which a server ends.
fn refusal(server: JoinHandle<Result<Report>>) -> String {
    let served = server.join().expect("it doesn't panic");
    served.expect_err("it is refused").to_string()
}

#[test]
fn every_page_is_what_it_was() {
    let place = Place::new(512);
    let Some((mut peer, server)) = begin(&place, Options::default()) else {
        return;
    };
    assert_eq!(peer.number("backwards 0 300 100"), place.sum(300..400));
    assert_eq!(peer.number("sum 0 0 512"), place.sum(0..512));
    let id = peer.id();
    let report = end(peer, server);
    assert_eq!(
        (report.faults, report.touched, report.filled),
        (512, 512, 512)
    );
    assert_eq!((report.memory, report.prefetched), (512, 0));
    assert_eq!(report.monitor, Some(id));
    assert!(report.p50 > 0 && report.p99 >= report.p50);
}

#[test]
fn only_what_is_needed_is_filled() {
    let place = Place::new(512);
    let Some((mut peer, server)) = begin(&place, Options::default()) else {
        return;
    };
    assert_eq!(peer.number("sum 0 7 3"), place.sum(7..10));
    peer.ask("write 0 100 5");
    let report = end(peer, server);
    assert_eq!((report.touched, report.filled), (4, 4));
}

#[test]
fn memory_may_be_in_parts() {
    let place = Place::new(512);
    let Some(mut peer) = peer(&format!("map {} {}", 100 * PAGE, 412 * PAGE)) else {
        return;
    };
    let (socket, server) = place.serve("socket", Options::default());
    peer.ask(&format!("connect {}", socket.display()));
    assert_eq!(peer.number("sum 1 0 412"), place.sum(100..512));
    assert_eq!(peer.number("sum 0 0 100"), place.sum(0..100));
    end(peer, server);
}

#[test]
fn what_was_given_back_is_zero_from_then_on() {
    let place = Place::new(256);
    let Some((mut peer, server)) = begin(&place, Options::default()) else {
        return;
    };
    let zero = checksum(&[0; 10 * PAGE as usize]);
    // Pages that had been filled, and pages that had not.
    assert_eq!(peer.number("sum 0 20 5"), place.sum(20..25));
    assert_eq!(peer.ask("remove 0 20 10"), "ok");
    assert_eq!(peer.number("sum 0 20 10"), zero);
    assert_eq!(peer.number("sum 0 30 10"), place.sum(30..40));
    // It can be written and given back again.
    peer.ask("write 0 21 77");
    assert_ne!(peer.number("sum 0 20 10"), zero);
    assert_eq!(peer.ask("remove 0 20 10"), "ok");
    assert_eq!(peer.number("backwards 0 20 10"), zero);
    assert_eq!(end(peer, server).removed, 10);
}

#[test]
fn a_flood_of_pages_that_are_given_back_is_borne() {
    let place = Place::new(256);
    let options = Options {
        everything: true,
        ..Options::default()
    };
    let Some((mut peer, server)) = begin(&place, options) else {
        return;
    };
    assert_eq!(peer.ask("flood 0 64 3000"), "ok");
    assert_eq!(
        peer.number("sum 0 0 64"),
        checksum(&[0; 64 * PAGE as usize])
    );
    assert_eq!(peer.number("sum 0 64 192"), place.sum(64..256));
    assert_eq!(end(peer, server).removed, 64);
}

#[test]
fn what_one_restore_needed_is_there_at_the_next() {
    let place = Place::new(512);
    let set = place.path(pages::WORKING_SET);
    let options = || Options {
        working_set: Some(set.clone()),
        ..Options::default()
    };
    let Some((mut peer, server)) = begin(&place, options()) else {
        return;
    };
    peer.ask("sum 0 40 60");
    peer.ask("sum 0 10 1");
    peer.ask("remove 0 50 2");
    let report = end(peer, server);
    assert_eq!(report.working_set, Some(61));
    assert_eq!(report.notes, [""; 0]);
    fs::remove_file(place.path("socket")).expect("it was there");

    let (mut peer, server) = begin(&place, options()).expect("there was one");
    wait_for(&peer, 61);
    assert_eq!(peer.number("sum 0 40 60"), place.sum(40..100));
    assert_eq!(peer.number("sum 0 9 2"), place.sum(9..11));
    let report = end(peer, server);
    assert_eq!((report.prefetched, report.faults), (61, 1));
    assert_eq!(report.working_set, Some(62));
}

/// Waits until so many pages of it are there, of which those that are zero don't count.
fn wait_for(peer: &Peer, pages: u64) {
    let pages = pages - 16 * pages.div_ceil(64);
    loop {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", peer.id())).expect("it runs");
        let sizes = smaps
            .lines()
            .filter_map(|line| line.strip_prefix("Anonymous:"));
        let most = sizes.filter_map(|size| size.split_whitespace().next()?.parse::<u64>().ok());
        if most.max().unwrap_or(0) >= pages * 4 - 8 * 4 {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_working_set_that_was_changed_is_none() {
    let place = Place::new(512);
    let set = place.path(pages::WORKING_SET);
    fs::write(&set, vec![7; 1000]).expect("it is written");
    let options = Options {
        working_set: Some(set),
        settling: Duration::ZERO,
        ..Options::default()
    };
    let Some((mut peer, server)) = begin(&place, options) else {
        return;
    };
    assert_eq!(peer.number("sum 0 0 3"), place.sum(0..3));
    let report = end(peer, server);
    assert_eq!(report.prefetched, 0);
    assert!(
        report.notes[0].contains("working set"),
        "{:?}",
        report.notes
    );
}

#[test]
fn all_that_is_data_can_be_filled_ahead() {
    let place = Place::new(1024);
    let options = Options {
        everything: true,
        ..Options::default()
    };
    let Some((mut peer, server)) = begin(&place, options) else {
        return;
    };
    // In the midst of it.
    assert_eq!(peer.number("backwards 0 900 100"), place.sum(900..1000));
    assert_eq!(peer.number("sum 0 0 1024"), place.sum(0..1024));
    let report = end(peer, server);
    let holes = report.faults.min(1024 / 4);
    assert!(
        report.prefetched + report.filled >= 1024 - holes,
        "{report:?}"
    );
    assert!(report.prefetched <= 1024 * 3 / 4, "holes stay: {report:?}");
}

/// Random orders, and a model of what they do.
#[test]
fn memory_is_as_the_model_says() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut place = Place::new(300);
    for round in 0..6 {
        let set = place.path(pages::WORKING_SET);
        let options = Options {
            everything: round % 3 == 2,
            working_set: (round % 2 == 1).then_some(set),
            ..Options::default()
        };
        let Some((mut peer, server)) = begin(&place, options) else {
            return;
        };
        let kept = place.bytes.clone();
        for _ in 0..200 {
            let first = random.below(place.pages());
            let count = 1 + random.below(20.min(place.pages() - first));
            let bytes = (first * PAGE) as usize..((first + count) * PAGE) as usize;
            match random.below(4) {
                0 => {
                    let value = random.below(1 << 40);
                    peer.ask(&format!("write 0 {first} {value}"));
                    let at = bytes.start;
                    place.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
                }
                1 => {
                    peer.ask(&format!("remove 0 {first} {count}"));
                    place.bytes[bytes].fill(0);
                }
                way => {
                    let way = ["sum", "backwards"][way as usize % 2];
                    let order = format!("{way} 0 {first} {count}");
                    let expected = place.sum(first..first + count);
                    assert_eq!(peer.number(&order), expected, "{order}, seed {seed}");
                }
            }
        }
        let all = format!("sum 0 0 {}", place.pages());
        assert_eq!(
            peer.number(&all),
            place.sum(0..place.pages()),
            "seed {seed}"
        );
        end(peer, server);
        place.bytes = kept;
        fs::remove_file(place.path("socket")).expect("it was there");
    }
}

/// Numbers that are as good as random (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

#[test]
fn machines_of_one_file_share_it() {
    let place = Place::new(2048);
    let mut served = Vec::new();
    for name in ["one", "two", "three"] {
        let Some(mut peer) = peer(&format!("map {}", place.bytes.len())) else {
            return;
        };
        let (socket, server) = place.serve(name, Options::default());
        peer.ask(&format!("connect {}", socket.display()));
        assert_eq!(peer.number("sum 0 0 2048"), place.sum(0..2048));
        served.push((peer, server));
    }
    let (resident, share) = mapped(&place.path("memory"));
    assert!(resident >= 3 * 4 * 1024, "{resident} KiB");
    // The kernel divides what it counts among those who have it; none has a copy.
    assert!(share <= resident / 2, "{share} of {resident} KiB");
    for (peer, server) in served {
        end(peer, server);
    }
}

/// How much of a file this process has mapped, and its share of that, KiB.
fn mapped(path: &Path) -> (u64, u64) {
    let smaps = fs::read_to_string("/proc/self/smaps").expect("proc");
    let (mut is_ours, mut resident, mut share) = (false, 0, 0);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let number = |word: Option<&str>| word.and_then(|word| word.parse().ok()).unwrap_or(0);
        match words.next() {
            Some("Rss:") if is_ours => resident += number(words.next()),
            Some("Pss:") if is_ours => share += number(words.next()),
            Some(word) if word.contains('-') => is_ours = line.ends_with(&*path.to_string_lossy()),
            _ => {}
        }
    }
    (resident, share)
}

#[test]
fn a_file_that_was_cut_short_ends_the_machine() {
    let place = Place::new(256);
    let Some((mut peer, server)) = begin(&place, Options::default()) else {
        return;
    };
    assert_eq!(peer.number("sum 0 0 4"), place.sum(0..4));
    let memory = File::options().write(true).open(place.path("memory"));
    memory
        .expect("a file")
        .set_len(64 * PAGE)
        .expect("it is cut");
    peer.say("sum 0 128 1");
    let error = refusal(server);
    assert!(error.contains("it had 256 pages"), "{error}");
    // Linux 6.6 lets who waits have a signal.
    if !at_least((6, 6)) {
        return println!("skipped: who waits is left waiting before Linux 6.6");
    }
    assert_eq!(peer.wait().signal(), Some(SIGBUS));
}

fn at_least(version: (u32, u32)) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("proc");
    let mut numbers = release.split('.').map_while(|word| word.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= version
}

#[test]
fn lies_are_refused() {
    let place = Place::new(16);
    let size = place.bytes.len();
    let region = |at: &str, size: usize, offset: u64| {
        format!(
            r#"{{"base_host_virt_addr":{at},"size":{size},"offset":{offset},"page_size":4096,"page_size_kib":4096}}"#
        )
    };
    let honest = format!("[{}]", region("$0", size, 0));
    let long = format!("[{}]", vec![region("$0", size, 0); 200].join(","));
    let twice = format!("[{0},{0}]", region("$0", size, 0));
    for (number, (descriptors, text, why)) in [
        ("none", honest.as_str(), "0 descriptors"),
        ("null", honest.as_str(), "isn't a userfaultfd"),
        ("two", honest.as_str(), "2 descriptors"),
        ("many", honest.as_str(), "more descriptors"),
        ("uffd", "[]", "0 regions"),
        ("uffd", "hello", "expected value"),
        ("uffd", &honest[..honest.len() - 1], "EOF"),
        (
            "uffd",
            &format!("[{}]", region("$0", size - 4096, 0)),
            "15 pages",
        ),
        (
            "uffd",
            &format!("[{}]", region("$0", size + 4096, 0)),
            "17 pages",
        ),
        (
            "uffd",
            &format!("[{}]", region("$0", size, 4096)),
            "16 pages",
        ),
        (
            "uffd",
            &format!("[{}]", region("$0", usize::MAX - 4095, 0)),
            "aren't addresses",
        ),
        (
            "uffd",
            &format!("[{}]", region("$0", size, u64::MAX - 4095)),
            "aren't addresses",
        ),
        ("uffd", &twice, "overlap"),
        ("uffd", &long, "too long"),
        ("uffd", "", "without a word"),
    ]
    .into_iter()
    .enumerate()
    {
        let Some(mut peer) = peer(&format!("map {size}")) else {
            return;
        };
        let (socket, server) = place.serve(&number.to_string(), Options::default());
        peer.ask(&format!("lie {} {descriptors} {text}", socket.display()));
        peer.ask("close");
        let error = refusal(server);
        assert!(error.contains(why), "{descriptors} {text}: {error}");
    }
}

#[test]
fn who_never_speaks_is_not_waited_for() {
    let place = Place::new(16);
    let options = || Options {
        patience: Duration::from_millis(50),
        ..Options::default()
    };
    let (_, server) = place.serve("nobody", options());
    assert!(refusal(server).contains("no monitor has connected"));
    let (socket, server) = place.serve("silent", options());
    let _silent = UnixStream::connect(&socket).expect("it listens");
    assert!(refusal(server).contains("the monitor has said nothing"));
}

#[test]
fn who_does_what_no_monitor_does_is_refused() {
    let place = Place::new(16);
    let size = place.bytes.len();
    for (number, (map, order, why)) in [
        ("map", "stray", "where it has no memory"),
        ("map", "speak", "more than one message"),
        ("map", "block", "waits in reads"),
        ("map-forking", "fork", "it has forked"),
    ]
    .into_iter()
    .enumerate()
    {
        let Some(mut peer) = peer(&format!("{map} {size}")) else {
            continue;
        };
        let (socket, server) = place.serve(&number.to_string(), Options::default());
        peer.ask(&format!("connect {}", socket.display()));
        assert_eq!(peer.number("sum 0 0 4"), place.sum(0..4));
        peer.say(order);
        // Whether it looks while it waits or waits while it looks, it is told at the next fault.
        peer.say("sum 0 5 1");
        let error = refusal(server);
        assert!(error.contains(why), "{order}: {error}");
    }
}

#[test]
fn what_is_not_there_any_more_is_nobodys_matter() {
    let place = Place::new(32);
    let Some(mut peer) = peer(&format!("map {0} {0}", 16 * PAGE)) else {
        return;
    };
    let options = Options {
        everything: true,
        ..Options::default()
    };
    let (socket, server) = place.serve("socket", options);
    peer.ask("unmap 0");
    let half = 16 * PAGE;
    let word = |at: &str, offset: u64| {
        format!(
            r#"{{"base_host_virt_addr":{at},"size":{half},"offset":{offset},"page_size":4096}}"#
        )
    };
    // It says that what is gone is beside what is there.
    let text = format!("[{},{}]", word("$0", 0), word("4096", half));
    peer.ask(&format!("lie {} uffd {text}", socket.display()));
    assert_eq!(peer.number("sum 0 0 16"), place.sum(0..16));
    end(peer, server);
}

#[test]
fn who_hangs_up_is_gone_though_it_lives() {
    let place = Place::new(16);
    let Some((mut peer, server)) = begin(&place, Options::default()) else {
        return;
    };
    assert_eq!(peer.number("sum 0 0 2"), place.sum(0..2));
    peer.ask("close");
    let report = server
        .join()
        .expect("it doesn't panic")
        .expect("it is over");
    assert_eq!(report.faults, 2);
}

#[test]
fn only_this_user_may_connect() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new(16);
    let socket = place.path("socket");
    let listener = pages::listen(&socket).expect("it listens");
    let mode = fs::metadata(&socket).expect("it is there").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    pages::listen(&socket).expect_err("it is taken");
    drop(listener);
}

#[test]
fn huge_pages_are_filled_whole() {
    let place = Place::new(2 * HUGE / PAGE);
    let Some(mut peer) = peer(&format!("map-huge {}", 2 * HUGE)) else {
        return;
    };
    let (socket, server) = place.serve("socket", Options::default());
    peer.ask(&format!("connect {}", socket.display()));
    assert_eq!(peer.number("sum 0 600 10"), place.sum(600..610));
    assert_eq!(peer.number("sum 0 0 1024"), place.sum(0..1024));
    peer.ask("remove 0 512 512");
    let zero = checksum(&vec![0; HUGE as usize]);
    assert_eq!(peer.number("sum 0 512 512"), zero);
    let report = end(peer, server);
    assert_eq!((report.filled, report.touched), (1024 + 512, 1024));
}
