//! A machine's monitor, as far as a server of pages meets it: a process that has memory with pages
//! missing, hands over its userfaultfd as Firecracker does, and then needs what it is told to need.
//!
//! [`Memories`] is that within a process; [`Peer`] is a process of its own, which is the test's own
//! program and does what is said to it line by line ([`obey`]). A test that starts peers has a test
//! like this one among its own:
//!
//! ```ignore
//! #[test]
//! #[ignore = "a process of the other tests"]
//! fn page_peer() {
//!     world::uffd::obey();
//! }
//! ```

#![allow(dead_code, reason = "each test program uses a part of it")]

use casemate_sys::uffd::{Memory, Told, Userfault};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

pub(crate) const PAGE: u64 = 4096;
pub(crate) const HUGE: u64 = 2 << 20;

/// What an answer begins with, so that what the test harness prints is none.
const ANSWER: &str = "peer: ";

/// A number that differs if bytes do (FNV-1a).
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// A guest's memory, whose pages are all missing.
pub(crate) struct Memories {
    pub(crate) parts: Vec<Memory>,
    pub(crate) userfault: Userfault,
    page: u64,
}

impl Memories {
    /// Parts of so many bytes each, which follow each other in the snapshot.
    pub(crate) fn new(sizes: &[u64], page: u64, told: Told) -> Result<Self, String> {
        let userfault = Userfault::open(told).map_err(|errno| format!("userfaultfd: {errno}"))?;
        let part = |size: &u64| {
            let made = match page {
                HUGE => Memory::huge(*size),
                _ => Memory::new(*size),
            };
            let memory = made.map_err(|errno| format!("{size} bytes of memory: {errno}"))?;
            let registered = userfault.register(&memory, 0..*size);
            registered.map_err(|errno| format!("register: {errno}"))?;
            Ok(memory)
        };
        let parts = sizes.iter().map(part).collect::<Result<_, String>>()?;
        Ok(Self {
            parts,
            userfault,
            page,
        })
    }

    /// What Firecracker says of it.
    pub(crate) fn message(&self) -> String {
        let (mut text, mut offset) = (String::from("["), 0);
        for memory in &self.parts {
            let comma = if offset == 0 { "" } else { "," };
            let (at, size, page) = (memory.address(), memory.length(), self.page);
            write!(
                text,
                r#"{comma}{{"base_host_virt_addr":{at},"size":{size},"offset":{offset},"page_size":{page},"page_size_kib":{page}}}"#
            )
            .expect("memory takes it");
            offset += size;
        }
        text + "]"
    }

    /// Hands it over. Who drops the socket is gone.
    pub(crate) fn hand_over(&self, socket: &Path) -> UnixStream {
        let stream = UnixStream::connect(socket).expect("somebody listens");
        send(
            &stream,
            self.message().as_bytes(),
            &[self.userfault.as_fd()],
        );
        stream
    }
}

/// One message with descriptors.
pub(crate) fn send(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)) || descriptors.is_empty());
    // The other side may have had enough of it.
    let _ = sendmsg(
        stream,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    );
}

/// Such a process.
pub(crate) struct Peer {
    child: Child,
    said: Option<ChildStdin>,
    heard: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts one. `test` is the name of the test that calls [`obey`].
    pub(crate) fn start(test: &str) -> Self {
        let program = std::env::current_exe().expect("it is there");
        let mut command = Command::new(program);
        command.args(["--ignored", "--exact", test, "--nocapture"]);
        Self::of(command)
    }

    /// A program that calls [`obey`].
    pub(crate) fn of(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let said = child.stdin.take();
        let heard = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, said, heard }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Says a line; [`hear`](Self::hear) has the answer.
    pub(crate) fn say(&mut self, line: &str) {
        let said = self.said.as_mut().expect("it listens");
        writeln!(said, "{line}").expect("it is taken");
    }

