//! Instructions that compute, and what they do.

use super::Ty::{self, F32, F64, I32, I64};

/// An instruction that computes: its name, its price's name, and what it does to bits.
pub(crate) struct Op {
    pub(crate) name: &'static str,
    pub(crate) price: &'static str,
    pub(super) args: &'static [Ty],
    pub(super) result: Ty,
    pub(crate) apply: fn(u64, u64) -> u64,
}

pub(super) fn f32_of(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

pub(super) fn f64_of(bits: u64) -> f64 {
    f64::from_bits(bits)
}

fn lesser(a: f64, b: f64) -> f64 {
    match (a.is_nan() || b.is_nan(), a == b) {
        (true, _) => f64::NAN,
        // Zeroes are equal, and the negative one is less.
        (_, true) => f64::from_bits(a.to_bits() | b.to_bits()),
        _ => a.min(b),
    }
}

macro_rules! op {
    ($name:literal, $price:literal, [$($arg:ident),*] -> $result:ident, $apply:expr) => {
        Op { name: $name, price: $price, args: &[$($arg),*], result: $result, apply: $apply }
    };
}

#[rustfmt::skip]
pub(super) static OPS: &[Op] = &[
    op!("i32.add", "simple", [I32, I32] -> I32, |a, b| (a as u32).wrapping_add(b as u32).into()),
    op!("i32.sub", "simple", [I32, I32] -> I32, |a, b| (a as u32).wrapping_sub(b as u32).into()),
    op!("i32.mul", "simple", [I32, I32] -> I32, |a, b| (a as u32).wrapping_mul(b as u32).into()),
    op!("i32.xor", "simple", [I32, I32] -> I32, |a, b| a ^ b),
    op!("i32.shl", "simple", [I32, I32] -> I32, |a, b| (a as u32).wrapping_shl(b as u32).into()),
    op!("i32.shr_s", "simple", [I32, I32] -> I32, |a, b| ((a as i32).wrapping_shr(b as u32) as u32).into()),
    op!("i32.rotl", "simple", [I32, I32] -> I32, |a, b| (a as u32).rotate_left(b as u32 % 32).into()),
    op!("i32.eqz", "simple", [I32] -> I32, |a, _| (a == 0).into()),
    op!("i32.clz", "simple", [I32] -> I32, |a, _| (a as u32).leading_zeros().into()),
    op!("i32.popcnt", "simple", [I32] -> I32, |a, _| a.count_ones().into()),
    op!("i32.extend8_s", "simple", [I32] -> I32, |a, _| (i32::from(a as i8) as u32).into()),
    op!("i32.lt_s", "simple", [I32, I32] -> I32, |a, b| ((a as i32) < b as i32).into()),
    op!("i32.ge_u", "simple", [I32, I32] -> I32, |a, b| (a >= b).into()),
    op!("i32.wrap_i64", "simple", [I64] -> I32, |a, _| u64::from(a as u32)),
    op!("i64.eqz", "simple", [I64] -> I32, |a, _| (a == 0).into()),
    op!("i64.lt_s", "simple", [I64, I64] -> I32, |a, b| ((a as i64) < b as i64).into()),
    op!("i64.add", "simple", [I64, I64] -> I64, u64::wrapping_add),
    op!("i64.sub", "simple", [I64, I64] -> I64, u64::wrapping_sub),
    op!("i64.mul", "simple", [I64, I64] -> I64, u64::wrapping_mul),
    op!("i64.and", "simple", [I64, I64] -> I64, |a, b| a & b),
    op!("i64.shr_u", "simple", [I64, I64] -> I64, |a, b| a.wrapping_shr(b as u32)),
    op!("i64.extend_i32_s", "simple", [I32] -> I64, |a, _| i64::from(a as i32) as u64),
    op!("i64.extend_i32_u", "simple", [I32] -> I64, |a, _| a),
    op!("f32.add", "float", [F32, F32] -> F32, |a, b| (f32_of(a) + f32_of(b)).to_bits().into()),
    op!("f32.mul", "float", [F32, F32] -> F32, |a, b| (f32_of(a) * f32_of(b)).to_bits().into()),
    op!("f32.div", "f32 division", [F32, F32] -> F32, |a, b| (f32_of(a) / f32_of(b)).to_bits().into()),
    op!("f32.sqrt", "f32 square root", [F32] -> F32, |a, _| f32_of(a).sqrt().to_bits().into()),
    op!("f32.nearest", "float", [F32] -> F32, |a, _| f32_of(a).round_ties_even().to_bits().into()),
    op!("f32.lt", "float", [F32, F32] -> I32, |a, b| (f32_of(a) < f32_of(b)).into()),
    op!("f32.demote_f64", "conversion", [F64] -> F32, |a, _| (f64_of(a) as f32).to_bits().into()),
    op!("f32.convert_i32_s", "conversion", [I32] -> F32, |a, _| (a as i32 as f32).to_bits().into()),
    op!("f32.convert_i64_u", "unsigned conversion", [I64] -> F32, |a, _| (a as f32).to_bits().into()),
    op!("f64.sub", "float", [F64, F64] -> F64, |a, b| (f64_of(a) - f64_of(b)).to_bits()),
    op!("f64.div", "f64 division", [F64, F64] -> F64, |a, b| (f64_of(a) / f64_of(b)).to_bits()),
    op!("f64.min", "float min and max", [F64, F64] -> F64, |a, b| lesser(f64_of(a), f64_of(b)).to_bits()),
    op!("f64.sqrt", "f64 square root", [F64] -> F64, |a, _| f64_of(a).sqrt().to_bits()),
    op!("f64.floor", "float", [F64] -> F64, |a, _| f64_of(a).floor().to_bits()),
    op!("f64.abs", "float", [F64] -> F64, |a, _| f64_of(a).abs().to_bits()),
    op!("f64.ge", "float", [F64, F64] -> I32, |a, b| (f64_of(a) >= f64_of(b)).into()),
    op!("f64.promote_f32", "conversion", [F32] -> F64, |a, _| f64::from(f32_of(a)).to_bits()),
    op!("f64.convert_i32_u", "unsigned conversion", [I32] -> F64, |a, _| f64::from(a as u32).to_bits()),
    op!("f64.convert_i64_s", "conversion", [I64] -> F64, |a, _| (a as i64 as f64).to_bits()),
    op!("i32.trunc_sat_f32_u", "truncation", [F32] -> I32, |a, _| (f32_of(a) as u32).into()),
    op!("i64.trunc_sat_f64_s", "truncation", [F64] -> I64, |a, _| (f64_of(a) as i64) as u64),
];

#[rustfmt::skip]
pub(super) static DIVISIONS: &[Op] = &[
    op!("i32.div_s", "integer division", [I32, I32] -> I32, |a, b| ((a as i32 / b as i32) as u32).into()),
    op!("i32.rem_u", "integer division", [I32, I32] -> I32, |a, b| a % b),
    op!("i64.div_u", "integer division", [I64, I64] -> I64, |a, b| a / b),
    op!("i64.rem_s", "integer division", [I64, I64] -> I64, |a, b| (a as i64 % b as i64) as u64),
];

/// What a divisor is cut to before its lowest bit is set.
pub(crate) fn positive(ty: Ty) -> u64 {
    match ty {
        I32 => i32::MAX as u64,
        _ => i64::MAX as u64,
    }
}

impl Op {
    pub(crate) fn positive_divisor(&self, divisor: u64) -> u64 {
        divisor & positive(self.result) | 1
    }
}
