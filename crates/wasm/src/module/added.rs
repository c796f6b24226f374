//! Functions that every prepared module gets: charges for dynamic sizes, and `memory.grow`.

use wasm_encoder::{BlockType, Function, InstructionSink, ValType};

use super::abi::Stop;
use super::indices::{HEAP, Indices};

/// What one operation is charged at most: 2^48. Its operand may be anything up to 2^64,
/// and the counter must not wrap. No operation of that size can succeed.
const CHARGED_AT_MOST: i64 = 1 << 48;

/// `(n: i32) -> i32`: charges `n` and gives it back.
pub(super) fn charge32(indices: &Indices) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    code.local_get(0).i64_extend_i32_u();
    code.call(indices.charge64).i32_wrap_i64().end();
    function
}

/// `(n: i64) -> i64`: charges `n` and gives it back.
pub(super) fn charge64(indices: &Indices) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    charge(&mut code, indices, 0);
    code.local_get(0).end();
    function
}

/// `memory.grow`, asking the host first.
pub(super) fn grow(indices: &Indices, maximum: u64) -> Function {
    // Locals behind the delta, as wide as it: `before`.
    let wide = match indices.is64 {
        true => ValType::I64,
        false => ValType::I32,
    };
    let mut function = Function::new([(1, wide)]);
    let mut code = function.instructions();
    let extend = |code: &mut InstructionSink<'_>| {
        if !indices.is64 {
            code.i64_extend_i32_u();
        }
    };
    let number = |code: &mut InstructionSink<'_>, value: i64| {
        code.i64_const(value);
        if !indices.is64 {
            code.i32_wrap_i64();
        }
    };
    code.memory_size(HEAP).local_set(1);
    // Nothing to grow by: the size is the answer.
    code.local_get(0);
    extend(&mut code);
    code.i64_eqz().if_(BlockType::Empty);
    code.local_get(1).return_().end();
    // Above the maximum, or refused.
    code.local_get(0);
    extend(&mut code);
    code.i64_const(maximum.cast_signed()).local_get(1);
    extend(&mut code);
    code.i64_sub().i64_gt_u().if_(BlockType::Empty);
    number(&mut code, -1);
    code.return_().end();
    code.local_get(0);
    extend(&mut code);
    code.local_get(1);
    extend(&mut code);
    code.call(indices.grow_heap).i32_const(1).i32_ne();
    code.if_(BlockType::Empty);
    number(&mut code, -1);
    code.return_().end();
    code.local_get(0).memory_grow(HEAP);
    number(&mut code, -1);
    match indices.is64 {
        true => code.i64_eq(),
        false => code.i32_eq(),
    };
    code.if_(BlockType::Empty);
    stop(&mut code, indices, Stop::GrowFailed);
    code.end().local_get(1).end();
    function
}

/// Ends the call.
pub(super) fn stop(code: &mut InstructionSink<'_>, indices: &Indices, why: Stop) {
    code.i32_const(why.code());
    code.call(indices.internal_trap).unreachable();
}

/// Charges for a size, an i64 in a local, and looks.
pub(super) fn charge(code: &mut InstructionSink<'_>, indices: &Indices, size: u32) {
    let counter = indices.instructions;
    code.global_get(counter);
    code.local_get(size).i64_const(CHARGED_AT_MOST);
    code.local_get(size).i64_const(CHARGED_AT_MOST).i64_lt_u();
    code.select().i64_sub().global_set(counter);
    look(code, indices);
}

/// `counter -= cost`
pub(super) fn lessen(code: &mut InstructionSink<'_>, indices: &Indices, cost: u64) {
    let counter = indices.instructions;
    code.global_get(counter).i64_const(cost.cast_signed());
    code.i64_sub().global_set(counter);
}

/// `if counter < 0 { out_of_instructions() }`
pub(super) fn look(code: &mut InstructionSink<'_>, indices: &Indices) {
    code.global_get(indices.instructions)
        .i64_const(0)
        .i64_lt_s();
    code.if_(BlockType::Empty);
    code.call(indices.out_of_instructions).end();
}