    /// The next answer, or `None` if it has ended.
    pub(crate) fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.heard.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some((_, answer)) = line.trim_end().split_once(ANSWER) {
                return Some(answer.to_owned());
            }
        }
    }

    /// Says a line and waits for the answer.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear().unwrap_or_else(|| panic!("it died of {line}"))
    }

    /// The same if the answer is a number.
    pub(crate) fn number(&mut self, line: &str) -> u64 {
        let answer = self.ask(line);
        answer
            .parse()
            .unwrap_or_else(|_| panic!("{line}: {answer}"))
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        let _ = self.child.kill();
        self.child.wait().expect("it is our own")
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it is our own")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the other process does: each line of its input is an order, and has an answer. Pages are
/// numbered from the start of a part, 4 KiB each.
///
/// ```text
///   map SIZE…                memory in so many parts, with REMOVE told      ok | why not
///   map-silent, map-huge, map-forking SIZE…   the same, otherwise
///   connect SOCKET           hands it over as Firecracker does              ok
///   lie SOCKET FDS TEXT      sends TEXT, in which $0 is the address of part 0, with these
///                            descriptors: uffd, null, two, many, none       ok
///   sum PART FIRST COUNT     needs these pages in order                     their checksum
///   backwards PART FIRST COUNT     in reverse order                         the same
///   write PART PAGE VALUE    writes a page's first word                     ok
///   remove PART FIRST COUNT  gives pages back                               ok
///   flood PART PAGES TIMES   gives the first pages back as often            ok
///   stray                    needs a page that is registered and wasn't told of
///   unmap PART               takes a part out of the address space          ok
///   block                    makes its descriptor wait in reads             ok
///   fork                     forks                                          ok
///   time PART FIRST COUNT    needs pages in order               nanoseconds of each
///   close                    closes its end of the socket                   ok
///   speak                    sends something more                           ok
/// ```
pub(crate) fn obey() {
    let mut world = World::default();
    for line in std::io::stdin().lines() {
        let Ok(line) = line else { return };
        let answer = world.order(&line);
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{ANSWER}{answer}").and_then(|()| out.flush());
    }
}

#[derive(Default)]
struct World {
    memories: Option<Memories>,
    stream: Option<UnixStream>,
}

impl World {
    fn order(&mut self, line: &str) -> String {
        let (order, rest) = line.split_once(' ').unwrap_or((line, ""));
        let numbers: Vec<u64> = rest
            .split(' ')
            .map_while(|word| word.parse().ok())
            .collect();
        let pages = || {
            let (first, count) = (numbers[1], numbers[2]);
            (first..first + count).map(|page| page * PAGE..(page + 1) * PAGE)
        };
        let removes = Told {
            removes: true,
            ..Told::default()
        };
        match order {
            "map" => return self.map(&numbers, PAGE, removes),
            "map-silent" => return self.map(&numbers, PAGE, Told::default()),
            "map-huge" => return self.map(&numbers, HUGE, removes),
            "map-forking" => {
                let forks = true;
                return self.map(&numbers, PAGE, Told { forks, ..removes });
            }
            "connect" => self.stream = Some(self.memories().hand_over(Path::new(rest))),
            "lie" => self.lie(rest),
            "sum" => return sum(self.part(&numbers), pages()),
            "backwards" => {
                let memory = self.part(&numbers);
                pages().rev().for_each(|page| {
                    memory.word(page.start);
                });
                return sum(memory, pages());
            }
            "write" => self.part(&numbers).set_word(numbers[1] * PAGE, numbers[2]),
            "remove" => {
                let (first, count) = (numbers[1], numbers[2]);
                let range = first * PAGE..(first + count) * PAGE;
                self.part(&numbers).discard(range).expect("it is given");
            }
            "flood" => {
                for _ in 0..numbers[2] {
                    let range = 0..numbers[1] * PAGE;
                    self.part(&numbers).discard(range).expect("it is given");
                }
            }
            "stray" => {
                let stray = Memory::new(PAGE).expect("memory");
                let userfault = &self.memories().userfault;
                userfault.register(&stray, 0..PAGE).expect("it is taken");
                return stray.word(0).to_string();
            }
            "unmap" => {
                let memories = self.memories.as_mut().expect("there is memory");
                drop(memories.parts.remove(numbers[0] as usize));
            }
            "block" => {
                let (to, flags) = (&self.memories().userfault, rustix::fs::OFlags::empty());
                rustix::fs::fcntl_setfl(to, flags).expect("it is set");
            }
            "fork" => {
                // A user to be makes the library fork, which it avoids else.
                let user = rustix::process::geteuid().as_raw();
                let status = Command::new("true").uid(user).status();
                return format!("{status:?}");
            }
            "time" => return time(self.part(&numbers), pages()),
            "close" => self.stream = None,
            "speak" => {
                let stream = self.stream.as_mut().expect("it is connected");
                stream.write_all(b"more").expect("it is taken");
            }
            _ => return format!("what is {order}?"),
        }
        "ok".to_owned()
    }

    fn map(&mut self, sizes: &[u64], page: u64, told: Told) -> String {
        match Memories::new(sizes, page, told) {
            Ok(memories) => self.memories = Some(memories),
            Err(why) => return why,
        }
        "ok".to_owned()
    }

    fn memories(&self) -> &Memories {
        self.memories.as_ref().expect("there is memory")
    }

    fn part(&self, numbers: &[u64]) -> &Memory {
        &self.memories().parts[numbers[0] as usize]
    }

    fn lie(&mut self, words: &str) {
        let mut words = words.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (socket, descriptors, text) = (word(), word(), word());
        let null = File::open("/dev/null").expect("it is there");
        let userfault = self.memories.as_ref().map(|m| m.userfault.as_fd());
        let userfault = userfault.unwrap_or(null.as_fd());
        let descriptors = match descriptors {
            "uffd" => vec![userfault],
            "null" => vec![null.as_fd()],
            "two" => vec![userfault, null.as_fd()],
            "many" => vec![userfault; 8],
            _ => Vec::new(),
        };
        let address = self.memories.as_ref().map_or(0, |m| m.parts[0].address());
        let text = text.replace("$0", &address.to_string());
        let stream = UnixStream::connect(socket).expect("somebody listens");
        send(&stream, text.as_bytes(), &descriptors);
        self.stream = Some(stream);
    }
}

type Pages<'a> = dyn Iterator<Item = std::ops::Range<u64>> + 'a;

fn sum(memory: &Memory, pages: impl Iterator<Item = std::ops::Range<u64>>) -> String {
    let bytes: Vec<u8> = pages.flat_map(|page| memory.bytes(page)).collect();
    checksum(&bytes).to_string()
}

fn time(memory: &Memory, mut pages: impl Iterator<Item = std::ops::Range<u64>>) -> String {
    let pages: &mut Pages<'_> = &mut pages;
    let each = pages.map(|page| {
        let begun = std::time::Instant::now();
        memory.word(page.start);
        begun.elapsed().as_nanos().to_string()
    });
    each.collect::<Vec<_>>().join(" ")
}
