//! Canisters in the languages that people write them in, built here by their own compilers.
//!
//! Each is installed, called, asked, trapped and called again, in both executors. Compilers come by
//! Debian's packages and from npm; a machine that has none of them says so.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/packages.rs"]
mod packages;
#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/mod.rs"]
mod support;

use sandbox::{Ended, Stage, as_user};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{has, works};

const MOTOKO: &str = "motoko@4.10.0";
const ASSEMBLYSCRIPT: &str = "assemblyscript@0.28.20";
const AZLE: &str = "azle@0.33.0";
const BUILD: &str = include_str!("../src/wasm/new/motoko/build.mjs");
const SHOP: &str = include_str!("wasm/guests/shop.mo");
const COUNTER_TS: &str = include_str!("wasm/guests/counter.ts");
const CANISTER_MJS: &str = include_str!("wasm/guests/canister.mjs");
const COUNTER_DID: &str = include_str!("wasm/guests/counter.did");

/// Where guests run.
const EXECUTORS: [&str; 2] = ["sandboxed", "in-process"];

fn wasm(stage: &Stage, executor: &str, args: &[&str]) -> Ended {
    let mut command = stage.casemate();
    let command = command.arg("wasm").args(args);
    Ended::of(command.args(["--executor", executor]))
}

/// `casemate wasm new`, in the workspace.
fn begun(stage: &Stage, lang: &str, name: &str) -> Ended {
    Ended::of(stage.casemate().args(["wasm", "new", "--lang", lang, name]))
}

