//! Who files are made for, and how owners are called.

use crate::Agent;
use crate::users::{Accounts, User};
use std::collections::HashMap;

/// The user that a request acts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    /// Who owns what is made for this user.
    pub(crate) fn of(agent: &Agent, user: &User) -> Self {
        let (uid, gid) = agent.identities.owner(user);
        Self { uid, gid }
    }

    /// Runs `work` so that what it makes belongs to this user; what it may do stays what the
    /// agent may do, as clients of the contract expect of file operations.
    pub(crate) fn makes<T>(self, work: impl FnOnce() -> T) -> T {
        casemate_sys::ownership::made_for(self.uid, self.gid, work)
    }
}

/// How ids are called inside the sandbox, as its accounts say now.
pub(crate) struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    /// Accounts that can't be read name nobody.
    pub(crate) fn read() -> Self {
        let accounts = Accounts::read().ok();
        Self {
            users: accounts
                .as_ref()
                .map(Accounts::user_names)
                .unwrap_or_default(),
            groups: accounts
                .as_ref()
                .map(Accounts::group_names)
                .unwrap_or_default(),
        }
    }

    /// The user's name, or the number if it has none.
    pub(crate) fn user(&self, uid: u32) -> String {
        name(&self.users, uid)
    }

    /// Like [`Names::user`].
    pub(crate) fn group(&self, gid: u32) -> String {
        name(&self.groups, gid)
    }
}

fn name(names: &HashMap<u32, String>, id: u32) -> String {
    names.get(&id).cloned().unwrap_or_else(|| id.to_string())
}
