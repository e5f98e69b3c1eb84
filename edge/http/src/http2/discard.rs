//! Receives and discards the rest of requests with a complete response (RFC 9113 §8.1).

use std::time::Instant;

use super::super::Service;
use super::super::linger::Linger;
use super::Connection;
use super::flow::{Exceeded, ReceiveWindow};
use super::frame::{Code, Fault, write_window};

impl<S: Service> Connection<S> {
    /// Keeps a stream with a completely written response to receive the rest of the request.
    pub(super) fn linger(&mut self, id: u32, mut window: ReceiveWindow, is_begun: bool, now: Instant) {
        if self.limits.linger.is_zero() || self.lingering.discarded() >= self.limits.linger_bytes {
            return self.reset(id, Code::None);
        }
        // No bytes of the body wait for a reader any more.
        if let Some(increment) = window.give_all_back() {
            write_window(&mut self.control, id, increment);
        }
        let until = now + self.limits.linger;
        self.lingering.add(Linger { id, is_begun, window, discarded: 0, until });
        self.check_by(until);
    }

    /// Discards DATA of a lingering stream.
    pub(super) fn discard_data(&mut self, id: u32, length: usize, ends: bool) -> Result<(), Fault> {
        let Some((discarded, window)) = self.lingering.count(id, length) else { return Ok(()) };
        window.receive(length).map_err(|Exceeded| Fault::Stream(id, Code::FlowControl))?;
        if ends {
            self.lingering.remove(id);
        } else if discarded >= self.limits.linger_bytes {
            self.end_linger(id);
        } else if let Some(increment) = window.give_back(length) {
            write_window(&mut self.control, id, increment);
        }
        Ok(())
    }

    /// Asks the client to stop sending (§8.1).
    fn end_linger(&mut self, id: u32) {
        if self.lingering.remove(id).is_some() {
            self.reset(id, Code::None);
        }
    }

    /// Ends lingering streams past their deadline; returns the next deadline.
    pub(super) fn check_lingering(&mut self, now: Instant) -> Option<Instant> {
        for id in self.lingering.over(now) {
            self.end_linger(id);
        }
        self.lingering.deadline()
    }
}
