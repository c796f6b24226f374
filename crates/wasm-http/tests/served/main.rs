//! What clients, browsers and commands see, of canisters that are made up.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod calls;
mod carry;
mod document;
mod keys;
mod local;
mod sites;
mod stand;
