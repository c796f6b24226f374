//! The profile as a classic BPF program (bpf(4), seccomp(2)).
//!
//! The kernel remembers which call numbers are always allowed and skips the program for them;
//! the others run it, so it is a binary search over the numbers and not a list: eight
//! comparisons for any call.

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

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
/// The lower half of the first argument, on a little-endian machine.
const OFFSET_ARGS: u32 = 16;
const ARCH_X86_64: u32 = 0xc000_003e;
/// The bit of x32 calls; beyond it, no number means anything.
const X32: u32 = 0x4000_0000;

const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_NOTIFY: u32 = 0x7fc0_0000;

/// The first call of a run of numbers with one verdict.
struct Range {
    first: u32,
    verdict: Verdict,
}

/// The program for a profile.
pub fn assemble(profile: Profile) -> Vec<Instruction> {
    let no_such_call = profile.ret(Action::Fail(Errno::NOSYS));
    let mut program = vec![
        op(LOAD, OFFSET_ARCH),
        Instruction {
            code: JUMP_EQUAL,
            jt: 1,
            jf: 0,
            k: ARCH_X86_64,
        },
        no_such_call,
        op(LOAD, OFFSET_NR),
        Instruction {
            code: JUMP_AT_LEAST,
            jt: 0,
            jf: 1,
            k: X32,
        },
        no_such_call,
    ];
    search(&mut program, &ranges(), profile);
    program
}

/// All numbers in order, neighbours with the same plain action merged.
fn ranges() -> Vec<Range> {
    let mut calls: Vec<(u32, Verdict)> = GROUPS
        .iter()
        .flat_map(|group| {
            group
                .calls
                .iter()
                .map(|(_, nr)| (*nr as u32, group.verdict))
        })
        .collect();
    calls.sort_by_key(|(nr, _)| *nr);
    let unlisted = Verdict::Always(Action::Fail(Errno::NOSYS));
    let mut ranges: Vec<Range> = Vec::with_capacity(calls.len());
    let mut push = |first: u32, verdict: Verdict| {
        let merges = match (ranges.last().map(|range| range.verdict), verdict) {
            (Some(Verdict::Always(a)), Verdict::Always(b)) => a == b,
            _ => false,
        };
        if !merges {
            ranges.push(Range { first, verdict });
        }
    };
    let mut next = 0;
    for (nr, verdict) in calls {
        if nr > next {
            push(next, unlisted);
        }
        push(nr, verdict);
        next = nr + 1;
    }
    push(next, unlisted);
    ranges
}

fn search(program: &mut Vec<Instruction>, ranges: &[Range], profile: Profile) {
    if let [range] = ranges {
        return leaf(program, range.verdict, profile);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let jump = program.len();
    program.push(Instruction {
        code: JUMP_AT_LEAST,
        jt: 0,
        jf: 0,
        k: high[0].first,
    });
    search(program, low, profile);
    let distance = program.len() - jump - 1;
    match u8::try_from(distance) {
        Ok(near) => program[jump].jt = near,
        // A conditional jump reaches 255 instructions; a plain one any number.
        Err(_) => {
            program[jump].jf = 1;
            program.insert(jump + 1, op(JUMP, distance as u32));
        }
    }
    search(program, high, profile);
}

fn leaf(program: &mut Vec<Instruction>, verdict: Verdict, profile: Profile) {
    match verdict {
        Verdict::Always(action) => program.push(profile.ret(action)),
        Verdict::Check { cases, otherwise } => {
            for case in cases {
                check_case(program, case, profile);
            }
            program.push(profile.ret(otherwise));
        }
    }
}

/// Tests that all must hold, each falling through to the next case if it doesn't.
fn check_case(program: &mut Vec<Instruction>, case: &Case, profile: Profile) {
    let mut exits = Vec::new();
    for test in case.when {
        let (arg, mask, jump) = match *test {
            Test::Is { arg, mask, value } => (arg, mask, op(JUMP_EQUAL, value)),
            Test::Any { arg, mask } => (arg, u32::MAX, op(JUMP_ANY_BIT, mask)),
        };
        program.push(op(LOAD, OFFSET_ARGS + 8 * arg as u32));
        if mask != u32::MAX {
            program.push(op(AND, mask));
        }
        exits.push(program.len());
        program.push(jump);
    }
    program.push(profile.ret(case.then));
    for exit in exits {
        program[exit].jf = (program.len() - exit - 1) as u8;
    }
}

fn op(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

impl Profile {
    fn ret(self, action: Action) -> Instruction {
        let fail = |errno: Errno| RET_ERRNO | errno.raw_os_error() as u32;
        let value = match action {
            Action::Allow => RET_ALLOW,
            Action::Fail(errno) => fail(errno),
            Action::Refuse(_) | Action::Ask(_) if self.listener => RET_NOTIFY,
            Action::Refuse(errno) | Action::Ask(errno) => fail(errno),
            Action::Shield(errno) if self.lends => return self.ret(Action::Refuse(errno)),
            Action::Shield(_) => RET_ALLOW,
        };
        op(RETURN, value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::super::profile::evaluate;
    use super::*;

    const LENDING: Profile = Profile {
        listener: true,
        lends: true,
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
        for (listener, lends) in [(true, true), (true, false), (false, false)] {
            let profile = Profile { listener, lends };
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
                                interpret(&program, &call),
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
            interpret(&assemble(profile), &call)
        };
        let alone = Profile {
            lends: false,
            ..LENDING
        };
        // SIOCGIFCONF, SIOCGIFNAME, SIOCETHTOOL, SIOCGARP, the private ones.
        for request in [0x8912, 0x8910, 0x8946, 0x8954, 0x89f0] {
            assert_eq!(ioctl(LENDING, request), RET_NOTIFY, "{request:#x}");
            assert_eq!(ioctl(alone, request), RET_ALLOW, "{request:#x}");
        }
        // SIOCSPGRP, SIOCATMARK, SIOCOUTQNSD, FIONREAD, FIONBIO.
        for request in [0x8902, 0x8905, 0x894b, 0x541b, 0x5421] {
            assert_eq!(ioctl(LENDING, request), RET_ALLOW, "{request:#x}");
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
            interpret(&assemble(LENDING), &call)
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
        let program = assemble(LENDING);
        let i386 = Request {
            nr: 1,
            arch: 0x4000_0003,
            ..Request::default()
        };
        assert_eq!(interpret(&program, &i386), RET_ERRNO | libc::ENOSYS as u32);
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

    #[test]
    fn the_program_fits() {
        assert!(assemble(LENDING).len() < 1024);
    }
}
