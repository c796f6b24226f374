//! The profile as a classic BPF program (bpf(4), seccomp(2)).
//!
//! The kernel remembers which call numbers are always allowed and skips the program for them;
//! the others run it, so it is a search tree over the numbers and not a list. To know what to
//! remember, it runs the program for every number there is when a filter is installed, which is
//! most of what that costs: so the tree is balanced by how many numbers lie on each side.

use super::profile::{Action, Case, GROUPS, Profile, Test, Verdict};
use crate::Errno;

/// `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// How many instructions are skipped if the test holds.
    pub jt: u8,
    /// How many are skipped if not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_AT_LEAST: u16 = 0x35;
pub(super) const JUMP_ANY_BIT: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;

pub(super) const OFFSET_NR: u32 = 0;
pub(super) const OFFSET_ARCH: u32 = 4;
/// The lower half of the first argument, on a little-endian machine.
pub(super) const OFFSET_ARGS: u32 = 16;
pub(super) const ARCH_X86_64: u32 = 0xc000_003e;
pub(super) const RET_ALLOW: u32 = 0x7fff_0000;
pub(super) const RET_ERRNO: u32 = 0x0005_0000;
const RET_NOTIFY: u32 = 0x7fc0_0000;

/// The numbers below have a place in the kernel's own table, roughly; what is above is unlisted.
const END: usize = 480;
/// Enough for a program; the compiler says if it isn't.
const ROOM: usize = 512;

/// The programs, made by the compiler: a start has no time for that.
static ALONE: Backwards = listening(false, false);
static LENDING: Backwards = listening(true, false);
static NESTING: Backwards = listening(false, true);
static LENDING_AND_NESTING: Backwards = listening(true, true);
static UNHEARD: Backwards = unheard(false);
static UNHEARD_NESTING: Backwards = unheard(true);

const fn listening(lends: bool, nests: bool) -> Backwards {
    Backwards::assemble(Profile {
        listener: true,
        lends,
        nests,
    })
}

/// Nobody lends who isn't asked.
const fn unheard(nests: bool) -> Backwards {
    Backwards::assemble(Profile {
        listener: false,
        lends: false,
        nests,
    })
}

/// A filter besides: whoever is kept on some processors doesn't choose others.
pub static STAY: [Instruction; 4] = [
    Instruction {
        code: LOAD,
        jt: 0,
        jf: 0,
        k: OFFSET_NR,
    },
    Instruction {
        code: JUMP_EQUAL,
        jt: 0,
        jf: 1,
        k: libc::SYS_sched_setaffinity as u32,
    },
    Instruction {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: RET_ERRNO | libc::EPERM as u32,
    },
    Instruction {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: RET_ALLOW,
    },
];

/// The program for a profile.
pub fn assemble(profile: Profile) -> &'static [Instruction] {
    match (profile.listener, profile.lends, profile.nests) {
        (true, false, false) => ALONE.program(),
        (true, true, false) => LENDING.program(),
        (true, false, true) => NESTING.program(),
        (true, true, true) => LENDING_AND_NESTING.program(),
        (false, _, false) => UNHEARD.program(),
        (false, _, true) => UNHEARD_NESTING.program(),
    }
}

/// All numbers as runs with one verdict: where each begins, and its group. The last run is unlisted
/// and has no end, so the numbers of x32 calls (which have bit 30) are in it.
struct Ranges {
    first: [u32; END + 1],
    group: [u8; END + 1],
    count: usize,
}

/// The group of the numbers that are in none.
const UNLISTED: u8 = u8::MAX;

impl Ranges {
    const fn of(profile: Profile) -> Self {
        let mut groups = [UNLISTED; END + 1];
        let mut group = 0;
        while group < GROUPS.len() {
            let calls = GROUPS[group].calls;
            let mut call = 0;
            while call < calls.len() {
                groups[calls[call].1 as usize] = group as u8;
                call += 1;
            }
            group += 1;
        }
        let mut ranges = Self {
            first: [0; END + 1],
            group: [UNLISTED; END + 1],
            count: 0,
        };
        let mut nr = 0;
        while nr <= END {
            if nr == 0 || !same(groups[nr - 1], groups[nr], profile) {
                ranges.first[ranges.count] = nr as u32;
                ranges.group[ranges.count] = groups[nr];
                ranges.count += 1;
            }
            nr += 1;
        }
        ranges
    }
}

