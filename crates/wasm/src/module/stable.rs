//! Stable memory inside the module: what takes the place of the `stable*` imports.
//!
//! A call charges, looks whether its ranges lie within both memories, marks the OS pages
//! it touches in the bytemap, and copies. The host is asked only to grow. Sizes of zero
//! touch nothing and are fine at any offset. The 32-bit forms refuse a stable memory that
//! they can't address, and then do what the 64-bit ones do.

use wasm_encoder::{BlockType, Function, InstructionSink, MemArg, ValType};

use super::abi::{READ, Stop, WRITTEN};
use super::added::{charge, lessen, look, stop};
use super::indices::{HEAP, Indices, STABLE, STABLE_FUNCTIONS, TOUCHED};
use super::meter::cost::{STABLE_PAGE_WRITE, STABLE_PAGE_WRITE_64};

/// Pages that the 32-bit forms can address.
const PAGES_32: i64 = 65_536;

/// The functions for [`STABLE_FUNCTIONS`], in that order.
pub(super) fn functions(indices: &Indices, maximum: u64) -> [Function; STABLE_FUNCTIONS.len()] {
    [
        size(indices),
        grow(indices, maximum),
        copy(indices, Access::Read),
        copy(indices, Access::Write),
        size32(indices),
        grow32(indices),
        copy32(indices, Access::Read),
        copy32(indices, Access::Write),
    ]
}

/// What a call costs before its size, as the table of the System API says.
fn overhead(name: &str) -> u64 {
    crate::system::find(name).map_or(0, |function| function.overhead)
}

/// The function that is added for a name of [`STABLE_FUNCTIONS`].
fn index(indices: &Indices, name: &str) -> u32 {
    let mut names = STABLE_FUNCTIONS.iter();
    let at = names.position(|known| *known == name);
    let at = at.and_then(|at| u32::try_from(at).ok());
    indices.stable.unwrap_or_default() + at.unwrap_or_default()
}

/// `() -> i64`
fn size(indices: &Indices) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    lessen(&mut code, indices, overhead("stable64_size"));
    code.memory_size(STABLE).end();
    function
}

