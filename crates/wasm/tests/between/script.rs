//! Scripts of the puppet.

use casemate_wasm::call::Principal;

/// Steps, one after the other.
#[derive(Clone, Default)]
pub(crate) struct Script(Vec<u8>);

/// A call of another canister.
pub(crate) struct Out {
    callee: Principal,
    method: &'static str,
    argument: Script,
    cycles: u32,
    on_reply: Script,
    on_reject: Script,
    cleanup: Script,
}

pub(crate) fn script() -> Script {
    Script::default()
}

/// A call of `all`, a composite query, that hands its answer on.
pub(crate) fn all(callee: Principal, argument: Script) -> Out {
    out(callee, argument).method("all")
}

/// A call of `do` that hands its answer on.
pub(crate) fn out(callee: Principal, argument: Script) -> Out {
    Out {
        callee,
        method: "do",
        argument,
        cycles: 0,
        on_reply: script().argument().reply(),
        on_reject: script().rejection().reply(),
        cleanup: script(),
    }
}

impl Out {
    pub(crate) fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    pub(crate) fn cycles(self, cycles: u32) -> Self {
        Self { cycles, ..self }
    }

    pub(crate) fn on_reply(self, on_reply: Script) -> Self {
        Self { on_reply, ..self }
    }

    pub(crate) fn on_reject(self, on_reject: Script) -> Self {
        Self { on_reject, ..self }
    }

    pub(crate) fn cleanup(self, cleanup: Script) -> Self {
        Self { cleanup, ..self }
    }
}

impl Script {
    fn step(mut self, letter: u8) -> Self {
        self.0.push(letter);
        self
    }

    fn number(mut self, number: u32) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self = self.number(bytes.len() as u32);
        self.0.extend(bytes);
        self
    }

    /// This, and then that.
    pub(crate) fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// A script within a script ends by itself.
    fn within(self, script: &Self) -> Self {
        match script.0.is_empty() {
            true => self.number(0),
            false => self.bytes(&[&script.0[..], b"."].concat()),
        }
    }

    pub(crate) fn say(self, text: &str) -> Self {
        self.step(b'r').bytes(text.as_bytes())
    }

    pub(crate) fn reply(self) -> Self {
        self.step(b'R')
    }

    pub(crate) fn reject(self, why: &str) -> Self {
        self.step(b'j').bytes(why.as_bytes())
    }

    pub(crate) fn trap(self, why: &str) -> Self {
        self.step(b't').bytes(why.as_bytes())
    }

    pub(crate) fn print(self, text: &str) -> Self {
        self.step(b'p').bytes(text.as_bytes())
    }

    pub(crate) fn argument(self) -> Self {
        self.step(b'a')
    }

    pub(crate) fn rejection(self) -> Self {
        self.step(b'x')
    }

    pub(crate) fn add(self, number: u32) -> Self {
        self.step(b'+').number(number)
    }

    pub(crate) fn counter(self) -> Self {
        self.step(b'=')
    }

    pub(crate) fn refunded(self) -> Self {
        self.step(b'f')
    }

    pub(crate) fn balance(self) -> Self {
        self.step(b'b')
    }

    pub(crate) fn status(self) -> Self {
        self.step(b'z')
    }

    pub(crate) fn instructions(self) -> Self {
        self.step(b'q')
    }

    /// Grows the heap, whose new pages have to be zero, and writes to them.
    pub(crate) fn grow(self, pages: u32) -> Self {
        self.step(b'm').number(pages)
    }

    /// Adds to a global, and appends what it is.
    pub(crate) fn global(self, number: u32) -> Self {
        self.step(b'v').number(number)
    }

    /// Takes many instructions.
    pub(crate) fn work(self, times: u32) -> Self {
        self.step(b'o').number(times)
    }

    /// Writes the counter to stable memory.
    pub(crate) fn save(self) -> Self {
        self.step(b'w')
    }

    /// Reads the counter from stable memory.
    pub(crate) fn load(self) -> Self {
        self.step(b'l')
    }

    pub(crate) fn accept(self, cycles: u32) -> Self {
        self.step(b'k').number(cycles)
    }

    pub(crate) fn timer(mut self, time: u64) -> Self {
        self = self.step(b'T');
        self.0.extend(time.to_le_bytes());
        self
    }

    pub(crate) fn call(self, out: Out) -> Self {
        let call = self
            .step(b'c')
            .bytes(out.callee.as_slice())
            .bytes(out.method.as_bytes())
            .bytes(&out.argument.0)
            .number(out.cycles)
            .number(0);
        call.within(&out.on_reply)
            .within(&out.on_reject)
            .within(&out.cleanup)
    }

    pub(crate) fn build(self) -> Vec<u8> {
        self.0
    }
}

/// An argument that isn't a script.
pub(crate) fn raw(bytes: Vec<u8>) -> Script {
    Script(bytes)
}
