//! What there may be too many of.

use std::fmt;

/// What is counted in [`Refusal::TooMany`](super::Refusal::TooMany).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Types.
    Types,
    /// Imports.
    Imports,
    /// Functions.
    Functions,
    /// Bytes of code.
    CodeBytes,
    /// What the functions cost the compiler.
    Complexity,
    /// Globals.
    Globals,
    /// Entries of tables.
    TableEntries,
    /// Exported methods.
    Methods,
    /// Bytes of their names.
    MethodNameBytes,
    /// Metadata sections.
    Metadata,
    /// Bytes of them.
    MetadataBytes,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Types => "types",
            Self::Imports => "imports",
            Self::Functions => "functions",
            Self::CodeBytes => "bytes of code",
            Self::Complexity => "instructions, locals and branch targets",
            Self::Globals => "globals",
            Self::TableEntries => "table entries",
            Self::Methods => "exported methods",
            Self::MethodNameBytes => "bytes of method names",
            Self::Metadata => "metadata sections",
            Self::MetadataBytes => "bytes of metadata",
        })
    }
}