/// `(delta: i64) -> i64`
fn grow(indices: &Indices, maximum: u64) -> Function {
    let (delta, before, missing) = (0, 1, 2);
    let mut function = Function::new([(2, ValType::I64)]);
    let mut code = function.instructions();
    lessen(&mut code, indices, overhead("stable64_grow"));
    code.memory_size(STABLE).local_set(before);
    code.local_get(delta).i64_eqz().if_(BlockType::Empty);
    code.local_get(before).return_().end();
    // Above the maximum, or refused.
    code.local_get(delta);
    code.i64_const(maximum.cast_signed()).local_get(before);
    code.i64_sub().i64_gt_u().if_(BlockType::Empty);
    code.i64_const(-1).return_().end();
    code.local_get(delta).local_get(before);
    code.call(indices.grow_stable).i32_const(1).i32_ne();
    code.if_(BlockType::Empty);
    code.i64_const(-1).return_().end();
    // The bytemap first: stable memory without it must not be seen.
    code.local_get(before).local_get(delta).i64_add();
    code.i64_const(4095).i64_add().i64_const(12).i64_shr_u();
    code.memory_size(TOUCHED).i64_extend_i32_u().i64_sub();
    code.local_tee(missing).i64_const(0).i64_gt_s();
    code.if_(BlockType::Empty);
    code.local_get(missing).i32_wrap_i64().memory_grow(TOUCHED);
    code.i32_const(-1).i32_eq().if_(BlockType::Empty);
    stop(&mut code, indices, Stop::GrowFailed);
    code.end().end();
    code.local_get(delta).memory_grow(STABLE);
    code.i64_const(-1).i64_eq().if_(BlockType::Empty);
    stop(&mut code, indices, Stop::GrowFailed);
    code.end().local_get(before).end();
    function
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// `(dst, offset, size: i64) -> ()` to read, `(offset, src, size: i64) -> ()` to write.
fn copy(indices: &Indices, access: Access) -> Function {
    let (name, heap, stable) = match access {
        Access::Read => ("stable64_read", 0, 1),
        Access::Write => ("stable64_write", 1, 0),
    };
    let size = 2;
    let mut function = Function::new([(1, ValType::I64), (3, ValType::I32)]);
    let mut code = function.instructions();
    lessen(&mut code, indices, overhead(name));
    charge(&mut code, indices, size);
    code.local_get(size).i64_eqz().if_(BlockType::Empty);
    code.return_().end();
    inside(&mut code, indices, STABLE, stable, Stop::StableOutOfBounds);
    inside(&mut code, indices, HEAP, heap, Stop::HeapOutOfBounds);
    mark(&mut code, indices, access, stable);
    // What the pages cost may have been more than was left.
    if access == Access::Write {
        look(&mut code, indices);
    }
    // Most are of one word, for which a general copy takes longer than all the rest.
    code.local_get(size).i64_const(8).i64_eq();
    code.if_(BlockType::Empty);
    match access {
        Access::Read => {
            heap_operand(&mut code, indices, heap);
            code.local_get(stable).i64_load(word(STABLE));
            code.i64_store(word(HEAP));
        }
        Access::Write => {
            code.local_get(stable);
            heap_operand(&mut code, indices, heap).i64_load(word(HEAP));
            code.i64_store(word(STABLE));
        }
    }
    code.return_().end();
    match access {
        Access::Read => heap_operand(&mut code, indices, heap).local_get(stable),
        Access::Write => {
            code.local_get(stable);
            heap_operand(&mut code, indices, heap)
        }
    };
    // The size is as narrow as the narrower memory's.
    heap_operand(&mut code, indices, size);
    match access {
        Access::Read => code.memory_copy(HEAP, STABLE),
        Access::Write => code.memory_copy(STABLE, HEAP),
    };
    code.end();
    function
}

/// A word at any place in a memory.
fn word(memory_index: u32) -> MemArg {
    MemArg {
        offset: 0,
        align: 0,
        memory_index,
    }
}

fn heap_operand<'c, 's>(
    code: &'c mut InstructionSink<'s>,
    indices: &Indices,
    local: u32,
) -> &'c mut InstructionSink<'s> {
    code.local_get(local);
    match indices.is64 {
        true => code,
        false => code.i32_wrap_i64(),
    }
}

/// Stops unless `start + size` (local 2) lies within the memory; local 3 is scratch.
fn inside(
    code: &mut InstructionSink<'_>,
    indices: &Indices,
    memory: u32,
    start: u32,
    otherwise: Stop,
) {
    let (size, bytes) = (2, 3);
    code.memory_size(memory);
    if memory == HEAP && !indices.is64 {
        code.i64_extend_i32_u();
    }
    code.i64_const(16).i64_shl().local_set(bytes);
    code.local_get(size).local_get(bytes).i64_gt_u();
    code.local_get(start).local_get(bytes).local_get(size);
    code.i64_sub().i64_gt_u();
    code.i32_or().if_(BlockType::Empty);
    stop(code, indices, otherwise);
    code.end();
}

/// Marks the OS pages of `start..start + size` (local 2), and lessens the budget by those
/// that are marked for the first time. Locals 4, 5 and 6 are scratch.
fn mark(code: &mut InstructionSink<'_>, indices: &Indices, access: Access, start: u32) {
    let (size, page, last, byte) = (2, 4, 5, 6);
    let (bit, left, exceeded) = match access {
        Access::Read => (READ, indices.reads_left, Stop::StableReadsExceeded),
        Access::Write => (WRITTEN, indices.writes_left, Stop::StableWritesExceeded),
    };
    let bytemap = MemArg {
        offset: 0,
        align: 0,
        memory_index: TOUCHED,
    };
    code.local_get(start).i64_const(12).i64_shr_u();
    code.i32_wrap_i64().local_set(page);
    code.local_get(start).local_get(size).i64_add();
    code.i64_const(1).i64_sub().i64_const(12).i64_shr_u();
    code.i32_wrap_i64().local_set(last);
    code.loop_(BlockType::Empty);
    code.local_get(page).i32_load8_u(bytemap).local_tee(byte);
    code.i32_const(bit.into()).i32_and().i32_eqz();
    code.if_(BlockType::Empty);
    code.global_get(left).i64_const(0).i64_le_s();
    code.if_(BlockType::Empty);
    stop(code, indices, exceeded);
    code.end();
    code.global_get(left)
        .i64_const(1)
        .i64_sub()
        .global_set(left);
    if access == Access::Write {
        lessen(code, indices, page_write(indices.is64));
    }
    code.local_get(page).local_get(byte).i32_const(bit.into());
    code.i32_or().i32_store8(bytemap).end();
    code.local_get(page).i32_const(1).i32_add().local_tee(page);
    code.local_get(last).i32_le_u().br_if(0).end();
}

fn page_write(is64: bool) -> u64 {
    match is64 {
        true => STABLE_PAGE_WRITE_64,
        false => STABLE_PAGE_WRITE,
    }
}

/// Stops if stable memory is larger than 32 bits can say.
fn addressable(code: &mut InstructionSink<'_>, indices: &Indices) {
    code.memory_size(STABLE).i64_const(PAGES_32).i64_gt_u();
    code.if_(BlockType::Empty);
    stop(code, indices, Stop::StableTooBigFor32Bit);
    code.end();
}

/// `() -> i32`
fn size32(indices: &Indices) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    addressable(&mut code, indices);
    code.call(index(indices, "stable64_size"));
    code.i32_wrap_i64().end();
    function
}

/// `(delta: i32) -> i32`
fn grow32(indices: &Indices) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    addressable(&mut code, indices);
    // Beyond what 32 bits can say there is no growing to.
    code.local_get(0).i64_extend_i32_u().memory_size(STABLE);
    code.i64_add().i64_const(PAGES_32).i64_gt_u();
    code.if_(BlockType::Empty);
    lessen(&mut code, indices, overhead("stable_grow"));
    code.i32_const(-1).return_().end();
    code.local_get(0).i64_extend_i32_u();
    code.call(index(indices, "stable64_grow"));
    code.i32_wrap_i64().end();
    function
}

/// The forms of [`copy`] for 32 bits.
fn copy32(indices: &Indices, access: Access) -> Function {
    let wide = match access {
        Access::Read => "stable64_read",
        Access::Write => "stable64_write",
    };
    let mut function = Function::new([]);
    let mut code = function.instructions();
    addressable(&mut code, indices);
    for param in 0..3 {
        code.local_get(param).i64_extend_i32_u();
    }
    code.call(index(indices, wide)).end();
    function
}
