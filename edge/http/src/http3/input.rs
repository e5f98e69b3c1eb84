//! Bytes of streams to frames, and frames of requests to what they change (RFC 9114 §4.1, §6 and §7).

use std::time::Instant;

use super::super::field_coding::DecodeError;
use super::super::flood::Flooded;
use super::super::inbound::Broken;
use super::super::{Service, Turn, message};
use super::frame::{Code, Fault, FrameHead, kind};
use super::output::Action;
use super::reader::{Event, FrameReader, Treatment};
use super::streams::{Next, Opening, Upload};
use super::{CONTROL_STREAM, Connection};

/// Bytes of a field section beyond twice its limit that are still read, as a section of HTTP/2 may have: its length is
/// counted when it is decoded (RFC 9114 §4.2.2), and 32 bytes for each field may take none.
const SECTION_BYTES_BEYOND: usize = 16_384;

/// The state of a request's stream for incoming bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing of it came yet.
    New,
    /// Its head is not whole.
    Opening,
    /// It is among the streams.
    Stream,
    /// Its answer was put, and its request is still received.
    Lingering,
    /// This end has just ended it: that is not put yet.
    Over,
}

/// What a frame of a request means where it came.
enum Meaning {
    /// It is larger than is read.
    TooLarge,
    /// It is taken in this way.
    Taken(Treatment),
}

impl From<Flooded> for Fault {
    fn from(_: Flooded) -> Self {
        Self::Connection(Code::ExcessiveLoad)
    }
}

/// RFC 9204 §6.
impl From<DecodeError> for Fault {
    fn from(_: DecodeError) -> Self {
        Self::Connection(Code::QpackDecompressionFailed)
    }
}

/// Whether a stream is one of a request (RFC 9000 §2.1, RFC 9114 §6.1).
const fn is_request(stream: u64) -> bool {
    stream.is_multiple_of(4)
}

impl<S: Service> Connection<S> {
    pub(super) fn take_bytes(&mut self, id: u64, bytes: &[u8], ends: bool, turn: &mut Turn<'_>) {
        if self.end.is_some() {
            return;
        }
        let since = self.take_unbegun(id).unwrap_or(turn.now);
        let taken = if is_request(id) {
            self.take_request((id, since), bytes, ends, turn)
        } else {
            self.take_own(id, bytes, ends, turn)
        };
        if let Err(fault) = taken {
            self.fault(id, fault, turn.now);
        }
    }

    /// Has the time for a head run from now, where nothing of it came.
    pub(super) fn await_head(&mut self, id: u64, now: Instant) {
        let is_known = self.unbegun.iter().any(|(other, _)| *other == id);
        if self.end.is_none() && is_request(id) && !is_known && self.place(id) == Place::New {
            self.unbegun.push((id, now));
            self.check_by(now + self.limits.header);
        }
    }

    /// The first byte of a stream came, or it ends. Since when it was awaited.
    fn take_unbegun(&mut self, id: u64) -> Option<Instant> {
        let index = self.unbegun.iter().position(|(other, _)| *other == id)?;
        Some(self.unbegun.swap_remove(index).1)
    }

    /// The place of a request, or `None` for one that is not taken.
    fn place(&mut self, id: u64) -> Place {
        if self.streams.contains(id) {
            Place::Stream
        } else if self.find_opening(id).is_ok() {
            Place::Opening
        } else if self.lingering.contains(id) {
            Place::Lingering
        } else if self.actions.iter().any(|action| action.ends(id)) {
            Place::Over
        } else {
            Place::New
        }
    }

    fn find_opening(&self, id: u64) -> Result<usize, usize> {
        self.openings.binary_search_by_key(&id, |opening| opening.id)
    }

