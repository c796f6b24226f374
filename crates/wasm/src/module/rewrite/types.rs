//! Types of the functions that are added.

use wasm_encoder::TypeSection;
use wasm_encoder::ValType::{self, I32, I64};
use wasm_encoder::reencode::{self, Reencode};

use super::Moved;
use crate::module::source::Source;

/// The types that are added behind the module's own.
pub(super) struct Types(u32);

/// Parameters and results, in the order in which they are added.
const ADDED: [(&[ValType], &[ValType]); 9] = [
    (&[], &[]),
    (&[I64, I64], &[I32]),
    (&[I32], &[]),
    (&[I32], &[I32]),
    (&[I64], &[I64]),
    (&[], &[I64]),
    (&[], &[I32]),
    (&[I64, I64, I64], &[]),
    (&[I32, I32, I32], &[]),
];

impl Types {
    pub(super) fn new(source: &Source<'_>) -> Self {
        Self(u32::try_from(source.types.len()).unwrap_or(u32::MAX))
    }

    pub(super) fn section(
        &self,
        source: &Source<'_>,
        moved: &mut Moved<'_>,
    ) -> Result<TypeSection, reencode::Error> {
        let mut section = TypeSection::new();
        if let Some(types) = source.type_section.clone() {
            moved.parse_type_section(&mut section, types)?;
        }
        for (params, results) in ADDED {
            let (params, results) = (params.iter().copied(), results.iter().copied());
            section.ty().function(params, results);
        }
        Ok(section)
    }

    /// The index of one of [`ADDED`].
    pub(super) fn of(&self, params: &[ValType], results: &[ValType]) -> u32 {
        let mut types = (self.0..).zip(ADDED);
        let found = types.find(|(_, (p, r))| *p == params && *r == results);
        found.map_or(self.0, |(index, _)| index)
    }

    /// `() -> ()`
    pub(super) fn nothing(&self) -> u32 {
        self.of(&[], &[])
    }

    pub(super) fn function(&self, function: &crate::system::Function) -> u32 {
        let number = |number| match number {
            crate::system::Number::I32 => I32,
            crate::system::Number::I64 => I64,
        };
        // Functions of stable memory have the same types in guests of both widths.
        let params: Vec<_> = function.params(false).map(number).collect();
        let results: Vec<_> = function.results(false).map(number).collect();
        self.of(&params, &results)
    }
}
