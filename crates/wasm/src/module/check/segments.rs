//! Segments: at constant places, and inside of what they go to.
//!
//! The runtime would find out too, but only when the module is loaded, and by then it is
//! nobody's mistake any more.

use wasmparser::{ConstExpr, Data, DataKind, ElementItems, ElementKind, Operator};

use crate::module::abi::WASM_PAGE;
use crate::module::source::Source;
use crate::module::{Refusal, Segment};

pub(super) fn check(source: &Source<'_>) -> Result<(), Refusal> {
    let bytes = source.memory.map_or(0, |memory| memory.initial);
    let bytes = bytes.saturating_mul(WASM_PAGE);
    for (index, data) in (0..).zip(&source.data) {
        if let DataKind::Active { offset_expr, .. } = &data.kind {
            let place = Place::new("data", index);
            let offset = place.constant(offset_expr)?;
            place.inside(offset, data.data.len() as u64, bytes)?;
        }
    }
    elements(source)
}

fn elements(source: &Source<'_>) -> Result<(), Refusal> {
    let Some(elements) = source.elements.clone() else {
        return Ok(());
    };
    for (index, element) in (0..).zip(elements) {
        let element = element?;
        let ElementKind::Active {
            table_index,
            offset_expr,
        } = &element.kind
        else {
            continue;
        };
        let entries = match &element.items {
            ElementItems::Functions(items) => items.count(),
            ElementItems::Expressions(_, items) => items.count(),
        };
        let table = source.tables.get(table_index.unwrap_or(0) as usize);
        let place = Place::new("element", index);
        let offset = place.constant(offset_expr)?;
        place.inside(offset, entries.into(), table.map_or(0, |t| t.initial))?;
    }
    Ok(())
}

/// What the active segments put into the heap, in order.
pub(in crate::module) fn initial(data: &[Data<'_>]) -> Vec<Segment> {
    let active = data.iter().filter_map(|data| match &data.kind {
        DataKind::Active { offset_expr, .. } => Some((constant(offset_expr)?, data.data)),
        DataKind::Passive => None,
    });
    let filled = active.filter(|(_, bytes)| !bytes.is_empty());
    let segment = |(offset, bytes): (u64, &[u8])| Segment {
        offset,
        bytes: bytes.to_vec(),
    };
    filled.map(segment).collect()
}

/// The number that the expression is, if it is nothing but one.
fn constant(expression: &ConstExpr<'_>) -> Option<u64> {
    let mut operators = expression.get_operators_reader();
    let value = match operators.read().ok()? {
        Operator::I32Const { value } => u64::from(value.cast_unsigned()),
        Operator::I64Const { value } => value.cast_unsigned(),
        _ => return None,
    };
    matches!(operators.read().ok()?, Operator::End).then_some(value)
}

struct Place {
    kind: &'static str,
    segment: u32,
}

impl Place {
    fn new(kind: &'static str, segment: u32) -> Self {
        Self { kind, segment }
    }

    fn constant(&self, expression: &ConstExpr<'_>) -> Result<u64, Refusal> {
        constant(expression).ok_or(Refusal::SegmentOffset {
            kind: self.kind,
            segment: self.segment,
        })
    }

    fn inside(&self, offset: u64, length: u64, limit: u64) -> Result<(), Refusal> {
        let end = offset.saturating_add(length);
        match end > limit {
            true => Err(Refusal::SegmentOutside {
                kind: self.kind,
                segment: self.segment,
                end,
                limit,
            }),
            false => Ok(()),
        }
    }
}