    /// Takes bytes of the request of a stream whose first byte is awaited since then.
    fn take_request(
        &mut self,
        (id, since): (u64, Instant),
        bytes: &[u8],
        ends: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        match self.place(id) {
            Place::New => {
                if self.refuse(id, turn)? {
                    return Ok(());
                }
                let opening = Opening { id, reader: FrameReader::default(), since, held_back: false };
                self.take_head(opening, bytes, ends, turn)
            }
            Place::Opening => {
                let Ok(index) = self.find_opening(id) else { return Ok(()) };
                let opening = self.openings.remove(index);
                self.take_head(opening, bytes, ends, turn)
            }
            Place::Stream => self.take_body(id, bytes, ends, turn),
            Place::Lingering => {
                self.discard_bytes(id, bytes.len(), ends);
                Ok(())
            }
            Place::Over => Ok(()),
        }
    }

    /// Refuses a stream that is not taken. What is refused costs next to nothing, but is not for nothing either.
    fn refuse(&mut self, id: u64, turn: &Turn<'_>) -> Result<bool, Fault> {
        let is_beyond = self.in_flight() >= usize::try_from(self.limits.streams).unwrap_or(usize::MAX);
        // §5.2: those that the last GOAWAY names are not processed.
        if !is_beyond && !self.passes_over(id) {
            self.first_untaken = self.first_untaken.max(id + 4);
            return Ok(false);
        }
        self.floods.control(turn.now)?;
        self.reset(id, Code::RequestRejected, true);
        Ok(true)
    }

    /// Reads a request until its head is whole.
    fn take_head(
        &mut self,
        mut opening: Opening,
        mut bytes: &[u8],
        ends: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let (id, mut is_too_large) = (opening.id, false);
        let event = opening.reader.next(&mut bytes, |head| {
            Ok(match self.treat(head, None, turn.now)? {
                Meaning::Taken(treatment) => treatment,
                Meaning::TooLarge => {
                    is_too_large = true;
                    // Without a piece of it nothing would be known of it yet.
                    Treatment::Pieces
                }
            })
        })?;
        match event {
            _ if is_too_large => {
                self.answer_too_large(id);
            }
            Some(Event::Frame(_, section)) => {
                let is_whole = ends && bytes.is_empty();
                self.request(id, is_whole, &section, turn)?;
                if is_whole {
                    return Ok(());
                }
            }
            // §4.1: a request that ended before it was one.
            Some(Event::Piece(_)) | None if ends => {
                let code = if opening.reader.is_within_frame() {
                    // §7.1.
                    return Err(Fault::Connection(Code::Frame));
                } else {
                    Code::RequestIncomplete
                };
                return Err(Fault::Stream(code));
            }
            Some(Event::Piece(_)) | None => {
                self.check_by(opening.since + self.limits.header);
                if let Err(index) = self.find_opening(id) {
                    self.openings.insert(index, opening);
                }
                return Ok(());
            }
        }
        if let Some(stream) = self.streams.get(id) {
            stream.upload = Some(Upload { reader: opening.reader, next: Next::Body, since: None });
        }
        self.take_body(id, bytes, ends, turn)
    }

    /// Takes the frames of a request after its head.
    fn take_body(&mut self, id: u64, mut bytes: &[u8], ends: bool, turn: &mut Turn<'_>) -> Result<(), Fault> {
        let Some(mut upload) = self.streams.get(id).and_then(|stream| stream.upload.take()) else { return Ok(()) };
        // Put back first: what becomes of the stream if something is wrong depends on it.
        let taken = self.take_frames(id, &mut upload, &mut bytes, turn);
        let is_within_frame = upload.reader.is_within_frame();
        let is_slow = upload.reader.is_within_whole();
        if let Some(stream) = self.streams.get(id) {
            upload.since = if is_slow { upload.since.or(Some(turn.now)) } else { None };
            stream.upload = Some(upload);
        }
        taken?;
        if !ends {
            if is_slow {
                self.check_by(turn.now + self.limits.header);
            }
            return Ok(());
        }
        // §7.1.
        if is_within_frame {
            return Err(Fault::Connection(Code::Frame));
        }
        let Some(stream) = self.streams.get(id) else { return Ok(()) };
        // §4.1.2.
        if stream.filler.as_ref().is_some_and(|filler| !filler.agrees(0, true)) {
            return Err(Fault::Stream(Code::Message));
        }
        if let Some(filler) = &stream.filler {
            filler.end(None);
        }
        (stream.upload, stream.hungry) = (None, None);
        Ok(())
    }

