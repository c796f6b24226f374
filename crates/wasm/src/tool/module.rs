//! From bytes to a module that is linked, or a complaint that says what they are instead.

use super::invoke;
use super::job::Job;
use super::verdict::Complaint;
use super::world::{self, Guest};
use std::borrow::Cow;
use wasmtime::component::Component;
use wasmtime::{Engine, ExternType, Linker, Module, Store};

const STEP: &str = "read the module";
/// What a Wasm binary begins with, and the version and layer of a module and of a component.
const MAGIC: &[u8] = b"\0asm";
const MODULE: [u8; 4] = [1, 0, 0, 0];
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];
/// Imports that are named when they are missing.
const NAMED: usize = 8;

/// What the bytes were.
pub(super) enum Compiled {
    Module(Module),
    Component(Component),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Module,
    Component,
}

/// Compiles a module or component, whether it's binary or text.
pub(super) fn compile(engine: &Engine, bytes: &[u8]) -> Result<Compiled, Complaint> {
    let (binary, kind) = binary(bytes)?;
    let compiled = match kind {
        Kind::Module => Module::from_binary(engine, &binary).map(Compiled::Module),
        Kind::Component => Component::from_binary(engine, &binary).map(Compiled::Component),
    };
    compiled.map_err(|error| {
        let why = format!("{error:#}");
        let complaint = Complaint::new("compile the module", &*why);
        match why.contains("unexpected end") || why.contains("unexpected-eof") {
            true => complaint.hint("the file seems to be cut off"),
            false => complaint,
        }
    })
}

fn binary(bytes: &[u8]) -> Result<(Cow<'_, [u8]>, Kind), Complaint> {
    let refuse = |why: &str| Complaint::new(STEP, why);
    if bytes.is_empty() {
        return Err(refuse("it is empty"));
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return Err(refuse("it is compressed").hint("unpack it: gunzip FILE.gz"));
    }
    let binary = match bytes.starts_with(MAGIC) {
        true => Cow::Borrowed(bytes),
        false if is_text(bytes) => wat::parse_bytes(bytes)
            .map_err(|error| Complaint::new("read the module's text", error.to_string()))?,
        false => {
            return Err(refuse("it is neither Wasm nor its text form")
                .hint("a module begins with the bytes 00 61 73 6d, its text form with (module"));
        }
    };
    match binary.get(4..8) {
        None => {
            Err(refuse("it ends within its first 8 bytes").hint("the file seems to be cut off"))
        }
        Some(version) if version == MODULE => Ok((binary, Kind::Module)),
        Some(version) if version == COMPONENT => Ok((binary, Kind::Component)),
        Some(version) => Err(refuse("its version is unknown").hint(format!(
            "bytes 5 to 8 are {version:02x?}; a module has 01 00 00 00 there"
        ))),
    }
}

/// Text of Wasm begins with a parenthesis, after spaces and comments.
fn is_text(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with('(') || text.starts_with(";;")
}

/// Gives the module what it imports, or says what nobody has.
pub(super) fn link(
    engine: &Engine,
    module: &Module,
    store: &mut Store<Guest>,
) -> Result<Linker<Guest>, Complaint> {
    let mut linker = Linker::new(engine);
    let asked: Vec<&str> = module.imports().map(|import| import.module()).collect();
    let linked = world::link(&mut linker, &asked);
    linked.map_err(|error| Complaint::new("offer WASI", format!("{error:#}")))?;
    let missing: Vec<String> = module
        .imports()
        .filter(|import| linker.get_by_import(&mut *store, import).is_none())
        .map(|import| {
            let kind = kind(&import.ty());
            format!("{kind} {}.{}", import.module(), import.name())
        })
        .collect();
    if missing.is_empty() {
        return Ok(linker);
    }
    let more = missing.len().saturating_sub(NAMED);
    let mut named = missing[..missing.len() - more].join(", ");
    if more > 0 {
        named.push_str(&format!(", and {more} more"));
    }
    let why = format!("nobody provides what it imports: {named}");
    Err(Complaint::new("link the module", why)
        .hint("a module gets WASI preview 1 (wasi_snapshot_preview1) and nothing else"))
}

/// The function of a command, if nothing else is asked for.
pub(super) fn check_entry(module: &Module, job: &Job) -> Result<(), Complaint> {
    let has = |name| invoke::functions(module).any(|function| function == name);
    if job.invoke.is_some() || has("_start") {
        return Ok(());
    }
    let names: Vec<&str> = invoke::functions(module).take(8).collect();
    let hint = match names.is_empty() {
        true => "it exports no function at all".into(),
        false => format!("call an export by --invoke NAME ARG…: {}", names.join(", ")),
    };
    Err(Complaint::new("run the module", "it is no command: it has no _start").hint(hint))
}

fn kind(import: &ExternType) -> &'static str {
    match import {
        ExternType::Func(_) => "function",
        ExternType::Global(_) => "global",
        ExternType::Table(_) => "table",
        ExternType::Memory(_) => "memory",
        ExternType::Tag(_) => "tag",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_module_is_called_by_its_name() {
        let why = |bytes: &[u8]| binary(bytes).unwrap_err().why;
        assert_eq!(why(b""), "it is empty");
        assert_eq!(why(b"\x1f\x8b\x08"), "it is compressed");
        assert_eq!(why(b"\x7fELF"), "it is neither Wasm nor its text form");
        assert_eq!(why(b"\0asm\x01"), "it ends within its first 8 bytes");
        assert_eq!(why(b"\0asm\x02\0\0\0"), "its version is unknown");
        assert!(why(b"(module (func $f) (func $f))").contains("duplicate"));
    }

    #[test]
    fn text_may_begin_with_a_comment() {
        assert!(binary(b" ;; a tool\n(module)").is_ok());
        assert_eq!(binary(b"(module)").unwrap().1, Kind::Module);
        assert_eq!(binary(b"(component)").unwrap().1, Kind::Component);
    }
}
