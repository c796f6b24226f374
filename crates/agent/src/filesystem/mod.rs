//! Files and folders by name: what is there, making, moving, listing and removing it.
//!
//! ```text
//!  service (Connect) ──▶ list, folder, transfer, remove ──▶ the sandbox's files
//!                        entry ◀── mode, metadata, owner
//! ```
//!
//! The agent acts with its own rights, as the contract's clients expect: whoever may use the
//! sandbox's files from outside may use all of them, and a user's name decides what `~` means and
//! to whom new files belong. The wall around the agent is the sandbox's, so a link that a program
//! inside has planted leads nowhere that root inside couldn't go. What must not happen is that a
//! planted name changes *whose* a file is: new files are made by their owner (see [`owner`]),
//! and nothing is given away by name.

mod copy;
pub(crate) mod entry;
pub(crate) mod folder;
mod list;
mod messages;
pub(crate) mod metadata;
mod mode;
pub(crate) mod owner;
mod remove;
pub(crate) mod service;
mod transfer;