const fn verdict(group: u8) -> Verdict {
    match group {
        UNLISTED => Verdict::Always(Action::Fail(Errno::NOSYS)),
        group => GROUPS[group as usize].verdict,
    }
}

/// Whether two groups come to the same.
const fn same(one: u8, other: u8, profile: Profile) -> bool {
    match (verdict(one), verdict(other)) {
        (Verdict::Always(a), Verdict::Always(b)) => profile.ret(a).k == profile.ret(b).k,
        _ => one == other,
    }
}

/// Where an instruction is: at which index from the end.
#[derive(Clone, Copy)]
struct Place(usize);

/// A program from its last instruction to its first. Jumps only go forward, so all that an
/// instruction leads to is there when it is made, and a return that is near enough is used again:
/// the shorter the program, the sooner the kernel has compiled it.
struct Backwards {
    /// The program is what stands at the end of this.
    instructions: [Instruction; ROOM],
    length: usize,
    profile: Profile,
}

impl Backwards {
    const fn assemble(profile: Profile) -> Self {
        let mut program = Self {
            instructions: [op(RETURN, 0); ROOM],
            length: 0,
            profile,
        };
        let ranges = Ranges::of(profile);
        let no_such_call = program.ret(Action::Fail(Errno::NOSYS));
        let native = program.search(&ranges, 0, ranges.count);
        let native = program.then(op(LOAD, OFFSET_NR), native);
        let checked = program.jump(op(JUMP_EQUAL, ARCH_X86_64), native, no_such_call);
        program.then(op(LOAD, OFFSET_ARCH), checked);
        program
    }

    fn program(&self) -> &[Instruction] {
        &self.instructions[ROOM - self.length..]
    }

    /// Finds the range of a number among these. Both halves have as many numbers as can be.
    const fn search(&mut self, ranges: &Ranges, from: usize, to: usize) -> Place {
        if to - from == 1 {
            return self.leaf(verdict(ranges.group[from]));
        }
        let end = if to < ranges.count {
            ranges.first[to]
        } else {
            END as u32
        };
        let middle = (ranges.first[from] + end) / 2;
        let mut split = from + 1;
        while split + 1 < to
            && ranges.first[split + 1].abs_diff(middle) <= ranges.first[split].abs_diff(middle)
        {
            split += 1;
        }
        let high = self.search(ranges, split, to);
        let low = self.search(ranges, from, split);
        self.jump(op(JUMP_AT_LEAST, ranges.first[split]), high, low)
    }

    const fn leaf(&mut self, verdict: Verdict) -> Place {
        match verdict {
            Verdict::Always(action) => self.ret(action),
            Verdict::Check { cases, otherwise } => {
                let mut place = self.ret(otherwise);
                let mut left = cases.len();
                // At the end, what comes to the same needs no test.
                while left > 0
                    && self.profile.ret(cases[left - 1].then).k == self.profile.ret(otherwise).k
                {
                    left -= 1;
                }
                while left > 0 {
                    left -= 1;
                    place = self.case(&cases[left], place);
                }
                place
            }
        }
    }

    /// Tests that all must hold; goes to `next` if one doesn't.
    const fn case(&mut self, case: &Case, next: Place) -> Place {
        let mut place = self.ret(case.then);
        let mut left = case.when.len();
        while left > 0 {
            left -= 1;
            let (arg, mask, jump) = match case.when[left] {
                Test::Is { arg, mask, value } => (arg, mask, op(JUMP_EQUAL, value)),
                Test::Any { arg, mask } => (arg, u32::MAX, op(JUMP_ANY_BIT, mask)),
            };
            place = self.jump(jump, place, next);
            if mask != u32::MAX {
                place = self.then(op(AND, mask), place);
            }
            place = self.then(op(LOAD, OFFSET_ARGS + 8 * arg as u32), place);
        }
        place
    }

    /// A conditional jump.
    const fn jump(&mut self, jump: Instruction, holds: Place, fails: Place) -> Place {
        // With room for the plain jump to the other that may have to stand between.
        let holds = self.near(holds, 1);
        let fails = self.near(fails, 0);
        self.push(Instruction {
            jt: self.skips(holds) as u8,
            jf: self.skips(fails) as u8,
            ..jump
        })
    }

    /// An instruction before another one.
    const fn then(&mut self, instruction: Instruction, next: Place) -> Place {
        if self.skips(next) > 0 {
            self.push(op(JUMP, self.skips(next) as u32));
        }
        self.push(instruction)
    }

