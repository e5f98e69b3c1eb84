//! Room for request bodies, and the rest of requests with a complete response (RFC 9114 §4.1).

use std::time::Instant;

use super::super::Service;
use super::super::linger::Linger;
use super::Connection;
use super::frame::Code;
use super::output::Action;

/// Room for all uploads below which clients may wait for more before sending.
const UPLOAD_ROOM_MIN: usize = 1_024;

impl<S: Service> Connection<S> {
    /// Returns the number of further bytes welcome on a stream.
    pub(super) fn upload_room(&mut self, id: u64) -> usize {
        let room = self.room_now(id);
        if room == 0 {
            self.is_held_back = true;
            if let Some(stream) = self.streams.get(id) {
                stream.own.held_back = true;
            } else if let Some(opening) = self.openings.iter_mut().find(|opening| opening.id == id) {
                opening.held_back = true;
            }
        }
        room
    }

    fn room_now(&mut self, id: u64) -> usize {
        let all = self.connection_room();
        let stream_max = usize::try_from(self.limits.stream_window).unwrap_or(usize::MAX);
        if let Some(stream) = self.streams.get(id) {
            let own =
                if stream.upload.is_some() { stream_max.saturating_sub(stream.own.unreturned) } else { usize::MAX };
            // Bytes without a reader take no memory.
            return if stream.filler.is_some() { own.min(all) } else { own };
        }
        // The oldest head always proceeds, so that its memory is freed.
        match self.openings.first() {
            Some(first) if first.id < id && all == 0 => 0,
            _ => usize::MAX,
        }
    }

    /// Returns the room for all uploads and incomplete heads.
    fn connection_room(&self) -> usize {
        let heads: usize = self.openings.iter().map(|opening| opening.reader.held_bytes()).sum();
        let max = usize::try_from(self.limits.connection_window).unwrap_or(usize::MAX);
        max.saturating_sub(self.unread).saturating_sub(heads)
    }

    /// Returns true if uploads have next to no room: the requests are not slow for lack of room.
    pub(super) fn is_upload_shut(&self) -> bool {
        self.connection_room() < UPLOAD_ROOM_MIN
    }

    /// Counts bytes of uploads consumed by the readers.
    pub(super) fn give_back(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let was_shut = self.is_upload_shut();
        self.unread = self.unread.saturating_sub(bytes);
        self.upload_reopened |= was_shut && !self.is_upload_shut();
    }

    /// Resumes held-back streams that have room again.
    pub(super) fn resume_held_back(&mut self) {
        if !self.is_held_back {
            return;
        }
        self.is_held_back = false;
        let streams = self.streams.iter().filter(|stream| stream.own.held_back).map(|stream| stream.id);
        let openings = self.openings.iter().filter(|opening| opening.held_back).map(|opening| opening.id);
        for id in openings.chain(streams).collect::<Vec<u64>>() {
            if self.room_now(id) == 0 {
                self.is_held_back = true;
                continue;
            }
            if let Some(stream) = self.streams.get(id) {
                stream.own.held_back = false;
            } else if let Some(opening) = self.openings.iter_mut().find(|opening| opening.id == id) {
                opening.held_back = false;
            }
            self.actions.push(Action::Resume(id));
        }
    }

    /// Keeps a stream with a completely written response to receive the rest of the request.
    pub(super) fn linger(&mut self, id: u64, is_begun: bool, now: Instant) {
        if self.limits.linger.is_zero() || self.lingering.discarded() >= self.limits.linger_bytes {
            return self.actions.push(Action::Stop(id, Code::None));
        }
        let until = now + self.limits.linger;
        self.lingering.add(Linger { id, is_begun, window: (), discarded: 0, until });
        // The stream may have been held back while the body was read.
        self.actions.push(Action::Resume(id));
        self.check_by(until);
    }

    /// Discards bytes of a lingering stream.
    pub(super) fn discard_bytes(&mut self, id: u64, length: usize, ends: bool) {
        let Some((discarded, ())) = self.lingering.count(id, length) else { return };
        if ends {
            self.lingering.remove(id);
        } else if discarded >= self.limits.linger_bytes {
            self.end_linger(id);
        }
    }

    /// Asks the client to stop sending, with the code that leaves the client free to do so (§4.1).
    fn end_linger(&mut self, id: u64) {
        if self.lingering.remove(id).is_some() {
            self.actions.push(Action::Stop(id, Code::None));
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
