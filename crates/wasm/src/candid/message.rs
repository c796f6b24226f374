//! Arguments and replies, as bytes and as text.

use super::fault::{Fault, Wrong};
use super::interface::Interface;
use super::value::Typist;
use super::{MOST_ARGUMENTS, QUOTA, json, print, syntax};
use candid::types::Type;
use candid::types::value::{IDLArgs, IDLValue};
use candid::{DecoderConfig, TypeEnv};

/// The stack of the thread that reads and writes: types of an interface are followed to their ends.
const STACK: usize = 64 << 20;

/// Whose types are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of<'a> {
    /// Those of a method.
    Method(&'a str),
    /// Those that a canister is installed with.
    Init,
}

/// An argument, as somebody gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument<'a> {
    /// `(1, "x")`, or one value without brackets.
    Candid(&'a str),
    /// `[1, "x"]`, or one value that is no list.
    Json(&'a str),
    /// None: nothing, or what a method takes that takes only what may be left out.
    Nothing,
}

/// What a reply is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text of Candid.
    Candid,
    /// One line of JSON.
    Json,
}

/// The bytes of an argument. `interface` is what the canister says of itself, if it does.
pub fn argument(
    interface: Option<&str>,
    of: Of<'_>,
    given: Argument<'_>,
) -> Result<Vec<u8>, Fault> {
    apart("make the argument", || write(interface, of, given))
}

/// A reply as text.
pub fn reply(
    interface: Option<&str>,
    of: Of<'_>,
    bytes: &[u8],
    form: Form,
) -> Result<String, Fault> {
    apart("read the reply", || {
        read(interface, of, bytes, form).map_err(|why| Fault {
            what: "read the reply as Candid".to_owned(),
            why,
            hint: Some("--output hex or --output raw gives it as it is".to_owned()),
        })
    })
}

/// Does it on another stack, whose size is known.
fn apart<T: Send>(what: &str, work: impl FnOnce() -> Result<T, Fault> + Send) -> Result<T, Fault> {
    let failed = |why: &str| Fault {
        what: what.to_owned(),
        why: why.to_owned(),
        hint: None,
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        match thread.spawn_scoped(scope, work) {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|_| Err(failed("its thread failed"))),
            Err(why) => Err(failed(&format!("no thread for it could be started: {why}"))),
        }
    })
}

/// What is known of the types.
struct Known {
    interface: Interface,
    arguments: Option<Vec<Type>>,
    results: Option<Vec<Type>>,
}

impl Known {
    fn of(text: Option<&str>, of: Of<'_>) -> Result<Self, Wrong> {
        let interface = text.map(Interface::read).transpose()?.unwrap_or_default();
        let (arguments, results) = match of {
            Of::Init => (interface.init.clone(), None),
            Of::Method(name) => match interface.method(name) {
                Some(method) => (Some(method.args.clone()), Some(method.rets.clone())),
                None => (None, None),
            },
        };
        Ok(Self {
            interface,
            arguments,
            results,
        })
    }
}

fn write(interface: Option<&str>, of: Of<'_>, given: Argument<'_>) -> Result<Vec<u8>, Fault> {
    let known = Known::of(interface, of).map_err(|why| {
        let fault = why.in_text(
            "read the canister's interface",
            interface.unwrap_or_default(),
        );
        Fault {
            hint: Some("give the argument as bytes, by --arg-hex".to_owned()),
            ..fault
        }
    })?;
    let typist = Typist {
        env: &known.interface.env,
        names: &known.interface.names,
    };
    let (values, types) = match (given, known.arguments) {
        // Nothing is known, and nothing said.
        (Argument::Nothing, None) => return Ok(Vec::new()),
        (Argument::Nothing, Some(types)) => {
            let values = typist.arguments(&[], &types);
            (
                values.map_err(|why| usage(why.in_text("make the argument", "")))?,
                types,
            )
        }
        (Argument::Candid(text), types) => {
            let wrong = |why: Wrong| why.in_text("read the argument", text);
            let written = syntax::read(text).map_err(wrong)?;
            let types = match types {
                Some(types) => types,
                None => typist.guesses(&written).map_err(wrong)?,
            };
            (typist.arguments(&written, &types).map_err(wrong)?, types)
        }
        (Argument::Json(text), types) => {
            let wrong = |why: Wrong| why.in_text("read the argument", text);
            json::read(text, typist, types).map_err(wrong)?
        }
    };
    let bytes = IDLArgs::new(&values).to_bytes_with_types(&known.interface.env, &types);
    bytes.map_err(|why| Fault {
        what: "make the argument".to_owned(),
        why: short(&why),
        hint: None,
    })
}

fn usage(fault: Fault) -> Fault {
    Fault {
        hint: Some("casemate wasm call NAME METHOD '(1, \"x\")'".to_owned()),
        ..fault
    }
}

fn read(interface: Option<&str>, of: Of<'_>, bytes: &[u8], form: Form) -> Result<String, String> {
    // Replies can be read without the canister's word for their types.
    let known = Known::of(interface, of).or_else(|_| Known::of(None, of));
    let known = known.map_err(|why| why.why)?;
    if !bytes.starts_with(b"DIDL") {
        return Err("it doesn't begin with DIDL, as Candid does".to_owned());
    }
    let mut config = DecoderConfig::new();
    config
        .set_skipping_quota(QUOTA)
        .set_full_error_message(false);
    let env = &known.interface.env;
    let values = values(bytes, env, known.results.as_deref(), &config)?;
    let names = &known.interface.names;
    let checked = values.iter().try_for_each(|value| print::check(value, 0));
    let printed = checked.and_then(|()| match form {
        Form::Candid => print::values(&values, names),
        Form::Json => json::write(&values, names),
    });
    printed.map_err(|why| why.to_string())
}

fn values(
    bytes: &[u8],
    env: &TypeEnv,
    types: Option<&[Type]>,
    config: &DecoderConfig,
) -> Result<Vec<IDLValue>, String> {
    let read = match types {
        Some(types) => IDLArgs::from_bytes_with_types_with_config(bytes, env, types, config),
        None => {
            let mut reader = candid::de::IDLDeserialize::new_with_config(bytes, config)
                .map_err(|why| short(&why))?;
            let mut args = Vec::new();
            let any = candid::types::TypeInner::Unknown.into();
            while !reader.is_done() {
                if args.len() == MOST_ARGUMENTS {
                    return Err(format!("it has more than {MOST_ARGUMENTS} values"));
                }
                let value = reader.get_value_with_type(env, &any);
                args.push(value.map_err(|why| short(&why))?);
            }
            reader.done().map(|()| IDLArgs { args })
        }
    };
    read.map(|read| read.args).map_err(|why| short(&why))
}

/// What the crate says, of which a part may be the canister's words.
fn short(why: &candid::Error) -> String {
    let why = match why {
        candid::Error::Custom(why) => format!("{why:#}"),
        other => other.to_string(),
    };
    why.chars().take(300).flat_map(char::escape_debug).collect()
}
