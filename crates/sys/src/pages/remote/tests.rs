use super::{Errno, Error, Mapped, PAGE, Run, Runs, Source, may_read};
use crate::pages::testing::{as_each_user, become_nobody, in_a_fork, peek, poke};
use crate::pages::{Committed, Region};
use crate::probe::{child, userns};
use crate::process::Exec;
use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use rustix::process::{DumpableBehavior, Pid, set_dumpable_behavior};
use std::ffi::CString;

/// A forked process that says something and then waits to be ended.
struct Other {
    pid: Pid,
    says: OwnedFd,
    _wait: OwnedFd,
}

impl Other {
    /// `life` gets the descriptor to say it with, and one that ends with this value.
    fn new(life: impl FnOnce(OwnedFd, OwnedFd)) -> Self {
        let (says, say) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let (waits, wait) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let ours = [says.as_raw_fd(), wait.as_raw_fd()];
        let pid = child::fork(|| {
            for fd in ours {
                // SAFETY: it is one of the parent's ends, which this process never uses.
                unsafe { libc::close(fd) };
            }
            life(say.try_clone().unwrap(), waits.try_clone().unwrap());
        });
        Self {
            pid: pid.unwrap(),
            says,
            _wait: wait,
        }
    }

    /// One that has a value of its own and waits.
    fn waiting(life: impl FnOnce() -> u64) -> Self {
        Self::new(|say, waits| {
            let address = life();
            rustix::io::write(&say, &address.to_ne_bytes()).unwrap();
            let _ = rustix::io::read(&waits, &mut [0]);
        })
    }

