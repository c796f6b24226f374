//! What wasmtime's errors mean.

use super::gauge::OverMemory;
use super::verdict::{End, Frame};
use super::world::Exit;
use wasmtime::{Error, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// How a program ended that didn't return; `None` if it never began, since the error is about the
/// module.
pub(super) fn of(error: &Error) -> Option<End> {
    if let Some(exit) = error.downcast_ref::<Exit>() {
        return Some(End::Exited { code: exit.code });
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return Some(End::Exited {
            code: exit.0 as u32,
        });
    }
    if let Some(over) = error.downcast_ref::<OverMemory>() {
        return Some(End::MemoryLimit {
            wanted: over.wanted,
        });
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return Some(match trap {
            Trap::OutOfFuel => End::OutOfFuel,
            Trap::Interrupt => End::TimeLimit,
            trap => trapped(*trap),
        });
    }
    // A host function refused to go on.
    error.downcast_ref::<WasmBacktrace>().map(|_| End::Trapped {
        kind: "host".into(),
        message: error.root_cause().to_string(),
    })
}

/// Where in the program an error came up.
pub(super) fn frames(error: &Error) -> Vec<Frame> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    let frame = |frame: &wasmtime::FrameInfo| Frame {
        function: frame.func_name().map(str::to_owned),
        index: frame.func_index(),
        offset: frame.module_offset().map(|offset| offset as u64),
    };
    backtrace.frames().iter().map(frame).collect()
}

fn trapped(trap: Trap) -> End {
    let message = match trap {
        Trap::UnreachableCodeReached => "unreachable code was reached".into(),
        Trap::StackOverflow => "the call stack is full: recursion is too deep".into(),
        trap => {
            let text = trap.to_string();
            text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned()
        }
    };
    End::Trapped {
        kind: word(&format!("{trap:?}")),
        message,
    }
}

/// `MemoryOutOfBounds` as `memory_out_of_bounds`.
fn word(name: &str) -> String {
    let mut word = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_is_told_from_the_others() {
        let trap = of(&Trap::MemoryOutOfBounds.into());
        let Some(End::Trapped { kind, message }) = trap else {
            panic!("{trap:?}")
        };
        assert_eq!(kind, "memory_out_of_bounds");
        assert_eq!(message, "out of bounds memory access");
        assert_eq!(of(&Trap::OutOfFuel.into()), Some(End::OutOfFuel));
        assert_eq!(of(&Trap::Interrupt.into()), Some(End::TimeLimit));
        assert_eq!(of(&Exit { code: 3 }.into()), Some(End::Exited { code: 3 }));
        assert_eq!(of(&Error::msg("other")), None);
    }
}
