//! `--credentials` and `--credential`: secrets that the program can use and not see.
//!
//! Everything that could give a secret away is checked before the run: variables, arguments, and
//! files that the program would see. Inside there are placeholders only.

mod fetch;
mod view;

use casemate_core::error::{Error, Result};
use casemate_core::spec::{EnvRule, Network, SandboxSpec};
use casemate_egress::credentials as store;
use casemate_egress::credentials::sigv4::AwsCredentials;
use casemate_egress::credentials::{Binding, Secret, SigningKeys};
use casemate_policy::credentials::{Credential, Credentials, Form, Holds, Place, Source, short};
use casemate_policy::network::{Endpoint, Tls};
use casemate_policy::{Document, Located};
use clap::Args;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What AWS's programs find inside: their signatures are replaced.
const AWS_VARIABLES: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "CASEMATEPLACEHOLDER0"),
    (
        "AWS_SECRET_ACCESS_KEY",
        "casemate/placeholder/it/signs/nothing/00",
    ),
];

/// A shorter secret may stand in a text by chance.
const LEAST_TELLING: usize = 8;

// The flags; a doc comment would take the place of what is said of the command.
#[derive(Args, Clone, Default)]
pub(crate) struct CredentialArgs {
    /// Let the program use the secrets that a file names, without seeing them
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// Let it use one: NAME[=env:VAR|=file:PATH]@HOST[:PORT][/PATH]
    #[arg(long, value_name = "NAME@HOST", value_parser = short)]
    credential: Vec<Credential>,
}

/// The credentials of a run.
#[derive(Clone, Default)]
pub(crate) struct Given {
    file: Credentials,
    /// Those of the file, and then those of the command line.
    all: Vec<Credential>,
    /// Ready to be used.
    pub(crate) store: Arc<store::Credentials>,
}

impl CredentialArgs {
    /// Whether any is to be given.
    pub(crate) fn asks(&self) -> bool {
        self.credentials.is_some() || !self.credential.is_empty()
    }

    /// Reads what is asked for and the secrets themselves, and puts placeholders into the
    /// environment of the run. With what should be said about it.
    ///
    /// # Errors
    /// A file is wrong, a secret can't be had, or the program would see one.
    pub(crate) fn give(
        &self,
        spec: &mut SandboxSpec,
        document: Option<&Document>,
    ) -> Result<(Given, Vec<String>)> {
        let document = document.filter(|_| spec.network == Network::Policy);
        if self.credentials.is_none() && self.credential.is_empty() {
            let none = Given::default();
            let notes = document.map(|document| none.check(document)).transpose()?;
            return Ok((none, notes.unwrap_or_default()));
        }
        let Some(document) = document else {
            let why = "nothing can fill them in for this run";
            return Err(Error::rule("give credentials", why)
                .hint("use a policy that has network_policies: --policy FILE"));
        };
        let file = match &self.credentials {
            None => Credentials::default(),
            Some(path) => {
                view::refuse_writable(path, spec)?;
                Credentials::load(path)
                    .map_err(|error| Error::rule("give credentials", format!("\n{error}")))?
            }
        };
        let mut given = Given {
            all: file
                .entries
                .iter()
                .chain(&self.credential)
                .cloned()
                .collect(),
            file,
            store: Arc::default(),
        };
        given.check_names(&spec.env)?;
        let mut notes = given.check(document)?;
        // A crash would write them down.
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(Resource::Core, none)
            .map_err(|errno| Error::errno("turn core dumps off", errno.raw_os_error()))?;
        given.fetch(spec, &mut notes)?;
        given.placeholders(spec);
        Ok((given, notes))
    }
}

impl Given {
    /// Hides the memory that the secrets are in from others of the same user. Not before the
    /// sandbox is there: until then, its identities are mapped through files of this process in
    /// /proc, which are root's from here on.
    ///
    /// # Errors
    /// The kernel doesn't.
    pub(crate) fn hide(&self) -> Result<()> {
        if self.all.is_empty() {
            return Ok(());
        }
        casemate_sys::privilege::undumpable()
            .map_err(|errno| Error::errno("hide the secrets", errno.raw_os_error()))
    }

    /// Where an entry of the file stands, or which flag it is.
    fn origin<T>(&self, credential: &Credential, part: &Located<T>) -> String {
        match self.file.entries.contains(credential) {
            true => self.file.at(part.position),
            false => format!("--credential {}", credential.key.value),
        }
    }