    /// A conditional jump reaches 255 instructions; a plain one any number.
    const fn near(&mut self, place: Place, room: usize) -> Place {
        if self.skips(place) + room <= u8::MAX as usize {
            return place;
        }
        self.push(op(JUMP, self.skips(place) as u32))
    }

    /// A return that a jump from here will reach, with room for a call's tests in between.
    const fn ret(&mut self, action: Action) -> Place {
        const REACH: usize = 200;
        let ret = self.profile.ret(action);
        let mut back = 0;
        while back < self.length && back < REACH {
            let known = self.instructions[ROOM - self.length + back];
            if known.code == RETURN && known.k == ret.k {
                return Place(self.length - 1 - back);
            }
            back += 1;
        }
        self.push(ret)
    }

    const fn push(&mut self, instruction: Instruction) -> Place {
        self.length += 1;
        self.instructions[ROOM - self.length] = instruction;
        Place(self.length - 1)
    }

    /// How many instructions the next one would skip to get there.
    const fn skips(&self, place: Place) -> usize {
        self.length - 1 - place.0
    }
}

pub(super) const fn op(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

impl Profile {
    const fn ret(self, action: Action) -> Instruction {
        let value = match action {
            Action::Allow => RET_ALLOW,
            Action::Fail(errno) => RET_ERRNO | errno.raw_os_error() as u32,
            Action::Refuse(_) | Action::Ask(_) if self.listener => RET_NOTIFY,
            Action::Refuse(errno) | Action::Ask(errno) => RET_ERRNO | errno.raw_os_error() as u32,
            Action::Shield(errno) if self.lends => return self.ret(Action::Refuse(errno)),
            Action::Note if self.listener && self.lends => RET_NOTIFY,
            Action::Nest(errno) if !self.nests => return self.ret(Action::Refuse(errno)),
            Action::Shield(_) | Action::Nest(_) | Action::Note => RET_ALLOW,
        };
        op(RETURN, value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::super::profile::evaluate;
    use super::*;

    const LENDS: Profile = Profile {
        listener: true,
        lends: true,
        nests: false,
    };

    /// The few instructions that the assembler emits, interpreted.
    fn interpret(program: &[Instruction], call: &Request) -> u32 {
        let load = |offset: u32| match offset {
            OFFSET_NR => call.nr as u32,
            OFFSET_ARCH => call.arch,
            _ => call.args[((offset - OFFSET_ARGS) / 8) as usize] as u32,
        };
        let (mut at, mut a) = (0usize, 0u32);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            match code {
                LOAD => a = load(k),
                AND => a &= k,
                JUMP => at += k as usize,
                JUMP_EQUAL => at += jump(a == k),
                JUMP_AT_LEAST => at += jump(a >= k),
                JUMP_ANY_BIT => at += jump(a & k != 0),
                RETURN => return k,
                other => panic!("no such instruction {other:#x}"),
            }
        }
    }

    fn expected(profile: Profile, call: &Request) -> u32 {
        const X32: u32 = 0x4000_0000;
        if call.arch != ARCH_X86_64 || call.nr as u32 >= X32 {
            return profile.ret(Action::Fail(Errno::NOSYS)).k;
        }
        profile.ret(evaluate(call)).k
    }

    #[test]
    fn the_program_says_what_the_profile_says() {
        let interesting = [
            0u64,
            1,
            2,
            3,
            5,
            6,
            10,
            16,
            17,
            35,
            40,
            0x80,
            41,
            57,
            262,
            0x400,
            0x1_0000,
            0x1_0400,
            0x8905,
            0x8912,
            0x894b,
            0o4755,
            0o2755,
            0o644,
            0o102,
            0x5412,
            0x541c,
            0x0002_0000,
            0x1000_0000,
            0x2000_0000,
            0x0004_0000,
            0x80801,
            0xffff_ffff,
            u64::MAX,
            0x1_0000_0001,
        ];
        let profiles = [
            (true, true, false),
            (true, true, true),
            (true, false, false),
            (true, false, true),
            (false, false, false),
            (false, false, true),
        ];
        for (listener, lends, nests) in profiles {
            let profile = Profile {
                listener,
                lends,
                nests,
            };
            let program = assemble(profile);
            for nr in (0..600).chain([-1, 0x4000_0000, 0x4000_0001]) {
                for a in interesting {
                    for b in interesting {
                        for c in [0, 2, 4, 6, 17, 57, 262, 0o6777] {
                            let call = Request {
                                nr,
                                arch: ARCH_X86_64,
                                instruction_pointer: 0,
                                args: [a, b, c, a, b, c],
                            };
                            assert_eq!(
                                interpret(program, &call),
                                expected(profile, &call),
                                "{call:?}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_lent_socket_tells_nothing_of_its_network() {
        let ioctl = |profile, request| {
            let call = Request {
                nr: libc::SYS_ioctl as i32,
                arch: ARCH_X86_64,
                args: [3, request, 0, 0, 0, 0],
                ..Request::default()
            };
            interpret(assemble(profile), &call)
        };
        let alone = Profile {
            lends: false,
            ..LENDS
        };
        // SIOCGIFCONF, SIOCGIFNAME, SIOCETHTOOL, SIOCGARP, the private ones.
        for request in [0x8912, 0x8910, 0x8946, 0x8954, 0x89f0] {
            assert_eq!(ioctl(LENDS, request), RET_NOTIFY, "{request:#x}");
            assert_eq!(ioctl(alone, request), RET_ALLOW, "{request:#x}");
        }
        // SIOCSPGRP, SIOCATMARK, SIOCOUTQNSD, FIONREAD, FIONBIO.
        for request in [0x8902, 0x8905, 0x894b, 0x541b, 0x5421] {
            assert_eq!(ioctl(LENDS, request), RET_ALLOW, "{request:#x}");
        }
    }

    #[test]
    fn only_who_nests_makes_a_user_namespace_and_no_other() {
        let nests = Profile {
            nests: true,
            ..LENDS
        };
        let verdict = |profile, nr: i64, flags: i32| {
            let call = Request {
                nr: nr as i32,
                arch: ARCH_X86_64,
                args: [flags as u64, 0, 0, 0, 0, 0],
                ..Request::default()
            };
            interpret(assemble(profile), &call)
        };
        let users = libc::CLONE_NEWUSER;
        assert_eq!(verdict(nests, libc::SYS_unshare, users), RET_ALLOW);
        assert_eq!(verdict(LENDS, libc::SYS_unshare, users), RET_NOTIFY);
        let refused = [
            (libc::SYS_unshare, users | libc::CLONE_NEWNET),
            (libc::SYS_unshare, users | libc::CLONE_FILES),
            (libc::SYS_clone, users | libc::SIGCHLD),
        ];
        for (nr, flags) in refused {
            assert_eq!(verdict(nests, nr, flags), RET_NOTIFY, "{nr} {flags:#x}");
        }
    }

    #[test]
    fn a_thread_keeps_the_table_of_its_process() {
        let verdict = |nr: i64, args| {
            let call = Request {
                nr: nr as i32,
                arch: ARCH_X86_64,
                args,
                ..Request::default()
            };
            interpret(assemble(LENDS), &call)
        };
        let clone = |flags: i32| verdict(libc::SYS_clone, [flags as u64, 0, 0, 0, 0, 0]);
        let thread = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
        assert_eq!(clone(thread), RET_NOTIFY);
        assert_eq!(clone(thread | libc::CLONE_FILES), RET_ALLOW);
        assert_eq!(clone(libc::SIGCHLD), RET_ALLOW);
        let unshare = |flags: i32| verdict(libc::SYS_unshare, [flags as u64, 0, 0, 0, 0, 0]);
        assert_eq!(unshare(libc::CLONE_FILES), RET_NOTIFY);
        assert_eq!(unshare(libc::CLONE_FS), RET_ALLOW);
        let close = |flags| verdict(libc::SYS_close_range, [3, 9, flags, 0, 0, 0]);
        assert_eq!(close(2), RET_NOTIFY);
        assert_eq!(close(4), RET_ALLOW);
    }

    #[test]
    fn foreign_call_tables_have_no_calls() {
        let program = assemble(LENDS);
        let i386 = Request {
            nr: 1,
            arch: 0x4000_0003,
            ..Request::default()
        };
        assert_eq!(interpret(program, &i386), RET_ERRNO | libc::ENOSYS as u32);
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut numbers: Vec<i64> = GROUPS
            .iter()
            .flat_map(|g| g.calls)
            .map(|(_, nr)| *nr)
            .collect();
        numbers.sort_unstable();
        let count = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
    }
}