    fn source(&self) -> Source {
        let mut address = [0; 8];
        assert_eq!(rustix::io::read(&self.says, &mut address), Ok(8));
        Source {
            process: self.pid.as_raw_nonzero().get(),
            address: u64::from_ne_bytes(address),
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        child::end(self.pid);
    }
}

fn runs(list: &[(usize, usize)]) -> Runs {
    let runs = list.iter().map(|(start, end)| Run {
        start: *start,
        end: *end,
    });
    runs.collect()
}

fn first_bytes(mapped: &Mapped<'_>, pages: usize) -> Vec<u8> {
    let mut bytes = vec![0; pages * PAGE];
    mapped.read(0, &mut bytes).unwrap();
    bytes.chunks(PAGE).map(|page| page[0]).collect()
}

#[test]
fn pages_arrive_where_they_belong() {
    const PAGES: usize = 10_000;
    as_each_user(|| {
        let mut memory = Committed::new("heap", PAGES).unwrap();
        let region = Region::reserve(1, PAGES, 1).unwrap();
        region
            .map_private(0..PAGES, &memory.reader().unwrap(), 0)
            .unwrap();
        let other = Other::waiting(|| {
            (0..PAGES).for_each(|page| poke(&region, page, 1 + (page % 251) as u8));
            region.start() as u64
        });
        let source = other.source();
        // Every third page: more runs than one call takes. And a long one.
        let wanted: Runs = (0..PAGES)
            .filter(|page| page % 3 == 0 || *page > 6000)
            .map(|page| Run {
                start: page,
                end: page + 1,
            })
            .collect();
        assert!(wanted.as_slice().len() > 1024);
        let expected: Vec<u8> = (0..PAGES)
            .map(|page| match page % 3 == 0 || page > 6000 {
                true => 1 + (page % 251) as u8,
                false => 0,
            })
            .collect();
        let mut staged = vec![0; wanted.pages() * PAGE];
        source.stage(&wanted, &mut staged).unwrap();
        let mut mapped = memory.map(PAGES).unwrap();
        mapped.write_staged(&wanted, &staged).unwrap();
        assert_eq!(first_bytes(&mapped, PAGES), expected);
        mapped.write(0, &vec![0; PAGES * PAGE]).unwrap();
        source.pull(&wanted, &mut mapped).unwrap();
        assert_eq!(first_bytes(&mapped, PAGES), expected);
        assert_eq!(peek(&region, 0), expected[0]);
    });
}

#[test]
fn what_is_not_there_is_named() {
    let mut memory = Committed::new("heap", 5000).unwrap();
    let region = Region::reserve(1, 5000, 1).unwrap();
    let other = Other::waiting(|| {
        region.map_anonymous(0..3000).unwrap();
        (0..3000).for_each(|page| poke(&region, page, 1));
        region.start() as u64
    });
    let source = other.source();
    let mut mapped = memory.map(5000).unwrap();
    let mut unread = |list: &[(usize, usize)]| {
        let found = source.pull(&runs(list), &mut mapped);
        let Err(Error::Unread {
            read,
            page,
            why,
            process,
        }) = found
        else {
            panic!("{found:?}");
        };
        assert_eq!(process, source.process);
        (read, page, why)
    };
    assert_eq!(unread(&[(3000, 3001)]), (0, 3000, Some(Errno::FAULT)));
    assert_eq!(
        unread(&[(10, 20), (2990, 3010), (4000, 4001)]),
        (20, 3000, None)
    );
    let many: Vec<_> = (0..2400).map(|page| (page * 2, page * 2 + 1)).collect();
    let (read, page, _) = unread(&many);
    assert_eq!((read, page), (1500, 3000));
    let gone = Source {
        process: 0x3fff_ffff,
        ..source
    };
    let found = gone.pull(&runs(&[(0, 1)]), &mut mapped);
    assert!(matches!(
        found,
        Err(Error::Unread {
            why: Some(Errno::SRCH),
            ..
        })
    ));
}

#[test]
fn nothing_is_read_to_where_there_is_no_room() {
    let mut memory = Committed::new("heap", 100).unwrap();
    let mut mapped = memory.map(100).unwrap();
    let source = Source {
        process: rustix::process::getpid().as_raw_nonzero().get(),
        address: 0,
    };
    let outside = |end, pages| Err(Error::Outside { end, pages });
    assert_eq!(
        source.pull(&runs(&[(0, 1), (99, 101)]), &mut mapped),
        outside(101, 100)
    );
    let huge = runs(&[(usize::MAX - 5, usize::MAX)]);
    assert_eq!(source.pull(&huge, &mut mapped), outside(usize::MAX, 100));
    assert_eq!(source.stage(&huge, &mut [0; PAGE]), outside(5, 1));
    assert_eq!(
        source.stage(&runs(&[(0, 1)]), &mut [0; PAGE + 1]),
        outside(1, 1)
    );
    assert_eq!(
        mapped.write_staged(&runs(&[(0, 2)]), &[0; PAGE]),
        outside(2, 1)
    );
    assert_eq!(
        mapped.write_staged(&huge, &[0; 5 * PAGE]),
        outside(usize::MAX, 100)
    );
    assert_eq!(source.pull(&Runs::default(), &mut mapped), Ok(()));
}

const SAY: &str = "CASEMATE_TEST_SAY";
const CONTENT: &[u8] = b"what an executed program keeps";

/// Not a test: what [`who_may_read_whom`] executes.
#[test]
#[ignore = "the other process of a test"]
fn the_executed_process() {
    let Ok(say) = std::env::var(SAY) else { return };
    set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap();
    let mut page = vec![0; 2 * PAGE];
    let aligned = page.as_ptr().align_offset(PAGE);
    page[aligned..aligned + CONTENT.len()].copy_from_slice(CONTENT);
    let address = page.as_ptr() as u64 + aligned as u64;
    // SAFETY: it was left open for this, and nothing else uses it.
    let say = unsafe { OwnedFd::from_raw_fd(say.parse().unwrap()) };
    rustix::io::write(&say, &address.to_ne_bytes()).unwrap();
    let _ = rustix::io::read(rustix::stdio::stdin(), &mut [0]);
}

fn execute(say: &OwnedFd, waits: OwnedFd) {
    let itself = std::fs::File::open("/proc/self/exe").unwrap();
    rustix::stdio::dup2_stdin(&waits).unwrap();
    rustix::io::fcntl_setfd(say, rustix::io::FdFlags::empty()).unwrap();
    let name = module_path!().split_once("::").unwrap().1;
    let args = [
        "test",
        "--ignored",
        "--exact",
        &format!("{name}::the_executed_process"),
    ]
    .map(|arg| CString::new(arg).unwrap());
    let environment = CString::new(format!("{SAY}={}", say.as_raw_fd())).unwrap();
    let exec = Exec::new(c"".into(), args.into(), vec![environment]);
    panic!("execveat: {}", exec.exec_file(itself.as_fd()));
}

#[test]
fn who_may_read_whom() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: it takes root to become an ordinary user");
    }
    let hidden = || set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap();
    in_a_fork(|| {
        become_nobody();
        let seen = Other::waiting(|| 0);
        assert_eq!(seen.source().address, 0);
        assert_eq!(may_read(seen.pid.as_raw_nonzero().get()), Ok(()));
        let hides = Other::waiting(|| {
            hidden();
            0
        });
        assert_eq!(may_read(hides.source().process), Err(Errno::PERM));
        if in_namespace(|| ()).is_none() {
            return eprintln!("skipped: no namespaces here");
        }
        let hides_inside = in_namespace(hidden).unwrap();
        assert_eq!(
            may_read(hides_inside.pid.as_raw_nonzero().get()),
            Err(Errno::PERM)
        );
        let executed = Other::new(|say, waits| {
            userns::enter(0).unwrap();
            execute(&say, waits);
        });
        let mut page = [0; PAGE];
        executed
            .source()
            .stage(&runs(&[(0, 1)]), &mut page)
            .unwrap();
        assert!(page.starts_with(CONTENT));
    });
}

/// A process in a user namespace that this user made; none where that is forbidden.
fn in_namespace(then: impl FnOnce()) -> Option<Other> {
    let other = Other::waiting(|| match userns::enter(0) {
        Ok(()) => {
            then();
            1
        }
        Err(_) => 0,
    });
    (other.source().address == 1).then_some(other)
}
