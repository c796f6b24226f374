//! A program that is ready to be called: a module, or a component.

use super::job::Job;
use super::module::{self, Compiled};
use super::verdict::End;
use super::world::{Exit, Guest};
use super::{component, invoke};
use wasmtime::{Engine, Linker, Module, Store, Val};
use wasmtime_wasi::p2::bindings::Command;

/// A program and everything that it imports.
pub(super) enum Program {
    /// A module, and what its export is called with.
    Module {
        module: Module,
        linker: Linker<Guest>,
        args: Vec<Val>,
    },
    /// A component, which is a command.
    Component {
        component: wasmtime::component::Component,
        linker: wasmtime::component::Linker<Guest>,
    },
}

impl Program {
    /// Compiles and links; nothing of it is executed yet.
    pub(super) fn new(
        engine: &Engine,
        store: &mut Store<Guest>,
        job: &Job,
        bytes: &[u8],
    ) -> Result<Self, End> {
        match module::compile(engine, bytes).map_err(End::Unfit)? {
            Compiled::Component(component) => {
                let linker = component::link(engine, &component, job)?;
                Ok(Self::Component { component, linker })
            }
            Compiled::Module(module) => {
                module::check_entry(&module, job).map_err(End::Unfit)?;
                let invocation = job.invoke.as_ref();
                let args = invocation.map(|invocation| invoke::arguments(&module, invocation));
                let args = args.transpose().map_err(End::Misused)?.unwrap_or_default();
                let linker = module::link(engine, &module, store).map_err(End::Unfit)?;
                Ok(Self::Module {
                    module,
                    linker,
                    args,
                })
            }
        }
    }

    /// Executes it, and returns what the export that was asked for did.
    pub(super) async fn call(
        &self,
        store: &mut Store<Guest>,
        job: &Job,
    ) -> wasmtime::Result<Vec<Val>> {
        let (module, linker, args) = match self {
            Self::Module {
                module,
                linker,
                args,
            } => (module, linker, args),
            Self::Component { component, linker } => {
                let command = Command::instantiate_async(&mut *store, component, linker).await?;
                let result = command.wasi_cli_run().call_run(&mut *store).await?;
                return match result {
                    Ok(()) => Ok(Vec::new()),
                    Err(()) => Err(Exit { code: 1 }.into()),
                };
            }
        };
        let instance = linker.instantiate_async(&mut *store, module).await?;
        let Some(invocation) = &job.invoke else {
            let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
            start.call_async(&mut *store, ()).await?;
            return Ok(Vec::new());
        };
        // A library that has something to do before its functions are called (WASI's reactors).
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut *store, "_initialize") {
            initialize.call_async(&mut *store, ()).await?;
        }
        let function = instance.get_func(&mut *store, &invocation.function);
        let function = function.ok_or_else(|| wasmtime::Error::msg("the export is gone"))?;
        let mut results = vec![Val::I32(0); function.ty(&mut *store).results().len()];
        let call = function.call_async(&mut *store, args, &mut results);
        call.await?;
        Ok(results)
    }
}
