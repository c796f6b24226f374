//! A program with a canister inside: it is made, called and asked, and its worker is a process of its
//! own behind the wall.
//!
//! ```console
//! $ cargo run -p casemate-wasm --example embed
//! 1
//! 2
//! 2
//! ```

use casemate_wasm::call::{Answer, Principal};
use casemate_wasm::canisters::{Ask, Canisters, Options, Outcome};
use casemate_wasm::executor::Sandboxed;
use casemate_wasm::process::Spec;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Counts how often it is called. Any module will do, as `.wasm`, `.wasm.gz` or text.
const COUNTER: &str = r#"
(module
  (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
  (import "ic0" "msg_reply" (func $reply))
  (memory 1)
  (func $answer
    (call $append (i32.const 0) (i32.const 4))
    (call $reply))
  (func (export "canister_update increment")
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
    (call $answer))
  (func (export "canister_query get")
    (call $answer)))
"#;

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    // First of all: the launcher, the compiler and each worker are this program, too. In those
    // processes this call doesn't return.
    casemate_wasm::process::role(&casemate_wasm::worker::Wasm);
    let folder = std::env::temp_dir().join(format!("casemate-embed-{}", std::process::id()));
    let counted = count(&folder);
    std::fs::remove_dir_all(&folder)?;
    for number in counted? {
        println!("{number}");
    }
    Ok(())
}

/// Calls a counter twice, and asks it once.
pub(crate) fn count(folder: &Path) -> Result<Vec<u32>, Box<dyn Error>> {
    let executor = Sandboxed::new(Spec::default(), Duration::from_secs(60));
    let canisters = Canisters::open(folder, Arc::new(executor), Options::default())?;
    let nobody = Principal::ANONYMOUS;
    canisters.install("counter", COUNTER.as_bytes(), Vec::new(), nobody)?;
    let ask = |method| Ask::new(method, Vec::new());
    Ok(vec![
        number(canisters.call("counter", ask("increment"))?)?,
        number(canisters.call("counter", ask("increment"))?)?,
        number(canisters.query("counter", ask("get"))?)?,
    ])
}

fn number(outcome: Outcome) -> Result<u32, Box<dyn Error>> {
    match outcome.result? {
        Some(Answer::Reply(bytes)) => Ok(u32::from_le_bytes(bytes.as_slice().try_into()?)),
        other => Err(format!("no reply, but {other:?}").into()),
    }
}
