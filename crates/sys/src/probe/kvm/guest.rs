//! The guest: a loop in 64-bit kernel mode, run through the raw interface of KVM on x86-64.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::super::child::{Slots, checked};
use super::super::region::Region;
use super::{API, CREATE, OPEN, RATE, RUN, STEPS};

/// Turns of the guest's loop, two instructions each: some 10 ms where they are emulated.
const TURNS: u64 = 20_000;
/// The best of so many runs counts: one may be interrupted.
const RUNS: usize = 3;
/// `dec ecx`, `jnz` back to it, `hlt`.
const CODE: [u8; 5] = [0xFF, 0xC9, 0x75, 0xFC, 0xF4];

/// Guest addresses, one page each: three levels of page tables, then the code.
const TABLES: [usize; 3] = [0x1000, 0x2000, 0x3000];
const CODE_AT: usize = 0x4000;
const PAGES: usize = 5;

const GET_API_VERSION: libc::Ioctl = 0xAE00;
const CREATE_VM: libc::Ioctl = 0xAE01;
const GET_VCPU_MMAP_SIZE: libc::Ioctl = 0xAE04;
const CREATE_VCPU: libc::Ioctl = 0xAE41;
const KVM_RUN: libc::Ioctl = 0xAE80;
const SET_USER_MEMORY_REGION: libc::Ioctl = 0x4020_AE46;
const SET_REGS: libc::Ioctl = 0x4090_AE82;
const GET_SREGS: libc::Ioctl = 0x8138_AE83;
const SET_SREGS: libc::Ioctl = 0x4138_AE84;
/// `KVM_EXIT_HLT`.
const HALTED: u32 = 5;

/// Makes the machine, runs the guest, and notes how fast it was.
pub(super) fn run(slots: &Slots<STEPS>) {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let Some(kvm) = slots.note(OPEN, open("/dev/kvm", flags, Mode::empty())) else {
        return;
    };
    if slots.note(API, version_is_12(&kvm)).is_none() {
        return;
    }
    let Some(machine) = slots.note(CREATE, Machine::new(&kvm)) else {
        return;
    };
    let rates: Result<Vec<i32>, Errno> = (0..RUNS).map(|_| machine.count_down()).collect();
    if let Some(best) = slots
        .note(RUN, rates)
        .and_then(|rates| rates.into_iter().max())
    {
        slots.value(RATE, best);
    }
}

fn version_is_12(kvm: &OwnedFd) -> Result<(), Errno> {
    let version = by_value(kvm, GET_API_VERSION, 0)?;
    (version == 12).then_some(()).ok_or(Errno::OPNOTSUPP)
}

/// `struct kvm_segment`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Segment {
    base: u64,
    limit: u32,
    selector: u16,
    kind: u8,
    present: u8,
    privilege: u8,
    default_32: u8,
    is_code_or_data: u8,
    long: u8,
    granular: u8,
    available: u8,
    unusable: u8,
    padding: u8,
}

/// `struct kvm_sregs`.
#[repr(C)]
#[derive(Default)]
struct Special {
    /// cs, ds, es, fs, gs, ss.
    segments: [Segment; 6],
    /// tr, ldt.
    system: [Segment; 2],
    /// gdt, idt: base, limit and padding.
    tables: [[u64; 2]; 2],
    cr0: u64,
    cr2: u64,
    cr3: u64,
    cr4: u64,
    cr8: u64,
    efer: u64,
    apic_base: u64,
    interrupts: [u64; 4],
}

/// `struct kvm_regs`: rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8 to r15, rip, rflags.
type General = [u64; 18];

/// A virtual machine with one processor; `state` is the kernel's window into it.
struct Machine {
    processor: OwnedFd,
    state: State,
    // Dropped last: the guest's memory is in use until the descriptors are closed.
    _machine: OwnedFd,
    _memory: Region,
}

impl Machine {
    fn new(kvm: &OwnedFd) -> Result<Self, Errno> {
        let machine = new_descriptor(kvm, CREATE_VM)?;
        let memory = guest_memory()?;
        // struct kvm_userspace_memory_region: slot and flags, guest address, size, our address.
        let size = (PAGES * rustix::param::page_size()) as u64;
        let mut region = [0, 0, size, memory.page(0)];
        by_reference(&machine, SET_USER_MEMORY_REGION, &mut region)?;
        let processor = new_descriptor(&machine, CREATE_VCPU)?;
        let state = State::of(kvm, &processor)?;
        let mut special = Special::default();
        by_reference(&processor, GET_SREGS, &mut special)?;
        enter_long_mode(&mut special);
        by_reference(&processor, SET_SREGS, &mut special)?;
        Ok(Machine {
            processor,
            state,
            _machine: machine,
            _memory: memory,
        })
    }