    /// The caller's own flags must not set what placeholders are in, or pass what is secret.
    fn check_names(&self, rules: &[EnvRule]) -> Result<()> {
        for (index, own) in self.all.iter().enumerate() {
            let refuse =
                |why: String| Error::rule("give credentials", why).on(self.origin(own, &own.key));
            let same = |other: &&Credential| {
                other.env.is_some()
                    && other.env.as_ref().map(|env| &env.value)
                        == own.env.as_ref().map(|env| &env.value)
                    || other.key.value == own.key.value
            };
            if self.all[..index].iter().any(|other| same(&other)) {
                let name = &own.key.value;
                return Err(refuse(format!("there are two credentials for `{name}`")));
            }
            let sources = own
                .holds
                .sources()
                .filter_map(|source| match &source.value {
                    Source::Env(name) => Some(name.as_str()),
                    Source::File(_) | Source::Command(_) => None,
                });
            let secret: Vec<_> = sources.collect();
            for rule in rules {
                let (name, passes) = match rule {
                    EnvRule::Pass(name) => (name, true),
                    EnvRule::Set(name, _) => (name, false),
                };
                if own
                    .env
                    .as_ref()
                    .is_some_and(|env| OsStr::new(&env.value) == name)
                {
                    let why = format!("--env {} is for the same variable", name.display());
                    return Err(refuse(why).hint("leave --env out: the program gets a placeholder"));
                }
                if passes && secret.iter().any(|own| OsStr::new(own) == name) {
                    let why = format!("--env {} would show the program the secret", name.display());
                    return Err(refuse(why).hint("leave it out"));
                }
            }
        }
        Ok(())
    }

    /// Whether the policy lets credentials be filled in where they are bound, and what is odd.
    ///
    /// # Errors
    /// They are bound to where nothing looks at what is said.
    pub(crate) fn check(&self, document: &Document) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        let endpoints = || {
            let entries = document.network.entries.iter();
            entries.flat_map(|entry| &entry.endpoints)
        };
        for own in &self.all {
            for place in &own.endpoints {
                let meets = |endpoint: &&Endpoint| {
                    place
                        .ports
                        .iter()
                        .any(|port| endpoint.meets(&place.host, *port))
                };
                let unseen = |endpoint: &&Endpoint| {
                    let seen = endpoint.needs_inspection() && endpoint.tls != Tls::Skip;
                    !seen && !endpoint.allow_uninspected_credentials
                };
                if let Some(endpoint) = endpoints().filter(meets).find(unseen) {
                    return Err(uninspected(document, endpoint, own));
                }
                if endpoints().find(meets).is_none() {
                    let (name, shown) = (&own.key.value, shown(place));
                    notes.push(format!(
                        "the credential `{name}` is for {shown}, where the policy opens nothing"
                    ));
                }
            }
        }
        for endpoint in endpoints() {
            if let Some(provider) = &endpoint.credential_provider
                && !self.all.iter().any(|own| own.key.value == provider.value)
            {
                notes.push(format!(
                    "{}: there is no credential `{}`, so none is used there",
                    document.at(provider.position),
                    provider.value
                ));
            }
            if endpoint.signing.is_some() && !self.signs_for(endpoint) {
                let place = document.at(endpoint.position);
                notes.push(format!(
                    "{place}: no AWS keys are bound to this endpoint, so all requests are refused"
                ));
            }
        }
        Ok(notes)
    }

    fn signs_for(&self, endpoint: &Endpoint) -> bool {
        let aws = self.all.iter();
        let aws = aws.filter(|own| matches!(own.holds, Holds::Aws { .. }));
        let mut places = aws.flat_map(|own| &own.endpoints);
        places.any(|place| {
            let mut ports = place.ports.iter();
            ports.any(|port| endpoint.meets(&place.host, *port))
        })
    }

    fn fetch(&mut self, spec: &SandboxSpec, notes: &mut Vec<String>) -> Result<()> {
        let mut store = store::Credentials::default();
        for own in &self.all {
            let bindings = own.endpoints.iter().map(bindings);
            let bindings = bindings.collect::<Result<Vec<_>>>()?.concat();
            let mut fetch = |source: &Located<Source>| {
                let origin = self.origin(own, source);
                let bytes = fetch::fetch(&source.value, spec, notes);
                bytes.map_err(|error| match error.object {
                    None => error.on(&origin),
                    Some(_) => error,
                })
            };
            let mut secret = |source: &Located<Source>| {
                let bytes = fetch(source)?;
                refuse_shown(&bytes, spec, &self.origin(own, source))?;
                kept(&bytes)
            };
            let provider = own.key.value.clone();
            match &own.holds {
                Holds::Secret(source) => {
                    let mut credential =
                        store::Credential::new(provider, secret(source)?, bindings);
                    credential.injection = own.inject.as_ref().map(|inject| store::Injection {
                        header: inject.header.clone(),
                        form: form(&inject.form),
                    });
                    match &own.env {
                        Some(env) => store.insert(&env.value, credential),
                        None => store.add(credential),
                    }
                }
                Holds::Aws {
                    access_key_id,
                    secret_access_key,
                    session_token,
                } => {
                    let secret_access_key = secret(secret_access_key)?;
                    let session_token = session_token.as_ref().map(&mut secret).transpose()?;
                    // Each request tells it, so it's no secret.
                    let name = fetch(access_key_id)?;
                    let keys = AwsCredentials {
                        access_key_id: String::from_utf8_lossy(&name).into_owned(),
                        secret_access_key,
                        session_token,
                    };
                    store.sign_with(SigningKeys {
                        provider,
                        keys,
                        bindings,
                    });
                }
            }
        }
        self.store = Arc::new(store);
        Ok(())
    }

    fn placeholders(&self, spec: &mut SandboxSpec) {
        let mut rules = Vec::new();
        for own in &self.all {
            if let Some(env) = &own.env {
                let value = placeholder(own.prefix.as_deref(), &env.value);
                rules.push(EnvRule::Set((&env.value).into(), value.into()));
            }
            if matches!(own.holds, Holds::Aws { .. }) {
                let rule = |(name, value): (&str, &str)| EnvRule::Set(name.into(), value.into());
                rules.extend(AWS_VARIABLES.map(rule));
            }
        }
        // The caller's rules come after these, so that they win.
        spec.env.splice(0..0, rules);
    }
}