    fn take_frames(
        &mut self,
        id: u64,
        upload: &mut Upload,
        bytes: &mut &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        loop {
            let next = upload.next;
            let event = upload.reader.next(bytes, |head| match self.treat(head, Some(next), turn.now)? {
                Meaning::Taken(treatment) => Ok(treatment),
                Meaning::TooLarge => Err(Fault::Stream(Code::ExcessiveLoad)),
            })?;
            match event {
                None => return Ok(()),
                Some(Event::Piece(content)) => self.data(id, content)?,
                Some(Event::Frame(_, section)) => {
                    upload.next = Next::End;
                    self.trailers(id, &section, turn)?;
                }
            }
        }
    }

    /// What a frame of a request means by its head, where `next` is what comes next, or `None` before the head of the
    /// request (§4.1, §7.2).
    fn treat(&mut self, head: FrameHead, next: Option<Next>, now: Instant) -> Result<Meaning, Fault> {
        match (head.kind, next) {
            (kind::HEADERS, None | Some(Next::Body)) => {
                let bytes_max = self.limits.header_bytes.saturating_mul(2).saturating_add(SECTION_BYTES_BEYOND);
                Ok(match usize::try_from(head.length) {
                    Ok(length) if length <= bytes_max => Meaning::Taken(Treatment::Whole),
                    _ => Meaning::TooLarge,
                })
            }
            (kind::DATA, Some(Next::Body)) => {
                if head.length == 0 {
                    self.floods.control(now)?;
                }
                Ok(Meaning::Taken(Treatment::Pieces))
            }
            // §4.1: DATA before the head; either after the trailers.
            (kind::DATA | kind::HEADERS, _)
            // §7.2.3 to §7.2.7: of the control stream, or of servers.
            | (kind::CANCEL_PUSH | kind::SETTINGS | kind::PUSH_PROMISE | kind::GOAWAY | kind::MAX_PUSH_ID, _) => {
                Err(Fault::Connection(Code::FrameUnexpected))
            }
            (kind, _) if kind::is_of_http2(kind) => Err(Fault::Connection(Code::FrameUnexpected)),
            // §9: unknown, and reserved ones (§7.2.8).
            _ => {
                self.floods.control(now)?;
                Ok(Meaning::Taken(Treatment::Discard))
            }
        }
    }

    /// Takes a piece of DATA.
    fn data(&mut self, id: u64, content: &[u8]) -> Result<(), Fault> {
        let Some(stream) = self.streams.get(id) else { return Ok(()) };
        stream.own.unreturned = stream.own.unreturned.saturating_add(content.len());
        // Without one it was answered by its head.
        let Some(filler) = &stream.filler else { return Ok(()) };
        // §4.1.2.
        if !filler.agrees(content.len(), false) {
            return Err(Fault::Stream(Code::Message));
        }
        let never_read = filler.push(content);
        let unread = content.len().saturating_sub(never_read);
        stream.hungry = None;
        stream.own.unread += unread;
        self.unread += unread;
        Ok(())
    }

    /// The end of a request's body, with fields (§4.1).
    fn trailers(&mut self, id: u64, section: &[u8], turn: &mut Turn<'_>) -> Result<(), Fault> {
        let Some(stream) = self.streams.get(id) else { return Ok(()) };
        let read = message::read_trailers(&mut turn.scratch.qpack, section, &self.limits)?;
        let trailers = match read {
            Ok(trailers) => trailers,
            Err(message::Unsound::Malformed) => return Err(Fault::Stream(Code::Message)),
            Err(message::Unsound::TooLarge) => return Err(Fault::Stream(Code::ExcessiveLoad)),
        };
        let Some(filler) = &stream.filler else { return Ok(()) };
        if !filler.agrees(0, true) {
            return Err(Fault::Stream(Code::Message));
        }
        filler.end(Some(trailers));
        stream.hungry = None;
        Ok(())
    }

