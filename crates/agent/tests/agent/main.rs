//! The agent from outside: the real program, over its socket.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod client;
mod commands;
mod door;
mod files;
mod filesystem;
mod output;
mod support;
mod terminals;
mod watch;
mod wire;
