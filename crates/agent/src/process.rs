//! Commands and terminals.
//!
//! ```text
//!             Start ──▶ spawn ──▶ the program ══ pipes, or a terminal ══▶ pump ──▶ ring
//!                                     ▲                                            │ by position
//!  SendInput, StreamInput ──▶ input ══╝              Start, Connect ◀── feed ◀── subscriber
//! ```
//!
//! A process has one task ([`life`]): it starts the program, moves its input and output, kills
//! it if its time is up, reaps it, and forgets it half a minute later. Clients come and go
//! meanwhile; a program doesn't notice.
//!
//! **What it prints is kept in a ring** ([`ring`]) and numbered. Every subscriber reads from
//! there at its own pace. While somebody reads, nothing that is unread is overwritten: when
//! the slowest is a ring behind, the program isn't read from until that one catches up. With
//! nobody there, the oldest output makes room, so that a program never waits for no one. A
//! client that comes back may ask for what it missed.
//!
//! **What is typed is a queue** ([`input`]), written in order and in full, even if the client
//! that sent it has left.

mod births;
mod end;
mod feed;
mod input;
mod life;
mod output;
mod pump;
mod ring;
mod service;
mod spawn;
mod table;
mod terminal;
mod watched;

pub(crate) use births::Births;
pub(crate) use feed::pace;
pub(crate) use service::Service;
pub(crate) use watched::watched;
