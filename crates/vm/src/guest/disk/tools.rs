//! The disk that holds the agent: the second one of every machine, and read-only. What the root
//! disk holds is up to whoever made it, and no program of ours has to be put there.

use super::filled::{Contents, Purpose, filled};
use casemate_core::error::{Error, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// As a machine's kernel sees its programs.
const AGENT: &str = "agent";
/// Room for the file system itself.
const BESIDES: u64 = 4 << 20;

/// Makes `image` the disk with this agent, a static program that knows `--guest`.
pub fn tools(agent: &Path, image: &Path) -> Result<()> {
    let step = "make the tools disk with";
    let failed = |error: std::io::Error| Error::io(step, &error).on(agent.display());
    let mut start = [0; 5];
    let mut file = fs::File::open(agent).map_err(failed)?;
    std::io::Read::read_exact(&mut file, &mut start).map_err(failed)?;
    if start != *b"\x7fELF\x02" {
        let why = "it is no 64-bit executable";
        return Err(Error::rule(step, why).on(agent.display()));
    }
    let folder = tempfile::tempdir().map_err(failed)?;
    // Another user in the machine may run what is here.
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), everybody.clone()).map_err(failed)?;
    let place = folder.path().join(AGENT);
    let size = fs::copy(agent, &place).map_err(failed)?;
    fs::set_permissions(&place, everybody).map_err(failed)?;
    let size = (size + size / 8 + BESIDES).next_multiple_of(1 << 20);
    filled(
        &Contents::Folder(folder.path().to_owned()),
        image,
        size,
        Purpose::Tools,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let agent = folder.path().join("agent");
        fs::write(&agent, "#!/bin/sh\n").unwrap();
        let error = tools(&agent, &folder.path().join("image")).unwrap_err();
        assert!(
            error.to_string().contains("no 64-bit executable"),
            "{error}"
        );
    }
}
