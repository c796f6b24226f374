//! The program starts at `casemate_entry` (`casemate_sys::process::early`), which goes on to the C library's `_start`.

fn main() {
    println!("cargo::rustc-link-arg-bins=-Wl,--entry=casemate_entry");
    println!("cargo::rerun-if-changed=build.rs");
}