/// Counts, refuses and goes on, as each of the templates does.
fn counts(stage: &Stage, executor: &str, module: &str) {
    let ask = |args: &[&str]| wasm(stage, executor, args);
    let logged = "casemate: log: counted\n";
    let installed = ask(&["install", module, "--name", "it"]);
    assert_eq!(
        (installed.code, installed.err.as_str()),
        (0, ""),
        "{module}"
    );
    ask(&["query", "it", "get"]).assert(0, "(0 : nat64)\n", "");
    ask(&["call", "it", "increment", "2"]).assert(0, "(2 : nat64)\n", logged);
    ask(&["call", "it", "increment", "--arg-json", "3", "--json"]).assert(0, "5\n", logged);
    ask(&["query", "it", "get", "--hex"]).assert(0, "4449444c0001780500000000000000\n", "");
    let full = ask(&["call", "it", "increment", "(18446744073709551615)"]);
    assert_eq!((full.code, full.out.as_str()), (134, ""), "{full:?}");
    // Bytes that are no nat64.
    let wrong = ask(&["call", "it", "increment", "--arg-hex", "00"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (134, ""), "{wrong:?}");
    let typed = ask(&["call", "it", "increment", "\"two\""]);
    let said = "character 1: expected nat64, found a text\nhint: ";
    assert!(typed.code == 125 && typed.err.contains(said), "{typed:?}");
    let near = ask(&["call", "it", "incremnt", "1"]);
    assert!(near.err.contains("did you mean `increment`?"), "{near:?}");
    ask(&["query", "it", "get", "()"]).assert(0, "(5 : nat64)\n", "");
    let interface = ask(&["candid", "it"]);
    assert!(interface.out.contains("nat64) query;"), "{interface:?}");
    ask(&["uninstall", "it"]).assert(0, "", "");
}

#[test]
fn a_folder_of_wat_is_a_canister() {
    as_user(|stage| {
        let made = begun(stage, "wat", "counter");
        let commands = "cd counter\ncasemate wasm install counter.wat --name counter\n\
                        casemate wasm call counter increment 2\ncasemate wasm query counter get\n";
        made.assert(0, commands, "");
        for executor in EXECUTORS {
            counts(stage, executor, "counter/counter.wat");
        }
        let again = begun(stage, "c", "counter");
        assert_eq!(again.code, 125);
        assert!(again.err.contains("there is one already"), "{again:?}");
        assert!(begun(stage, "c", "Counter").err.contains("small letter"));
        // The interface that is shown is the one that the module has.
        let did = stage.read("ws/counter/counter.did");
        let text = stage.read("ws/counter/counter.wat");
        assert!(text.contains(&did.trim_end().replace('\n', "\\n")));
    });
}

#[test]
fn a_folder_of_c_is_a_canister() {
    if !has(&["/usr/bin/clang", "/usr/bin/wasm-ld", "/usr/bin/make"]) {
        return;
    }
    as_user(|stage| {
        assert_eq!(begun(stage, "c", "counter").code, 0);
        let folder = stage.path("ws/counter");
        works(stage.command("make").current_dir(&folder));
        for executor in EXECUTORS {
            counts(stage, executor, "counter/counter.wasm");
        }
        // A trap names the functions.
        wasm(
            stage,
            "sandboxed",
            &["install", "counter/counter.wasm", "--name", "it"],
        );
        let wrong = wasm(
            stage,
            "sandboxed",
            &["call", "it", "increment", "--arg-hex", "00"],
        );
        let said = "the canister trapped: increment takes a nat64 in increment (offset 0x";
        assert!(wrong.err.contains(said), "{wrong:?}");
    });
}

#[test]
fn a_folder_of_motoko_is_a_canister() {
    let Some(compiler) = packages::npm(&[MOTOKO]) else {
        return;
    };
    as_user(|stage| {
        assert_eq!(begun(stage, "motoko", "counter").code, 0);
        let source = stage.read("ws/counter/counter.mo");
        // 64-bit, with a heap that upgrades keep; and 32-bit.
        for flags in [&[][..], &["--wasm32"]] {
            motoko(stage, compiler.path(), &source, flags);
            for executor in EXECUTORS {
                counts(stage, executor, "counter.wasm");
            }
        }
    });
}

/// Compiles a program to `counter.wasm` in the workspace.
fn motoko(stage: &Stage, compiler: &Path, source: &str, flags: &[&str]) {
    fs::write(compiler.join("counter.mo"), source).unwrap();
    fs::write(compiler.join("build.mjs"), BUILD).unwrap();
    let mut build = Command::new("node");
    works(build.arg("build.mjs").args(flags).current_dir(compiler));
    let module = fs::read(compiler.join("counter.wasm")).unwrap();
    stage.write("ws/counter.wasm", module);
}

#[test]
fn a_shop_of_motoko_speaks_of_records_and_variants() {
    let Some(compiler) = packages::npm(&[MOTOKO]) else {
        return;
    };
    as_user(|stage| {
        for flags in [&[][..], &["--wasm32"]] {
            motoko(stage, compiler.path(), SHOP, flags);
            EXECUTORS.iter().for_each(|executor| sells(stage, executor));
        }
    });
}

fn sells(stage: &Stage, executor: &str) {
    let ask = |args: &[&str]| wasm(stage, executor, args);
    let init = "(opt record { currency = \"EUR\" })";
    let installed = ask(&["install", "counter.wasm", "--name", "shop", "--arg", init]);
    assert_eq!((installed.code, installed.err.as_str()), (0, ""));
    let tea = r#"(record { name = "tea"; price = 12_000; tags = vec { "hot" } }, 2)"#;
    ask(&["call", "shop", "add", tea]).assert(0, "(1 : nat)\n", "");
    let cup =
        r#"[{"name": "cup", "price": "18446744073709551616", "tags": [], "picture": "00ff"}, 1]"#;
    ask(&["call", "shop", "add", "--arg-json", cup, "--json"]).assert(0, "2\n", "");
    let sold = "\
(
  variant {
    sold = record {
      item = record {
        name = \"cup\";
        tags = vec {};
        picture = opt blob \"\\00\\ff\";
        price = 18_446_744_073_709_551_616 : nat;
      };
      left = 0 : int;
    };
  },
)
";
    let bought = ask(&["call", "shop", "buy", "(\"cup\")"]);
    assert_eq!((bought.code, bought.err.as_str()), (0, ""));
    assert_eq!(sorted(&bought.out), sorted(sold));
    ask(&["call", "shop", "buy", "\"cup\""]).assert(0, "(variant { soldOut })\n", "");
    let unknown = ask(&["call", "shop", "buy", "\"pot\"", "--output", "json"]);
    unknown.assert(0, "{\"unknown\":\"pot\"}\n", "");
    ask(&["query", "shop", "price", "\"tea\""]).assert(0, "(opt (12_000 : nat), \"EUR\")\n", "");
    ask(&["query", "shop", "price", "\"x\"", "--json"]).assert(0, "[null,\"EUR\"]\n", "");
    ask(&["query", "shop", "who"]).assert(0, "(principal \"2vxsx-fae\")\n", "");
    let trapped = ask(&["call", "shop", "empty"]);
    // Motoko rejects a call by itself, or traps.
    assert_ne!(trapped.code, 0, "{trapped:?}");
    assert!(trapped.err.contains("log: nothing is left"), "{trapped:?}");
    assert!(
        trapped.err.contains("the shop may not be empty"),
        "{trapped:?}"
    );
    ask(&["query", "shop", "price", "\"tea\"", "--json"]).assert(0, "[12000,\"EUR\"]\n", "");
    let wrong = ask(&[
        "call",
        "shop",
        "add",
        r#"(record { name = "x"; prize = 1; tags = vec {} }, 1)"#,
    ]);
    assert!(
        wrong.err.contains("the field price is missing"),
        "{wrong:?}"
    );
    ask(&["uninstall", "shop"]).assert(0, "", "");
}

