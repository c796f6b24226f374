//! Where commands come from: the agent itself, or processes that keep them apart from it.

use super::spawn::machine;
use crate::users::Identities;
use crate::{Error, Result};
use casemate_proto::connectrpc::ConnectError;
use casemate_sys::process::command::{Command, Started};
use casemate_sys::process::nursery::{Nursery, Roots, Unborn};
use rustix::io::Errno;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module.
pub(crate) struct Births(Option<Apart>);

/// Made anew when somebody inside has killed it.
struct Apart {
    roots: Roots,
    nursery: Mutex<Option<Nursery>>,
}

impl Births {
    /// Commands are the agent's, as everything else of its process.
    pub(crate) fn own() -> Self {
        Self(None)
    }

    /// Commands can do nothing to the agent. Where no user namespace can be made, there is no root
    /// if there is one user.
    pub(crate) fn apart(identities: Identities) -> Result<Self> {
        let (roots, nursery) = match identities {
            Identities::Real => (Roots::Real, Nursery::open(Roots::Real)),
            Identities::Alone => match Nursery::open(Roots::Nested) {
                Ok(nursery) => (Roots::Nested, Ok(nursery)),
                Err(_) => (Roots::Real, Nursery::open(Roots::Real)),
            },
        };
        let nursery = nursery
            .map_err(|e| Error::errno("keep commands apart from the agent", e.raw_os_error()))?;
        Ok(Self(Some(Apart {
            roots,
            nursery: Mutex::new(Some(nursery)),
        })))
    }

    /// Starts a command; `as_root` is as root of a namespace of its own.
    pub(super) fn start(
        &self,
        command: &Command<'_>,
        as_root: bool,
    ) -> std::result::Result<Started, ConnectError> {
        match &self.0 {
            Some(apart) => apart.start(command, as_root),
            None if as_root => Err(no_root()),
            None => command.start().map_err(refused),
        }
    }
}

impl Apart {
    fn start(
        &self,
        command: &Command<'_>,
        as_root: bool,
    ) -> std::result::Result<Started, ConnectError> {
        let mut nursery = self.nursery();
        for _ in 0..2 {
            let open = match nursery.take() {
                Some(open) => open,
                None => Nursery::open(self.roots).map_err(refused)?,
            };
            if as_root && !open.has_root() {
                *nursery = Some(open);
                return Err(no_root());
            }
            match open.start(command, as_root) {
                // It is of no use to anybody.
                Err(Unborn::Gone) => {}
                Err(Unborn::Lost) => break,
                Err(Unborn::Refused(errno)) => {
                    *nursery = Some(open);
                    return Err(refused(errno));
                }
                Ok(started) => {
                    *nursery = Some(open);
                    return Ok(started);
                }
            }
        }
        Err(ConnectError::unavailable(
            "make a process: something in the sandbox killed or stopped what makes them",
        ))
    }

    /// Never held across an await.
    fn nursery(&self) -> MutexGuard<'_, Option<Nursery>> {
        self.nursery.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(errno: Errno) -> ConnectError {
    machine("make a process", errno)
}

fn no_root() -> ConnectError {
    ConnectError::failed_precondition(
        "there is no root in this sandbox: its one user can't make a user namespace here",
    )
}
