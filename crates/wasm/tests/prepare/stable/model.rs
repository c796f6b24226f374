//! Stable memory, by what its specification says and by nothing else.

use casemate_wasm::module::abi::{OS_PAGE, READ, Stop, WASM_PAGE, WRITTEN};
use casemate_wasm::module::{STABLE_PAGE_WRITE, STABLE_PAGE_WRITE_64};
use casemate_wasm::system;

/// Heap pages of the guests here, and what their stable memory may reach.
pub(super) const HEAP_PAGES: u64 = 3;
pub(super) const STABLE_PAGES: u64 = 6;

/// One call of the API, in the guest's own width: 0 to 2 are its arguments.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) form: Form,
    pub(super) name: Name,
    pub(super) args: [u64; 3],
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Form {
    Legacy,
    Wide,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Name {
    Size,
    Grow,
    Read,
    Write,
}

/// What stable memory is, by what its specification says and by nothing else.
pub(super) struct Model {
    is64: bool,
    pub(super) heap: Vec<u8>,
    pub(super) stable: Vec<u8>,
    pub(super) touched: Vec<u8>,
    pub(super) reads_left: i64,
    pub(super) writes_left: i64,
    pub(super) spent: i64,
}

impl Model {
    pub(super) fn new(is64: bool, reads_left: i64, writes_left: i64) -> Self {
        let bytes = (HEAP_PAGES * WASM_PAGE) as usize;
        let heap = (0..bytes).map(|at| (at % 251) as u8).collect();
        Self {
            is64,
            heap,
            stable: Vec::new(),
            touched: Vec::new(),
            reads_left,
            writes_left,
            spent: 0,
        }
    }

    fn pages(&self) -> u64 {
        self.stable.len() as u64 / WASM_PAGE
    }

    fn spend(&mut self, name: &str, bytes: u64) {
        let overhead = system::find(name).unwrap().overhead;
        self.spent += (overhead + bytes.min(1 << 48)) as i64;
    }

    pub(super) fn call(&mut self, call: &Call) -> Result<Option<i64>, Stop> {
        if call.form == Form::Legacy && self.pages() > 65_536 {
            return Err(Stop::StableTooBigFor32Bit);
        }
        let [a, b, c] = call.args;
        match call.name {
            Name::Size => {
                self.spend("stable64_size", 0);
                Ok(Some(self.pages() as i64))
            }
            Name::Grow => {
                self.spend("stable64_grow", 0);
                let before = self.pages();
                let after = before.checked_add(a).filter(|after| *after <= STABLE_PAGES);
                let Some(after) = after else {
                    return Ok(Some(-1));
                };
                self.stable.resize((after * WASM_PAGE) as usize, 0);
                self.touched.resize((after * 16) as usize, 0);
                Ok(Some(before as i64))
            }
            Name::Read => {
                self.spend("stable64_read", c);
                self.copy(b, a, c, READ).map(|()| None)
            }
            Name::Write => {
                self.spend("stable64_write", c);
                self.copy(a, b, c, WRITTEN).map(|()| None)
            }
        }
    }

    fn copy(&mut self, stable: u64, heap: u64, size: u64, bit: u8) -> Result<(), Stop> {
        if size == 0 {
            return Ok(());
        }
        let inside = |start: u64, memory: &[u8]| {
            let end = start.checked_add(size)?;
            (end <= memory.len() as u64).then_some(start as usize..end as usize)
        };
        let stable = inside(stable, &self.stable).ok_or(Stop::StableOutOfBounds)?;
        let heap = inside(heap, &self.heap).ok_or(Stop::HeapOutOfBounds)?;
        let page = OS_PAGE as usize;
        for touched in &mut self.touched[stable.start / page..=(stable.end - 1) / page] {
            if *touched & bit != 0 {
                continue;
            }
            let (left, exceeded) = match bit {
                READ => (&mut self.reads_left, Stop::StableReadsExceeded),
                _ => (&mut self.writes_left, Stop::StableWritesExceeded),
            };
            if *left == 0 {
                return Err(exceeded);
            }
            *left -= 1;
            *touched |= bit;
            if bit == WRITTEN {
                let price = [STABLE_PAGE_WRITE, STABLE_PAGE_WRITE_64][usize::from(self.is64)];
                self.spent += price as i64;
            }
        }
        match bit {
            READ => self.heap[heap].copy_from_slice(&self.stable[stable]),
            _ => self.stable[stable].copy_from_slice(&self.heap[heap]),
        }
        Ok(())
    }
}