/// Its lines in order: fields are printed in the order of their numbers, which nobody can guess.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_canister_of_assemblyscript_counts() {
    let Some(compiler) = packages::npm(&[ASSEMBLYSCRIPT]) else {
        return;
    };
    let folder = compiler.path();
    for (name, text) in [
        ("counter.ts", COUNTER_TS),
        ("canister.mjs", CANISTER_MJS),
        ("counter.did", COUNTER_DID),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let mut build = Command::new("node");
    build.args([
        "node_modules/assemblyscript/bin/asc.js",
        "counter.ts",
        "--debug",
        "-O",
    ]);
    build.args(["--outFile", "counter.wasm", "--runtime", "stub"]);
    build.args([
        "--use",
        "abort=counter/abort",
        "--transform",
        "./canister.mjs",
    ]);
    works(build.current_dir(folder));
    let module = fs::read(folder.join("counter.wasm")).unwrap();
    as_user(|stage| {
        stage.write("ws/counter.wasm", &module);
        for executor in EXECUTORS {
            let ask = |args: &[&str]| wasm(stage, executor, args);
            let installed = ask(&["install", "counter.wasm", "--name", "it"]);
            assert_eq!((installed.code, installed.err.as_str()), (0, ""));
            ask(&["call", "it", "increment", "7"]).assert(0, "(7 : nat64)\n", "");
            let thrown = ask(&["call", "it", "increment", "--arg-hex", "00"]);
            let said = "the canister trapped: increment takes a nat64";
            assert!(
                thrown.code == 134 && thrown.err.contains(said),
                "{thrown:?}"
            );
            let outside = ask(&["call", "it", "fail"]);
            let said = "Index out of range";
            assert!(
                outside.code == 134 && outside.err.contains(said),
                "{outside:?}"
            );
            ask(&["query", "it", "get", "--json"]).assert(0, "7\n", "");
            ask(&["uninstall", "it"]).assert(0, "", "");
        }
    });
}

/// Where `cargo xtask wasm-guests` has put a compiler of Rust that has a target for Wasm.
const RUST: &str = "CASEMATE_WASM_RUST";

#[test]
fn a_folder_of_rust_is_a_canister() {
    let Some(rust) = std::env::var_os(RUST).map(PathBuf::from) else {
        return println!("skipped: `cargo xtask wasm-guests` runs it, with a compiler");
    };
    as_user(|stage| {
        assert_eq!(begun(stage, "rust", "counter").code, 0);
        let folder = stage.path("ws/counter");
        let target = tempfile::tempdir().unwrap();
        let mut build = Command::new("cargo");
        build.args(["build", "--release", "--target", "wasm32-unknown-unknown"]);
        build.args(["-Zbuild-std=std,panic_abort", "--quiet"]);
        build
            .current_dir(&folder)
            .env("RUSTC", rust.join("usr/bin/rustc"))
            .env("LD_LIBRARY_PATH", rust.join("usr/lib/x86_64-linux-gnu"))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld")
            .env("CARGO_TARGET_DIR", target.path())
            .env_remove("RUSTFLAGS");
        works(&mut build);
        let made = target
            .path()
            .join("wasm32-unknown-unknown/release/counter.wasm");
        stage.write("ws/counter.wasm", fs::read(made).unwrap());
        for executor in EXECUTORS {
            counts(stage, executor, "counter.wasm");
        }
    });
}

/// Two canisters as they are handed out, each a whole runtime of JavaScript.
#[test]
fn large_canisters_are_accepted() {
    if std::env::var_os("CASEMATE_BIN").is_none() {
        return println!(
            "skipped: a compiler that isn't optimised takes longer than a module may; \
             `./test` and `cargo xtask wasm-guests` run it"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let mut pack = Command::new("npm");
    pack.args(["pack", "--silent", AZLE])
        .current_dir(folder.path());
    if !packages::comes(&mut pack) {
        return;
    }
    let archive = fs::read_dir(folder.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let templates = "package/dist/canister_templates";
    works(
        Command::new("tar")
            .arg("xf")
            .arg(archive.path())
            .args(["--strip-components=3", templates])
            .current_dir(folder.path()),
    );
    as_user(|stage| {
        for name in ["stable", "experimental"] {
            let module = fs::read(folder.path().join(name).with_extension("wasm")).unwrap();
            stage.write("ws/it.wasm", module);
            let installed = wasm(stage, "sandboxed", &["install", "it.wasm", "--name", name]);
            assert_eq!((installed.code, installed.err.as_str()), (0, ""), "{name}");
        }
        wasm(stage, "sandboxed", &["list"]).assert(0, "experimental\nstable\n", "");
    });
}
