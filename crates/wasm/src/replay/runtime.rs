//! What a call's outcome depends on besides the call: the program that runs it.

use crate::guest;
use crate::module;
use crate::process::BuildId;
use casemate_core::hex;
use serde::{Deserialize, Serialize};

/// Grows when the same call comes to something else than before: another price of an instruction,
/// another answer of a system call, another form of records.
const SEMANTICS: u32 = 1;
/// The version of wasmtime that is built in.
const WASMTIME: &str = "48.0.8";

/// A program that runs canisters, as far as it matters to what comes of calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// The meaning that it gives to calls.
    pub semantics: u32,
    /// The version of wasmtime.
    pub wasmtime: String,
    /// How that is set: a hash of its settings.
    pub settings: String,
    /// The proposals of WebAssembly that a module may use.
    pub features: Vec<String>,
    /// Which build of this program: told, but another may come to the same.
    pub build: String,
}

impl Runtime {
    /// This program.
    ///
    /// # Errors
    /// It can't say which build it is, or has no compiler for this processor.
    pub fn own() -> Result<Self, String> {
        let build = BuildId::own().map_err(|why| why.to_string())?;
        let settings = guest::settings().map_err(|why| why.to_string())?;
        Ok(Self {
            semantics: SEMANTICS,
            wasmtime: WASMTIME.to_owned(),
            settings: hex::encode(&settings[..8]),
            features: module::features(),
            build: hex::encode(&build.0[..8]),
        })
    }

    /// What is different in another one so that calls may come to something else.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let pair = |what: &str, own: &dyn std::fmt::Display, other: &dyn std::fmt::Display| {
            Some(format!("{what} {own} and {other}"))
        };
        if self.semantics != other.semantics {
            return pair("semantics", &self.semantics, &other.semantics);
        }
        if self.wasmtime != other.wasmtime {
            return pair("wasmtime", &self.wasmtime, &other.wasmtime);
        }
        if self.features != other.features {
            let (own, other) = (self.features.join(", "), other.features.join(", "));
            return pair("the features", &own, &other);
        }
        match self.settings == other.settings {
            false => pair("wasmtime's settings", &self.settings, &other.settings),
            true => None,
        }
    }
}

impl std::fmt::Display for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "semantics {}, wasmtime {} ({}), build {}, {}",
            self.semantics,
            self.wasmtime,
            self.settings,
            self.build,
            self.features.join(" ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_wasmtime_that_is_built_in() {
        let lock = include_str!("../../../../Cargo.lock");
        let package = format!("name = \"wasmtime\"\nversion = \"{WASMTIME}\"");
        assert!(lock.contains(&package), "WASMTIME is to follow Cargo.lock");
    }

    #[test]
    fn a_difference_is_named() {
        let own = Runtime::own().unwrap();
        assert_eq!(own, Runtime::own().unwrap());
        let other = |change: &dyn Fn(&mut Runtime)| {
            let mut other = own.clone();
            change(&mut other);
            own.difference(&other)
        };
        assert_eq!(other(&|_| {}), None);
        assert_eq!(other(&|other| other.build.clear()), None);
        let said = other(&|other| other.semantics = 9).unwrap();
        assert_eq!(said, format!("semantics {SEMANTICS} and 9"));
        let said = other(&|other| other.wasmtime = "1.2.3".to_owned()).unwrap();
        assert_eq!(said, format!("wasmtime {WASMTIME} and 1.2.3"));
        assert!(
            other(&|other| other.features.clear())
                .unwrap()
                .contains("features")
        );
        assert!(
            other(&|other| other.settings.clear())
                .unwrap()
                .contains("settings")
        );
        assert!(own.to_string().contains("wasmtime 48"));
    }
}
