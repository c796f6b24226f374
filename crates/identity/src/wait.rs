//! Waits for a future on this thread.
//!
//! The database driver is asynchronous, but does its work on a thread of its own and needs no
//! executor; all that is left to do here is to sleep until that thread calls. Unlike a runtime's
//! `block_on`, this may be called anywhere that may block.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::Thread;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            // A call that came before is not lost: park returns at once.
            Poll::Pending => std::thread::park(),
        }
    }
}
