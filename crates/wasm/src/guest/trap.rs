//! Why a call failed.

use super::engine::Image;
use crate::call::{Failure, Limits};
use crate::system::Function;
use wasmtime::{Trap, WasmBacktrace};

/// How many functions of a backtrace are told.
const MOST_FRAMES: usize = 24;
/// How much of a function's name is told, characters.
const LONGEST_NAME: usize = 200;

/// Ends a call from within a system call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    /// The guest called `ic0.trap`.
    #[error("trap")]
    Canister(String),
    /// A system call was used as it may not be.
    #[error("contract")]
    Contract(&'static str, String),
    /// No instructions are left.
    #[error("instructions")]
    Instructions,
    /// No slices are left.
    #[error("slices")]
    Slices,
    /// It may not go on.
    #[error("aborted")]
    Aborted,
    /// Memory is used up.
    #[error("memory")]
    Memory(String),
}

impl Stop {
    pub(crate) fn contract(function: &'static Function, why: impl Into<String>) -> Self {
        Self::Contract(function.name, why.into())
    }
}

/// What a guest's end means.
pub(crate) fn failure(error: &wasmtime::Error, limits: &Limits, image: &Image) -> Failure {
    let frames = frames(error, image);
    match error.downcast_ref::<Stop>() {
        Some(Stop::Canister(message)) => Failure::Canister {
            message: message.clone(),
            frames,
        },
        Some(Stop::Contract(function, why)) => Failure::Contract {
            function: format!("ic0.{function}"),
            why: why.clone(),
        },
        Some(Stop::Instructions) => Failure::Instructions {
            limit: limits.instructions,
        },
        Some(Stop::Slices) => Failure::Slices {
            slice: limits.slice,
        },
        Some(Stop::Aborted) => Failure::Aborted,
        Some(Stop::Memory(why)) => Failure::Memory(why.clone()),
        None => Failure::Trap {
            kind: kind(error),
            frames,
        },
    }
}

fn kind(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<Trap>() {
        Some(trap) => match trap {
            Trap::StackOverflow => "stack overflow".to_owned(),
            Trap::MemoryOutOfBounds => "heap out of bounds".to_owned(),
            Trap::TableOutOfBounds => "table out of bounds".to_owned(),
            Trap::IndirectCallToNull => "call of an empty table entry".to_owned(),
            Trap::BadSignature => "indirect call with another signature".to_owned(),
            Trap::IntegerOverflow => "integer overflow".to_owned(),
            Trap::IntegerDivisionByZero => "integer division by zero".to_owned(),
            Trap::BadConversionToInteger => "float that is no integer".to_owned(),
            Trap::UnreachableCodeReached => "unreachable".to_owned(),
            other => other.to_string(),
        },
        None => format!("{error:#}"),
    }
}

/// The functions that it happened in, as the module has them: what was put in isn't told.
fn frames(error: &wasmtime::Error, image: &Image) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    let places = image.bundle.places();
    let frames = backtrace.frames().iter().filter_map(|frame| {
        let offset = frame.module_offset().map(|offset| offset as u64);
        let place = places.find(frame.func_index(), offset)?;
        let name = match image.profile.function_name(frame.func_index()) {
            // They are the module's words.
            Some(name) => name.escape_debug().take(LONGEST_NAME).collect(),
            None => format!("function {}", place.function),
        };
        Some(match place.offset {
            Some(offset) => format!("{name} (offset {offset:#x})"),
            None => name,
        })
    });
    frames.take(MOST_FRAMES).collect()
}
