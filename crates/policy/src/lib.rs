//! The policy document: what a sandbox may see, as whom it runs, and where it may go.
//!
//! A policy is a small YAML file. This crate turns it into a [`Document`] or says, with line and
//! column, everything that is wrong with it. It touches nothing but the file. What the policy says of
//! the network is [compiled] into a matcher that decides about connections and requests.
//!
//! ```text
//! file ──load──▶ text ──syntax──▶ Node tree ──extends──▶ with its bases ──one reader a section──▶ Document
//!                  │                 │                                           │
//!                  └─────────────────┴────────────── Report ◀────────────────────┘
//!                                         every problem, each with its position
//! ```
//!
//! Nothing is guessed. An unknown field, a misspelt value, a key given twice or a path that could
//! mean two things is a [`PolicyError`]: a policy that means less than its author believes is worse
//! than none. The error lists all the problems of the file, so that it's corrected in one go; only
//! text that isn't YAML ends the reading at the first problem.
//!
//! What is allowed and probably not meant is a warning with a [`Lint`]. OpenShell, whose format
//! this is, accepts some of what is an error here; [`ReadOptions`] can ask for the same. [`fmt`]
//! gives a policy's text the layout in which it's best read.
//!
//! [Credentials](credentials) that a run is given are a file of their own, read in the same way.
//!
//! For people who want to know what a policy does, a [`Judge`] answers a [`Question`] and explains
//! the answer, [`cases`] are questions with the answers expected, and [`learn`](learn::learn) makes
//! the least policy that allows what was seen.
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
pub mod cases;
pub mod compiled;
pub mod credentials;
mod document;
mod error;
mod extends;
mod fields;
mod filesystem;
mod format;
mod judge;
mod landlock;
pub mod learn;
mod lint;
mod lists;
mod load;
pub mod network;
mod node;
mod paths;
mod position;
mod process;
mod question;
mod quote;
#[cfg(feature = "rego")]
pub mod rego;
mod report;
mod schema;
mod stop;
mod suggest;
mod syntax;
mod values;

pub use carriers::Carriers;
pub use document::Document;
pub use error::{PolicyError, Problem};
pub use filesystem::FilesystemPolicy;
pub use format::fmt;
pub use judge::{Judge, Outcome, Ruling};
pub use landlock::{Compatibility, Landlock};
pub use lint::Lint;
pub use load::{MAX_FILE_BYTES, text};
pub use paths::{MAX_PATH_BYTES, MAX_PATHS};
pub use position::{Located, Position};
pub use process::{Account, Process};
pub use question::{Asked, Question};
pub use report::ReadOptions;
