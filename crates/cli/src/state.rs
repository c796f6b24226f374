//! Where this user's state is kept (XDG Base Directory Specification).

use std::path::PathBuf;

/// Must be absolute, or it doesn't count.
const XDG_STATE_HOME: &str = "XDG_STATE_HOME";
/// The home folder; `.local/state` in it is where state is kept otherwise.
const HOME: &str = "HOME";

/// The folder, which may not exist yet.
pub(crate) fn folder() -> Option<PathBuf> {
    let absolute = |name| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let state = absolute(XDG_STATE_HOME).or_else(|| Some(absolute(HOME)?.join(".local/state")));
    state.map(|state| state.join("casemate"))
}
