//! The published clients, unchanged, against sandboxes that are virtual machines of a small Debian.
//!
//! As root, since debootstrap(8) needs that; `vm.rs` has machines of ordinary users. On a machine
//! that reaches no package index it says so and is skipped.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/island.rs"]
mod island;
#[path = "support/packages.rs"]
mod packages;
#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/sdk.rs"]
mod sdk;
mod support;

use packages::{comes, npm, python};
use sandbox::Stage;
use sdk::{JAVASCRIPT, PYTHON, Server, javascript_tests, python_tests};
use std::path::Path;

/// What machines need of this one, besides Debian's packages.
const NEEDED: [&str; 3] = [
    "/usr/bin/qemu-system-x86_64",
    "/sbin/mke2fs",
    "/usr/sbin/debootstrap",
];
/// What the clients' tests use in a sandbox.
const PACKAGES: &str = "ca-certificates,git,procps,python3";
/// What has them all run: `cargo xtask sdk --wall vm`.
const ALL: &str = "CASEMATE_TEST_SDK_ALL";

#[test]
fn published_clients() {
    sandbox::as_root(|stage| {
        let absent = NEEDED.iter().find(|path| !Path::new(path).exists());
        if let Some(absent) = absent {
            return println!("skipped: needs {absent}");
        }
        if !has_images(stage) {
            return;
        }
        let server = Server::with(stage, &["--wall", "vm", "--allow-emulation", "--warm", "2"]);
        if let Some(package) = python(PYTHON) {
            let modules = ["test_machine", "test_sync", "test_async"];
            python_tests(&server, package.path(), &modules);
        }
        if std::env::var_os(ALL).is_none() {
            return println!("left out: the tests in JavaScript ({ALL}=1 runs them)");
        }
        if let Some(package) = npm(&[JAVASCRIPT]) {
            let files = ["machine.test.mjs", "sdk.test.mjs"];
            javascript_tests(&server, package.path(), &files);
        }
    });
}

fn has_images(stage: &Stage) -> bool {
    comes(
        stage
            .casemate()
            .args(["vm", "setup", "--allow-emulation", "--disk", "2G"])
            .args(["--packages", PACKAGES]),
    )
}
