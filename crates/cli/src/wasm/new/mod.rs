//! `casemate wasm new`: a folder to begin a canister with.

use crate::printer;
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// In what a canister is written.
#[derive(Clone, Copy, ValueEnum)]
enum Language {
    /// Motoko, by its compiler from npm
    Motoko,
    /// Rust, with ic-cdk
    Rust,
    /// C, without a library
    C,
    /// The text form of Wasm: nothing has to be built
    Wat,
}

// The flags of `new`.
#[derive(Args)]
pub(super) struct NewArgs {
    /// In what it is written
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    lang: Language,
    /// The folder to make; its last part is the canister's name
    #[arg(value_name = "NAME")]
    folder: PathBuf,
}

/// A file of a language's template.
type File = (&'static str, &'static str);

const INTERFACE: File = ("counter.did", include_str!("counter.did"));

impl Language {
    fn files(self) -> &'static [File] {
        match self {
            Self::Motoko => &[
                ("counter.mo", include_str!("motoko/counter.mo")),
                ("build.mjs", include_str!("motoko/build.mjs")),
                ("package.json", include_str!("motoko/package.json")),
                (".gitignore", "/counter.wasm\n/node_modules\n"),
            ],
            Self::Rust => &[
                ("src/lib.rs", include_str!("rust/lib.rs")),
                ("Cargo.toml", include_str!("rust/Cargo.toml")),
                ("Makefile", include_str!("rust/Makefile")),
                (".gitignore", "/counter.wasm\n/target\n"),
            ],
            Self::C => &[
                ("counter.c", include_str!("c/counter.c")),
                ("Makefile", include_str!("c/Makefile")),
                (".gitignore", "/counter.wasm\n"),
            ],
            Self::Wat => &[("counter.wat", include_str!("wat/counter.wat"))],
        }
    }

    /// What builds it, a line each; and the module that comes of it.
    fn build(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Motoko => (&["npm install", "node build.mjs"], "counter.wasm"),
            Self::Rust => (
                &["rustup target add wasm32-unknown-unknown", "make"],
                "counter.wasm",
            ),
            Self::C => (&["make"], "counter.wasm"),
            Self::Wat => (&[], "counter.wat"),
        }
    }

    fn needs(self) -> &'static str {
        match self {
            Self::Motoko => "Node.js with npm; the compiler is a package of npm's.",
            Self::Rust => "Rust 1.88 or newer by rustup, and make.",
            Self::C => "clang, lld and make: `apt-get install clang lld make` on Debian.",
            Self::Wat => "Nothing: Casemate reads the text form itself.",
        }
    }
}

/// Makes the folder, and says what to do in it.
pub(super) fn new(args: &NewArgs) -> anyhow::Result<ExitCode> {
    let name = name(&args.folder)?;
    match DirBuilder::new().create(&args.folder) {
        Err(why) if why.kind() == ErrorKind::AlreadyExists => bail!(
            "make the folder {}: there is one already\nhint: another NAME; nothing is overwritten",
            args.folder.display()
        ),
        made => made.with_context(|| format!("make the folder {}", args.folder.display()))?,
    }
    let readme = readme(args.lang, name);
    let files = args.lang.files().iter().chain([&INTERFACE]);
    for (path, text) in files.copied().chain([("README.md", readme.as_str())]) {
        write(&args.folder.join(path), &text.replace("{{name}}", name))?;
    }
    let commands = commands(args.lang, name);
    printer::say(&format!("cd {}\n{commands}", args.folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The canister's name, which is a crate's and a package's as well.
fn name(folder: &Path) -> anyhow::Result<&str> {
    let name = folder.file_name().and_then(|name| name.to_str());
    let is_plain = |name: &&str| {
        let mut letters = name.chars();
        letters
            .next()
            .is_some_and(|first| first.is_ascii_lowercase())
            && letters.all(|letter| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_".contains(letter)
            })
            && name.len() <= 64
    };
    match name.filter(is_plain) {
        Some(name) => Ok(name),
        None => bail!(
            "call a canister {}: a name is a small letter, and then small letters, digits, - and _\nhint: casemate wasm new --lang wat counter",
            folder.display()
        ),
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).create(folder)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// From the source to a call.
fn commands(language: Language, name: &str) -> String {
    let (build, module) = language.build();
    let build = build.iter().map(|command| format!("{command}\n"));
    let build: String = build.collect();
    format!(
        "{build}casemate wasm install {module} --name {name}\n\
         casemate wasm call {name} increment 2\n\
         casemate wasm query {name} get\n"
    )
}

fn readme(language: Language, name: &str) -> String {
    let needs = language.needs();
    let commands = commands(language, name);
    let (_, module) = language.build();
    format!(
        "# {name}\n\n\
         A counter, as a canister: a Wasm module whose memory survives its calls. `counter.did` says\n\
         what its methods take and return.\n\n\
         {needs}\n\n\
         ```sh\n{commands}```\n\n\
         After a change, build it again; an upgrade keeps its stable memory:\n\n\
         ```sh\ncasemate wasm upgrade {module} --name {name}\n```\n"
    )
}
