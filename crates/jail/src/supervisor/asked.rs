//! What is asked of a sandbox that stays.

use super::Supervisor;
use crate::stay::Request;
use crate::wire::Order;
use rustix::fd::OwnedFd;
use std::time::Instant;

impl Supervisor<'_> {
    /// Takes what was asked. What init does is answered when it has.
    pub(super) fn take_requests(&mut self) {
        while let Some(request) = self.stay.as_ref().and_then(|stay| stay.requests.next()) {
            if !matches!(request, Request::Usage(_)) {
                self.watch.wake();
            }
            let order = match &request {
                Request::Usage(asker) => {
                    let _ = asker.send(self.watch.usage());
                    continue;
                }
                Request::End => {
                    self.told_to_end = true;
                    self.ended.get_or_insert_with(Instant::now);
                    self.order(Order::End);
                    continue;
                }
                Request::Proc(asker) => {
                    if let Some(proc) = self.watch.proc() {
                        let _ = asker.send(proc);
                    }
                    continue;
                }
                Request::Freezer(asker) => {
                    let _ = asker.send(self.watch.freezer());
                    continue;
                }
                Request::Wake(pid) => {
                    self.order(Order::Wake(*pid));
                    continue;
                }
                Request::Sockets(_) => Order::Sockets,
                Request::Halt(_) => Order::Halt,
                Request::Continue(_) => Order::Continue,
            };
            self.asked.push_back(request);
            self.order(order);
        }
    }

    pub(super) fn answer_sockets(&mut self, sockets: Vec<OwnedFd>) {
        if let Some(Request::Sockets(asker)) = self.asked.pop_front() {
            // If nobody waits any more, they are closed.
            let _ = asker.send(sockets);
        }
    }

    pub(super) fn answer_order(&mut self) {
        if let Some(Request::Halt(asker) | Request::Continue(asker)) = self.asked.pop_front() {
            let _ = asker.send(());
        }
    }
}
