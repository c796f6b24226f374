//! A real browser, Debian's Chromium, at programs in a sandbox: `tests/browser`.
//!
//! `python -m http.server`, a Jupyter notebook with its kernel, and a Next.js dev server with hot
//! reload run inside, each found at a host of its own and below a path, while somebody types at a
//! terminal of the same sandbox; how long the keys take is printed. Then a page of another origin
//! uses the platform by E2B's client. All of it is run as root and as an ordinary user.
//!
//! The packages come from their indexes by the ordinary clients. On a machine that reaches none,
//! these tests say so and are skipped.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/packages.rs"]
mod packages;
#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/serving.rs"]
mod serving;
mod support;

use packages::{npm, python};
use sandbox::{Stage, both};
use serving::Serving;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{has, works};

both!(programs_and_pages);

/// The versions that `tests/browser` is written for.
const NOTEBOOK: &str = "notebook==7.6.5";
const NEXT: &[&str] = &["next@16.4.6", "react@19.3.1", "react-dom@19.3.1"];
const DRIVER: &[&str] = &["playwright-core@1.65.1", "e2b@2.51.0", "esbuild@0.28.2"];

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What a program inside is made of, as an archive of this folder's contents.
fn archive(folder: &Path, archive: PathBuf) {
    let mut tar = Command::new("tar");
    works(tar.arg("-cf").arg(archive).arg("-C").arg(folder).arg("."));
}

fn programs_and_pages(stage: &Stage) {
    if !has(&["/usr/bin/chromium"]) {
        return;
    }
    let packages = || Some((npm(DRIVER)?, python(NOTEBOOK)?, npm(NEXT)?));
    let Some((driver, notebook, next)) = packages() else {
        return;
    };
    archive(
        &notebook.path().join("venv"),
        driver.path().join("venv.tar"),
    );
    archive(next.path(), driver.path().join("next.tar"));
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/browser");
    for source in std::fs::read_dir(sources).unwrap().map(Result::unwrap) {
        std::fs::copy(source.path(), driver.path().join(source.file_name())).unwrap();
    }

    let serving = Serving::new(stage);
    let url = format!("http://{}", serving.address);
    works(
        Command::new("node")
            .args(["--test", "browser.test.mjs"])
            .current_dir(driver.path())
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .env("HOME", driver.path())
            .env("E2B_API_KEY", serving.key.as_deref().unwrap())
            .env("E2B_API_URL", &url)
            .env("E2B_SANDBOX_URL", &url),
    );
}
