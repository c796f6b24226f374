//! A question to a policy: may this program say this there?

use std::borrow::Cow;

use crate::compiled::{Ancestor, Request, Subject, Target};

/// A connection, and perhaps a request on it, as people write them down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The executable's absolute path.
    pub binary: String,
    /// Its digest.
    pub sha256: Option<[u8; 32]>,
    /// The script, if the executable is an interpreter that runs one.
    pub script: Option<String>,
    /// The executables of the processes that it comes from, the parent first.
    pub ancestors: Vec<String>,
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The request, unless it's only about the connection.
    pub request: Option<Asked>,
}

/// A request of HTTP. What a body says can't be asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// HTTP's method.
    pub method: String,
    /// The path in its canonical form, without the query.
    pub path: String,
    /// The query, decoded, in its order.
    pub query: Vec<(String, String)>,
}

impl Question {
    /// The question as the matcher takes it.
    pub(crate) fn put<T>(
        &self,
        ask: impl FnOnce(&Subject<'_>, &Target<'_>, Option<&Request<'_>>) -> T,
    ) -> T {
        let ancestors = self.ancestors.iter().map(|path| Ancestor {
            executable: path.as_bytes(),
            ..Ancestor::default()
        });
        let subject = Subject {
            executable: self.binary.as_bytes(),
            sha256: self.sha256.as_ref(),
            script: self.script.as_deref().map(str::as_bytes),
            ancestors: &ancestors.collect::<Vec<_>>(),
        };
        let target = Target {
            host: &self.host,
            port: self.port,
        };
        let Some(asked) = &self.request else {
            return ask(&subject, &target, None);
        };
        let pairs = asked.query.iter();
        let query: Vec<(Cow<'_, str>, Cow<'_, str>)> = pairs
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        let request = Request {
            method: &asked.method,
            path: &asked.path,
            query: &query,
            ..Request::default()
        };
        ask(&subject, &target, Some(&request))
    }

    /// Why a path is none that a program can have.
    pub fn bad_program(path: &str) -> Option<&'static str> {
        match path.strip_prefix('/') {
            None => Some("it must be absolute: programs are known by their absolute path"),
            Some(inner) => bad_components(inner.split('/'))
                .then_some("it has a `.`, `..` or empty component, which no program's path has"),
        }
    }

    /// Why a path is none that a request is judged by.
    pub fn bad_path(path: &str) -> Option<&'static str> {
        let Some(inner) = path.strip_prefix('/') else {
            return Some("it must begin with `/`");
        };
        if path.contains(['?', '#']) {
            return Some("it has a `?` or `#` in it: give the query by itself");
        }
        if inner.is_empty() {
            return None;
        }
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let bad = bad_components(inner.split('/'));
        bad.then_some(
            "it isn't canonical: `.`, `..` and empty components are gone when it's judged",
        )
    }
}

fn bad_components<'a>(mut components: impl Iterator<Item = &'a str>) -> bool {
    components.any(|part| matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::Question;

    #[test]
    fn paths_that_are_never_seen() {
        for (path, program, request) in [
            ("/", false, true),
            ("/a", true, true),
            ("/a/b", true, true),
            ("/a/", false, true),
            ("a", false, false),
            ("", false, false),
            ("//", false, false),
            ("/a//b", false, false),
            ("/a/../b", false, false),
            ("/./a", false, false),
        ] {
            assert_eq!(Question::bad_program(path).is_none(), program, "{path}");
            assert_eq!(Question::bad_path(path).is_none(), request, "{path}");
        }
        assert!(Question::bad_path("/a?b").is_some());
    }
}
