//! One side of a copy, as it is typed.

use std::path::PathBuf;

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A path in a sandbox.
    Sandbox {
        /// What names the sandbox.
        id: String,
        /// Relative ones are in the user's home.
        path: String,
    },
    /// A path on this machine.
    Local(PathBuf),
    /// Standard input or output.
    Stream,
}

impl Place {
    /// A colon before any slash makes a sandbox's; `./` in front makes it a path of this machine.
    pub(super) fn parse(text: &str) -> Self {
        if text == "-" {
            return Self::Stream;
        }
        match text.split_once(':') {
            Some((id, path)) if !id.is_empty() && !id.contains('/') => Self::Sandbox {
                id: id.to_owned(),
                path: path.to_owned(),
            },
            _ => Self::Local(text.into()),
        }
    }
}

/// The folder and the name of a path in a sandbox; `None` if it has no name of its own.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.trim_end_matches('/');
    let (folder, name) = match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((folder, name)) => (folder, name),
        None => ("", path),
    };
    let named = !matches!(name, "" | "." | ".." | "~");
    named.then_some((folder, name))
}

/// A name in a folder of a sandbox.
pub(super) fn join(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        folder => format!("{}/{name}", folder.trim_end_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_names_a_sandbox() {
        let sandbox = |id: &str, path: &str| Place::Sandbox {
            id: id.into(),
            path: path.into(),
        };
        assert_eq!(Place::parse("i1:/a:b"), sandbox("i1", "/a:b"));
        assert_eq!(Place::parse("web:"), sandbox("web", ""));
        assert_eq!(Place::parse("-"), Place::Stream);
        for local in ["a", "./a:b", "/a:b", ":a", "a/b:c"] {
            assert_eq!(Place::parse(local), Place::Local(local.into()), "{local}");
        }
    }

    #[test]
    fn a_path_has_a_folder_and_a_name() {
        for (path, parts) in [
            ("/a/b", Some(("/a", "b"))),
            ("/a/", Some(("/", "a"))),
            ("a", Some(("", "a"))),
            ("/", None),
            ("", None),
            ("~", None),
            ("a/..", None),
        ] {
            assert_eq!(split(path), parts, "{path}");
        }
        assert_eq!(join("/", "a"), "/a");
        assert_eq!(join("", "a"), "a");
        assert_eq!(join("/x/", "a"), "/x/a");
    }
}
