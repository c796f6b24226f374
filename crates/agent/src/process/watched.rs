//! Descriptors that the runtime tells about.

use rustix::fd::{AsFd, AsRawFd};
use std::io::Result;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has a descriptor watched. It is of a kind that never gives away what it owns.
#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of kinds that do"
)]
pub(crate) fn watched<T: AsFd + AsRawFd>(descriptor: T, interest: Interest) -> Result<AsyncFd<T>> {
    AsyncFd::with_interest(descriptor, interest)
}
