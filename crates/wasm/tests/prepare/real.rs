//! A canister as a compiler and a linker make it.

use std::path::Path;
use std::process::Command;

use casemate_wasm::module::{EntryPoint, Limits, MethodKind, abi, prepare};

use crate::host::{Guest, engine};

const SOURCE: &str = r#"
#define IC0(name) __attribute__((import_module("ic0"), import_name(#name)))
#define EXPORT(name) __attribute__((export_name(name)))
void reply(void) IC0(msg_reply);
long long size(void) IC0(stable64_size);
long long grow(long long) IC0(stable64_grow);
void read(long long, long long, long long) IC0(stable64_read);
void write(long long, long long, long long) IC0(stable64_write);

static unsigned count = 40;
static unsigned sum(unsigned n) { unsigned s = 0; while (n) s += n--; return s; }
static unsigned (*volatile indirect)(unsigned) = sum;

EXPORT("canister_init") void init(void) { grow(1); }
EXPORT("canister_update inc") void inc(void) {
  count += 2;
  write(4094, (long long)(unsigned long)&count, 4);
  reply();
}
EXPORT("canister_query sum") void query(void) { count = indirect(count); reply(); }
EXPORT("canister_post_upgrade") void post(void) {
  read((long long)(unsigned long)&count, 4094, 4);
}
"#;

fn compiled(folder: &Path) -> Option<Vec<u8>> {
    let source = folder.join("canister.c");
    std::fs::write(&source, SOURCE).unwrap();
    let object = folder.join("canister.o");
    let module = folder.join("canister.wasm");
    let mut compile = Command::new("clang");
    compile
        .args(["--target=wasm32", "-O2", "-nostdlib", "-c", "-o"])
        .arg(&object)
        .arg(source);
    let linker = ["wasm-ld", "wasm-ld-14"]
        .into_iter()
        .find(|linker| Command::new(linker).arg("--version").output().is_ok())?;
    let mut link = Command::new(linker);
    link.args(["--no-entry", "--export=__heap_base", "-o"])
        .arg(&module)
        .arg(object);
    for mut step in [compile, link] {
        let done = step.output().ok()?;
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{step:?}: {told}");
    }
    Some(std::fs::read(module).unwrap())
}

#[test]
fn a_canister_in_c_counts_and_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let Some(bytes) = compiled(folder.path()) else {
        println!("skipped: there is no clang and wasm-ld to make a canister with");
        return;
    };
    let prepared = prepare(&bytes, &Limits::default()).unwrap();
    let profile = prepared.profile.clone();
    assert!(!profile.is64 && profile.uses_stable && !profile.has_start);
    assert!(profile.has(EntryPoint::Init) && profile.has(EntryPoint::PostUpgrade));
    assert_eq!(profile.method("inc").unwrap().kind, MethodKind::Update);
    assert_eq!(profile.method("sum").unwrap().kind, MethodKind::Query);
    assert!(
        profile.names.iter().any(|(_, name)| name == "inc"),
        "{:?}",
        profile.names
    );

    let at = prepared
        .initial
        .iter()
        .find(|segment| segment.bytes.starts_with(&[40, 0, 0, 0]));
    let at = usize::try_from(at.expect("the count's first value").offset).unwrap();
    let mut guest = Guest::of(&engine(), prepared);
    let count = |guest: &mut Guest| {
        let mut bytes = [0; 4];
        guest
            .memory(abi::HEAP)
            .read(&guest.store, at, &mut bytes)
            .unwrap();
        u32::from_le_bytes(bytes)
    };
    guest.run("canister_init").unwrap();
    guest.run("canister_update inc").unwrap();
    assert_eq!(count(&mut guest), 42);
    guest.run("canister_query sum").unwrap();
    assert_eq!(count(&mut guest), 42 * 43 / 2);
    guest.run("canister_post_upgrade").unwrap();
    assert_eq!(count(&mut guest), 42);
    let touched = guest.memory(abi::TOUCHED);
    let both = abi::READ | abi::WRITTEN;
    assert_eq!(touched.data(&guest.store)[..3], [both, both, 0]);
}
