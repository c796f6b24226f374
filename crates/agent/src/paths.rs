//! What a path in a request means.
//!
//! An empty one is the default folder or the user's home; `~` is the home; a relative one is
//! in the home. An absolute one is left as it is, links and all: the sandbox's own kernel
//! resolves it.

use casemate_proto::connectrpc::ConnectError;
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// PATH_MAX of Linux, with the byte that ends it.
const LIMIT: usize = 4096;

/// Why a path means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It has a NUL byte.
    Nul,
    /// It is longer than the kernel takes.
    Long,
    /// It is the home of another user.
    Home(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nul => f.write_str("path has a NUL byte"),
            Self::Long => write!(f, "path is longer than {LIMIT} bytes"),
            Self::Home(path) => write!(f, "cannot expand the home of another user: '{path}'"),
        }
    }
}

impl From<Refused> for ConnectError {
    fn from(refused: Refused) -> Self {
        Self::invalid_argument(refused.to_string())
    }
}

/// The absolute path that `path` means to the user with this home.
pub(crate) fn resolve(path: &str, home: &Path, workdir: Option<&Path>) -> Result<PathBuf, Refused> {
    if path.len() >= LIMIT {
        return Err(Refused::Long);
    }
    if path.contains('\0') {
        return Err(Refused::Nul);
    }
    let resolved = match path {
        "" => workdir.unwrap_or(home).to_owned(),
        "~" => home.to_owned(),
        _ if path.starts_with('/') => PathBuf::from(path),
        _ => match path.strip_prefix('~') {
            Some(rest) if rest.starts_with('/') => below(home, rest.trim_start_matches('/')),
            Some(_) => return Err(Refused::Home(path.to_owned())),
            None => below(home, path),
        },
    };
    match resolved.as_os_str().len() < LIMIT {
        true => Ok(resolved),
        false => Err(Refused::Long),
    }
}

/// `path` in `home`, without `.` and `..`, as clients expect to see it again.
fn below(home: &Path, path: &str) -> PathBuf {
    let mut whole = home.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => whole.push(name),
            Component::ParentDir => {
                whole.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(path: &str) -> Result<PathBuf, Refused> {
        resolve(path, "/home/user".as_ref(), None)
    }

    #[test]
    fn paths_mean_what_clients_expect() {
        for (path, expected) in [
            ("", "/home/user"),
            ("~", "/home/user"),
            ("~/", "/home/user"),
            ("~/a/b", "/home/user/a/b"),
            ("~//a", "/home/user/a"),
            ("a", "/home/user/a"),
            ("./a/./b/", "/home/user/a/b"),
            ("../x", "/home/x"),
            ("../../../../x", "/x"),
            ("a~", "/home/user/a~"),
            ("/", "/"),
            ("/a/../b", "/a/../b"),
        ] {
            let resolved = meaning(path).unwrap();
            assert_eq!(resolved.to_str().unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn an_empty_path_is_the_default_folder() {
        let workdir = Some(Path::new("/work"));
        let resolved = |path| resolve(path, "/home/user".as_ref(), workdir).unwrap();
        assert_eq!(resolved(""), Path::new("/work"));
        assert_eq!(resolved("a"), Path::new("/home/user/a"));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        assert_eq!(meaning("~root"), Err(Refused::Home("~root".into())));
        assert_eq!(meaning("~root/x"), Err(Refused::Home("~root/x".into())));
        assert_eq!(meaning("a\0b"), Err(Refused::Nul));
        assert_eq!(meaning(&"a/".repeat(2048)), Err(Refused::Long));
        assert_eq!(meaning(&"a".repeat(4090)), Err(Refused::Long));
    }
}
