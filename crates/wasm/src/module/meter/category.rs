//! Which category each instruction belongs to.

use wasmparser::Operator;

use super::cost::Category;

/// The instruction's category, or its name if guests may not use it.
pub(super) fn of(operator: &Operator<'_>) -> Result<Category, &'static str> {
    use Category as C;
    use Operator as O;
    Ok(match operator {
        O::Block { .. } | O::Loop { .. } | O::Else | O::End | O::Nop => C::Structure,
        O::I32DivS | O::I32DivU | O::I32RemS | O::I32RemU => C::IntegerDivision,
        O::I64DivS | O::I64DivU | O::I64RemS | O::I64RemU => C::IntegerDivision,
        O::GlobalGet { .. } | O::GlobalSet { .. } => C::Global,
        O::I32Load { .. }
        | O::I64Load { .. }
        | O::F32Load { .. }
        | O::F64Load { .. }
        | O::I32Load8S { .. }
        | O::I32Load8U { .. }
        | O::I32Load16S { .. }
        | O::I32Load16U { .. }
        | O::I64Load8S { .. }
        | O::I64Load8U { .. }
        | O::I64Load16S { .. }
        | O::I64Load16U { .. }
        | O::I64Load32S { .. }
        | O::I64Load32U { .. }
        | O::I32Store { .. }
        | O::I64Store { .. }
        | O::F32Store { .. }
        | O::F64Store { .. }
        | O::I32Store8 { .. }
        | O::I32Store16 { .. }
        | O::I64Store8 { .. }
        | O::I64Store16 { .. }
        | O::I64Store32 { .. }
        | O::V128Load { .. }
        | O::V128Load8x8S { .. }
        | O::V128Load8x8U { .. }
        | O::V128Load16x4S { .. }
        | O::V128Load16x4U { .. }
        | O::V128Load32x2S { .. }
        | O::V128Load32x2U { .. }
        | O::V128Load8Splat { .. }
        | O::V128Load16Splat { .. }
        | O::V128Load32Splat { .. }
        | O::V128Load64Splat { .. }
        | O::V128Load32Zero { .. }
        | O::V128Load64Zero { .. }
        | O::V128Load8Lane { .. }
        | O::V128Load16Lane { .. }
        | O::V128Load32Lane { .. }
        | O::V128Load64Lane { .. }
        | O::V128Store { .. }
        | O::V128Store8Lane { .. }
        | O::V128Store16Lane { .. }
        | O::V128Store32Lane { .. }
        | O::V128Store64Lane { .. } => C::Memory,
        O::F32Eq | O::F32Ne | O::F32Lt | O::F32Gt | O::F32Le | O::F32Ge => C::Float,
        O::F64Eq | O::F64Ne | O::F64Lt | O::F64Gt | O::F64Le | O::F64Ge => C::Float,
        O::F32Abs | O::F32Neg | O::F32Ceil | O::F32Floor | O::F32Trunc | O::F32Nearest => C::Float,
        O::F64Abs | O::F64Neg | O::F64Ceil | O::F64Floor | O::F64Trunc | O::F64Nearest => C::Float,
        O::F32Add | O::F32Sub | O::F32Mul | O::F32Copysign => C::Float,
        O::F64Add | O::F64Sub | O::F64Mul | O::F64Copysign => C::Float,
        O::F32Div => C::Float32Division,
        O::F64Div => C::Float64Division,
        O::F32Min | O::F32Max | O::F64Min | O::F64Max => C::FloatExtreme,
        O::F32Sqrt => C::Float32Root,
        O::F64Sqrt => C::Float64Root,
        O::F32ConvertI32S | O::F32ConvertI64S | O::F32DemoteF64 => C::Conversion,
        O::F64ConvertI32S | O::F64ConvertI64S | O::F64PromoteF32 => C::Conversion,
        O::F32ConvertI32U | O::F32ConvertI64U => C::UnsignedConversion,
        O::F64ConvertI32U | O::F64ConvertI64U => C::UnsignedConversion,
        O::I32TruncF32S | O::I32TruncF32U | O::I32TruncF64S | O::I32TruncF64U => C::Truncation,
        O::I64TruncF32S | O::I64TruncF32U | O::I64TruncF64S | O::I64TruncF64U => C::Truncation,
        O::I32TruncSatF32S | O::I32TruncSatF32U => C::Truncation,
        O::I32TruncSatF64S | O::I32TruncSatF64U => C::Truncation,
        O::I64TruncSatF32S | O::I64TruncSatF32U => C::Truncation,
        O::I64TruncSatF64S | O::I64TruncSatF64U => C::Truncation,
        O::If { .. } | O::Br { .. } | O::BrIf { .. } | O::BrTable { .. } | O::Return => C::Branch,
        O::Call { .. } => C::Call,
        O::CallIndirect { .. } => C::CallIndirect,
        O::ReturnCall { .. } => C::TailCall,
        O::ReturnCallIndirect { .. } => C::TailCallIndirect,
        O::MemoryGrow { .. } => C::MemoryGrow,
        O::MemorySize { .. } | O::TableSize { .. } => C::Size,
        O::MemoryCopy { .. } | O::MemoryFill { .. } | O::MemoryInit { .. } => C::Bulk,
        O::DataDrop { .. } | O::ElemDrop { .. } => C::Drop,
        O::RefFunc { .. } => C::FunctionReference,
        O::TableGet { .. } => C::TableGet,
        O::TableSet { .. } => return Err("table.set"),
        O::TableGrow { .. } => return Err("table.grow"),
        O::TableFill { .. } => return Err("table.fill"),
        O::TableCopy { .. } => return Err("table.copy"),
        O::TableInit { .. } => return Err("table.init"),
        O::F32x4Div | O::F64x2Div | O::F32x4Sqrt | O::F64x2Sqrt => C::VectorSlow,
        O::F32x4Min | O::F32x4Max | O::F64x2Min | O::F64x2Max => C::VectorSlow,
        O::I32x4TruncSatF32x4S | O::I32x4TruncSatF32x4U => C::VectorTruncation,
        O::I32x4TruncSatF64x2SZero | O::I32x4TruncSatF64x2UZero => C::VectorTruncation,
        other => return by_proposal(other),
    })
}

/// The category of what isn't named above, which depends on where it comes from alone.
fn by_proposal(operator: &Operator<'_>) -> Result<Category, &'static str> {
    macro_rules! by_proposal {
        ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
            match operator {
                $( Operator::$op { .. } => by_proposal!(category $proposal), )*
                _ => Err("an instruction of a proposal that is off"),
            }
        };
        (category mvp) => { Ok(Category::Simple) };
        (category sign_extension) => { Ok(Category::Simple) };
        (category reference_types) => { Ok(Category::Simple) };
        (category simd) => { Ok(Category::Vector) };
        (category $proposal:ident) => { Err("an instruction of a proposal that is off") };
    }
    wasmparser::for_each_operator!(by_proposal)
}
