//! Builds the program that a virtual machine's kernel starts first, and leaves it where
//! `guest::first` embeds it from.
//!
//! It is no crate of the workspace: it has neither the standard library nor a C library, and a
//! package can't depend on another package's program. So the compiler is called as it is.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const SOURCES: &str = "src/guest/first/program";

/// Fixed address, no start files, no table for unwinding: what is left is code and its strings.
const FLAGS: &[&str] = &[
    "--edition=2024",
    "--crate-type=bin",
    "--crate-name=first",
    "--target=x86_64-unknown-linux-gnu",
    "-Cpanic=abort",
    "-Copt-level=s",
    "-Ccodegen-units=1",
    "-Cstrip=symbols",
    "-Ctarget-feature=+crt-static",
    "-Crelocation-model=static",
    "-Cforce-unwind-tables=no",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-static",
    "-Clink-arg=-Wl,--build-id=none,-z,noexecstack,-z,norelro",
];

fn main() {
    println!("cargo::rerun-if-changed={SOURCES}");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(variable("OUT_DIR")).join("first");
    if variable("CARGO_CFG_TARGET_ARCH") != "x86_64" {
        // Its system calls are x86-64's; the crate says so where it would be used.
        std::fs::write(&out, []).expect("write an empty program");
        return;
    }
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(FLAGS).arg("-o").arg(&out);
    let done = rustc.arg(format!("{SOURCES}/main.rs")).status();
    match done {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("the guest's first program doesn't build: rustc ended with {status}"),
        Err(why) => panic!("the guest's first program doesn't build: rustc can't be run: {why}"),
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets no {name}"))
}