    /// Does what a fault asks for.
    pub(super) fn fault(&mut self, id: u64, fault: Fault, now: Instant) {
        match fault {
            Fault::Connection(code) => self.end(code),
            Fault::Stream(code) => {
                self.forget(id, Broken::Malformed);
                self.reset(id, code, true);
                if self.floods.reset(true, now).is_err() {
                    self.end(Code::ExcessiveLoad);
                }
            }
        }
    }

    /// The peer abandoned its side of a stream. It has no use for the answer either: a stream is cancelled as a whole
    /// (§4.1.1).
    pub(super) fn take_reset(&mut self, id: u64, now: Instant) {
        if self.end.is_some() {
            return;
        }
        if !is_request(id) {
            if self.unidirectional.remove(id) {
                // §6.2.1, RFC 9204 §4.2.
                self.end(Code::ClosedCriticalStream);
            }
            return;
        }
        self.take_unbegun(id);
        self.cancel(id, false, now);
    }

    /// The peer takes nothing more of a stream.
    pub(super) fn take_stop(&mut self, id: u64, now: Instant) {
        if self.end.is_some() {
            return;
        }
        if id == CONTROL_STREAM {
            // §6.2.1.
            return self.end(Code::ClosedCriticalStream);
        }
        self.take_unbegun(id);
        self.cancel(id, true, now);
    }

    fn cancel(&mut self, id: u64, is_receiving: bool, now: Instant) {
        let counted = match self.place(id) {
            Place::New => {
                // Ended on this side too: the peer may have as many streams as before only once both are over.
                self.reset(id, Code::RequestCancelled, is_receiving);
                // One that was answered has paid for this.
                let is_unseen = id >= self.first_untaken;
                if is_unseen { self.floods.reset(false, now) } else { self.floods.control(now) }
            }
            Place::Over => self.floods.control(now),
            Place::Lingering => {
                // Its answer came to its end, which has paid for this.
                let is_begun = self.lingering.remove(id).unwrap_or_default();
                if is_receiving {
                    self.actions.push(Action::Stop(id, Code::None));
                }
                self.floods.reset(is_begun, now)
            }
            place @ (Place::Opening | Place::Stream) => {
                let is_begun = self.streams.get(id).is_some_and(|stream| stream.response.is_begun);
                self.forget(id, Broken::Gone);
                let code = if place == Place::Opening { Code::RequestIncomplete } else { Code::RequestCancelled };
                self.reset(id, code, is_receiving);
                self.floods.reset(is_begun, now)
            }
        };
        if counted.is_err() {
            self.end(Code::ExcessiveLoad);
        }
    }

    /// Ends a stream on this side, and where it `is_receiving` on the peer's.
    pub(super) fn reset(&mut self, id: u64, code: Code, is_receiving: bool) {
        self.actions.push(Action::Reset(id, code));
        if is_receiving {
            self.actions.push(Action::Stop(id, code));
        }
    }

    /// Ends a stream for which this end has a reason to, and on the peer's side what is still to come of it.
    pub(super) fn break_off(&mut self, id: u64, broken: Broken, code: Code) {
        let is_receiving = self.streams.is_receiving(id);
        self.forget(id, broken);
        self.reset(id, code, is_receiving);
    }

    /// Releases a stream in any state.
    pub(super) fn forget(&mut self, id: u64, broken: Broken) {
        if let Some(stream) = self.streams.remove(id) {
            self.release(&stream, broken);
        } else if let Ok(index) = self.find_opening(id) {
            self.openings.remove(index);
        } else {
            self.lingering.remove(id);
        }
    }

    /// Ends the connection with an error (§8).
    pub(super) fn end(&mut self, code: Code) {
        self.end.get_or_insert(code);
        self.abandon();
    }
}