/// What stands for a credential inside.
fn placeholder(prefix: Option<&str>, name: &str) -> String {
    match prefix {
        None => format!("casemate:credential:{name}"),
        Some(prefix) => format!("{prefix}OPENSHELL-RESOLVE-ENV-{name}"),
    }
}

fn uninspected(document: &Document, endpoint: &Endpoint, credential: &Credential) -> Error {
    let why = format!(
        "uninspected_credentials: the credential `{}` is bound to this endpoint, and nothing looks \
         at what is said there",
        credential.key.value
    );
    Error::rule("give credentials", why)
        .on(document.at(endpoint.position))
        .hint(
            "say `protocol: rest` with rules, or accept with `allow_uninspected_credentials: true` \
             that the credential is of no use there",
        )
}

fn shown(place: &Place) -> String {
    let ports: Vec<_> = place.ports.iter().map(u16::to_string).collect();
    format!("{}:{}", place.host, ports.join(","))
}

fn bindings(place: &Place) -> Result<Vec<Binding>> {
    let bind = |port: &u16| {
        let binding = Binding::new(&place.host, *port, &place.path);
        let binding = binding
            .map_err(|bad| Error::rule("give credentials", bad.to_string()).on(&place.host))?;
        Ok(match place.secure {
            true => binding,
            false => binding.in_the_clear(),
        })
    };
    place.ports.iter().map(bind).collect()
}

fn form(form: &Form) -> store::Form {
    match form {
        Form::Text(before, after) => store::Form::Text {
            before: before.clone(),
            after: after.clone(),
        },
        Form::Basic(user) => store::Form::Basic { user: user.clone() },
    }
}

fn kept(bytes: &[u8]) -> Result<Secret> {
    Secret::new(bytes)
        .map_err(|errno| Error::errno("keep a secret in memory", errno.raw_os_error()))
}

/// Refuses a secret that the program would be told anyway.
fn refuse_shown(secret: &Zeroizing<Vec<u8>>, spec: &SandboxSpec, origin: &str) -> Result<()> {
    let shows = |text: &OsString| match secret.len() >= LEAST_TELLING {
        true => text
            .as_bytes()
            .windows(secret.len())
            .any(|part| part == &***secret),
        false => text.as_bytes() == &***secret,
    };
    let refuse = |where_: String| {
        Err(
            Error::rule("give credentials", format!("{where_} has the secret in it"))
                .on(origin)
                .hint("the program would see it; let it use the placeholder"),
        )
    };
    if spec.command.iter().any(shows) {
        return refuse("the command line".to_owned());
    }
    for rule in &spec.env {
        let (name, value) = match rule {
            EnvRule::Set(name, value) => (name, Some(value.clone())),
            EnvRule::Pass(name) => (name, std::env::var_os(name)),
        };
        if value.is_some_and(|value| shows(&value)) {
            return refuse(format!("--env {}", name.display()));
        }
    }
    Ok(())
}
