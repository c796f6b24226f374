//! The policy document: what a sandbox may see, as whom it runs, and where it may go.
//!
//! A policy is a small YAML file. This crate turns it into a [`Document`] or says, with line and
//! column, everything that is wrong with it. It decides nothing and touches nothing but the file.
//!
//! ```text
//! file ──load──▶ text ──syntax──▶ Node tree ──one reader a section──▶ Document
//!                  │                 │                 │
//!                  └─────────────────┴── Report ◀──────┘  every problem, each with its position
//! ```
//!
//! Nothing is guessed. An unknown field, a misspelt value, a key given twice or a path that could
//! mean two things is a [`PolicyError`]: a policy that means less than its author believes is worse
//! than none. The error lists all the problems of the file, so that it's corrected in one go; only
//! text that isn't YAML ends the reading at the first problem.
//!
//! Values that a caller may have to complain about later, such as a path that doesn't exist on this
//! machine, are [`Located`]: they remember where in the file they were written.
//!
//! ```
//! use casemate_policy::Document;
//!
//! let policy = Document::parse(
//!     "policy.yaml",
//!     "version: 1\nfilesystem_policy: { read_only: [/usr] }\n",
//! )?;
//! let usr = &policy.filesystem_policy.read_only[0];
//! assert_eq!(policy.at(usr.position), "policy.yaml:2:34");
//!
//! let refused = Document::parse("policy.yaml", "version: 1\nfilesystem: {}\n").unwrap_err();
//! assert_eq!(
//!     refused.to_string(),
//!     "policy.yaml:2:1: unknown field `filesystem`\nhint: did you mean `filesystem_policy`?"
//! );
//! # Ok::<(), casemate_policy::PolicyError>(())
//! ```

mod carriers;
mod document;
mod error;
mod fields;
mod filesystem;
mod landlock;
mod load;
mod node;
mod opaque;
mod paths;
mod position;
mod process;
mod stop;
mod suggest;
mod syntax;

pub use carriers::Carriers;
pub use document::Document;
pub use error::{PolicyError, Problem};
pub use filesystem::FilesystemPolicy;
pub use landlock::{Compatibility, Landlock};
pub use load::MAX_FILE_BYTES;
pub use opaque::Opaque;
pub use paths::{MAX_PATH_BYTES, MAX_PATHS};
pub use position::{Located, Position};
pub use process::{Account, Process};
