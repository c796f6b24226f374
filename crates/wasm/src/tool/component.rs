//! Components, which are commands of WASI preview 2.

use super::job::Job;
use super::verdict::{Complaint, End};
use super::world::Guest;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi::p2;

/// The export that makes a component a command, without its version.
const COMMAND: &str = "wasi:cli/run@";
const HINT: &str =
    "a component gets WASI preview 2 (wasi:cli and what that needs) and nothing else";

/// Gives a command what it imports, or says what nobody has.
pub(super) fn link(
    engine: &Engine,
    component: &Component,
    job: &Job,
) -> Result<Linker<Guest>, End> {
    let kind = component.component_type();
    if let Some(invocation) = &job.invoke {
        let step = format!("call {}", invocation.function);
        let why = "it is a component, and only exports of modules are called";
        return Err(End::Misused(Complaint::new(&step, why)));
    }
    let exports: Vec<String> = kind
        .exports(engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    if !exports.iter().any(|name| name.starts_with(COMMAND)) {
        let why = "it is no command: it does not export wasi:cli/run";
        return Err(End::Unfit(Complaint::new("run the component", why).hint(
            match exports.is_empty() {
                true => "it exports nothing at all".into(),
                false => format!("it exports {}", exports.join(", ")),
            },
        )));
    }
    let mut linker = Linker::new(engine);
    p2::add_to_linker_async(&mut linker)
        .map_err(|error| End::Unfit(Complaint::new("offer WASI", format!("{error:#}"))))?;
    linker.instantiate_pre(component).map_err(|error| {
        End::Unfit(Complaint::new("link the component", format!("{error:#}")).hint(HINT))
    })?;
    Ok(linker)
}
