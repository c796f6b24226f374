//! Where this user's state is kept, and what can be made again (XDG Base Directory Specification).

use std::path::PathBuf;

/// Must be absolute, or it doesn't count.
const XDG_STATE_HOME: &str = "XDG_STATE_HOME";
/// Must be absolute, too.
const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// The home folder; `.local/state` and `.cache` in it are where these are kept otherwise.
const HOME: &str = "HOME";

/// The folder, which may not exist yet.
pub(crate) fn folder() -> Option<PathBuf> {
    below(XDG_STATE_HOME, ".local/state")
}

/// The folder of what can be made again, which may not exist yet.
pub(crate) fn cache() -> Option<PathBuf> {
    below(XDG_CACHE_HOME, ".cache")
}

fn below(variable: &str, in_home: &str) -> Option<PathBuf> {
    let absolute = |name| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let folder = absolute(variable).or_else(|| Some(absolute(HOME)?.join(in_home)));
    folder.map(|folder| folder.join("casemate"))
}
