//! What a canister says of its methods.

use super::LONGEST_TEXT;
use super::MOST_TYPES;
use super::fault::{Wrong, quoted};
use super::names::Names;
use super::token::{Kind, Words};
use super::types::{Types, ground, traced};
use candid::types::{Function, Type, TypeEnv, TypeInner};

/// The service of a canister.
#[derive(Default)]
pub(super) struct Interface {
    /// Its named types.
    pub(super) env: TypeEnv,
    /// What fields are called.
    pub(super) names: Names,
    /// Types of the arguments of `canister_init`, if it says which.
    pub(super) init: Option<Vec<Type>>,
    methods: Vec<(String, Type)>,
}

impl Interface {
    /// Reads `type N = …; service : (…) -> { … }`.
    pub(super) fn read(text: &str) -> Result<Self, Wrong> {
        if text.len() > LONGEST_TEXT {
            let why = format!("it is longer than {LONGEST_TEXT} bytes");
            return Err(Wrong::new(why));
        }
        let mut words = Words::of(text)?;
        let mut types = Types::default();
        let mut interface = Self::default();
        while words.peek().kind == Kind::Word("type") {
            interface.definition(&mut words, &mut types)?;
            if !words.takes(';')? {
                break;
            }
        }
        if words.peek().kind == Kind::Word("import") {
            let why = "it imports another file, which isn't in the module";
            return Err(Wrong::at(words.at(), why));
        }
        let service = match words.takes_word("service")? {
            true => Some(interface.service(&mut words, &mut types)?),
            false => None,
        };
        words.takes(';')?;
        if words.peek().kind != Kind::End {
            return Err(words.unexpected("a type or a service"));
        }
        types.known(&interface.env)?;
        ground(&mut interface.env)?;
        interface.names = std::mem::take(&mut types.names);
        if let Some(service) = service {
            interface.methods = interface.methods_of(&service)?;
        }
        Ok(interface)
    }

    fn definition(&mut self, words: &mut Words<'_>, types: &mut Types) -> Result<(), Wrong> {
        words.take()?;
        let at = words.at();
        let Kind::Word(name) = words.peek().kind else {
            return Err(words.unexpected("a type's name"));
        };
        words.take()?;
        words.expect('=')?;
        let ty = types.read(words)?;
        if self.env.0.len() == MOST_TYPES {
            return Err(Wrong::at(
                at,
                format!("it names more than {MOST_TYPES} types"),
            ));
        }
        match self.env.0.insert(name.to_owned(), ty) {
            Some(_) => Err(Wrong::at(
                at,
                format!("the type {} is there twice", quoted(name)),
            )),
            None => Ok(()),
        }
    }

    fn service(&mut self, words: &mut Words<'_>, types: &mut Types) -> Result<Type, Wrong> {
        if matches!(words.peek().kind, Kind::Word(_)) {
            words.take()?;
        }
        words.expect(':')?;
        self.init = match words.peek().kind {
            Kind::Mark('(') => {
                let init = types.tuple(words)?;
                words.expect('>')?;
                Some(init)
            }
            _ => None,
        };
        match words.peek().kind {
            Kind::Mark('{') => Ok(TypeInner::Service(types.methods(words)?).into()),
            Kind::Word(_) => types.read(words),
            _ => Err(words.unexpected("a service")),
        }
    }

    fn methods_of(&self, service: &Type) -> Result<Vec<(String, Type)>, Wrong> {
        match traced(&self.env, service).as_ref() {
            TypeInner::Service(methods) => Ok(methods.clone()),
            _ => Err(Wrong::new("its service isn't one")),
        }
    }

    /// The types of a method.
    pub(super) fn method(&self, name: &str) -> Option<&Function> {
        let at = self
            .methods
            .binary_search_by(|(known, _)| known.as_str().cmp(name));
        match traced(&self.env, &self.methods.get(at.ok()?)?.1).as_ref() {
            TypeInner::Func(function) => Some(function),
            _ => None,
        }
    }
}