    /// Runs the loop once; instructions a millisecond.
    fn count_down(&self) -> Result<i32, Errno> {
        let mut general: General = [0; 18];
        general[2] = TURNS;
        general[16] = CODE_AT as u64;
        // The bit of rflags that is always 1.
        general[17] = 2;
        by_reference(&self.processor, SET_REGS, &mut general)?;
        let begun = Instant::now();
        while let Err(errno) = by_value(&self.processor, KVM_RUN, 0) {
            if errno != Errno::INTR {
                return Err(errno);
            }
        }
        let microseconds = begun.elapsed().as_micros().max(1);
        if self.state.exit_reason() != HALTED {
            return Err(Errno::NOEXEC);
        }
        let rate = u128::from(TURNS) * 2 * 1000 / microseconds;
        Ok(i32::try_from(rate).unwrap_or(i32::MAX))
    }
}

/// The code, and tables that map the first 2 MiB onto themselves.
fn guest_memory() -> Result<Region, Errno> {
    const PRESENT_WRITABLE: u64 = 0b11;
    const LARGE: u64 = 1 << 7;
    let memory = Region::new(PAGES)?;
    let next = [TABLES[1] as u64, TABLES[2] as u64, LARGE];
    for (table, entry) in TABLES.into_iter().zip(next) {
        memory.write(table, &(entry | PRESENT_WRITABLE).to_le_bytes());
    }
    memory.write(CODE_AT, &CODE);
    Ok(memory)
}

/// Protection, paging and long mode on, flat 64-bit code and data at ring 0.
fn enter_long_mode(special: &mut Special) {
    let data = Segment {
        limit: u32::MAX,
        selector: 2 << 3,
        kind: 3,
        present: 1,
        default_32: 1,
        is_code_or_data: 1,
        granular: 1,
        ..Segment::default()
    };
    let code = Segment {
        selector: 1 << 3,
        kind: 11,
        default_32: 0,
        long: 1,
        ..data
    };
    special.segments = [code, data, data, data, data, data];
    special.cr3 = TABLES[0] as u64;
    // Physical address extension.
    special.cr4 = 1 << 5;
    // Paging, write protection, numeric errors, extension type, protection.
    special.cr0 = 1 << 31 | 1 << 16 | 1 << 5 | 1 << 4 | 1;
    // Long mode enabled and active.
    special.efer = 1 << 8 | 1 << 10;
}

/// The mapping of `struct kvm_run`.
struct State {
    at: std::ptr::NonNull<u32>,
    length: usize,
}

impl State {
    fn of(kvm: &OwnedFd, processor: &OwnedFd) -> Result<Self, Errno> {
        let length = by_value(kvm, GET_VCPU_MMAP_SIZE, 0)?;
        let length = usize::try_from(length).map_err(|_| Errno::INVAL)?;
        if length < 16 {
            return Err(Errno::INVAL);
        }
        // SAFETY: a new shared mapping, of the length that the kernel names, at an address that
        // it chooses, aliases nothing of ours.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                processor.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(super::super::child::errno());
        }
        let at = std::ptr::NonNull::new(at.cast()).ok_or(Errno::NOMEM)?;
        Ok(State { at, length })
    }

    /// The third word of `struct kvm_run`.
    fn exit_reason(&self) -> u32 {
        // SAFETY: the mapping is page-aligned and at least 16 bytes long (checked); volatile,
        // since the kernel writes it.
        unsafe { self.at.as_ptr().add(2).read_volatile() }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `of`; no reference points into it.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.length) };
    }
}

fn new_descriptor(on: &OwnedFd, request: libc::Ioctl) -> Result<OwnedFd, Errno> {
    let raw = by_value(on, request, 0)?;
    // SAFETY: both requests that come here make a descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn by_value(on: &OwnedFd, request: libc::Ioctl, value: libc::c_ulong) -> Result<i32, Errno> {
    // SAFETY: every request that comes here takes an integer. KVM_RUN writes to the guest's
    // memory and the mapped state, which outlive it and are read only after it.
    checked(unsafe { libc::ioctl(on.as_raw_fd(), request, value) }.into())
}

fn by_reference<T>(on: &OwnedFd, request: libc::Ioctl, argument: &mut T) -> Result<(), Errno> {
    // The size that the request's number carries is that of the structure.
    debug_assert_eq!((request >> 16 & 0x3FFF) as usize, size_of::<T>());
    // SAFETY: the kernel reads or writes exactly the size of `argument`, which is plain data.
    checked(unsafe { libc::ioctl(on.as_raw_fd(), request, std::ptr::from_mut(argument)) }.into())
        .map(drop)
}
