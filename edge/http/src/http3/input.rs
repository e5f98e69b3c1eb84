//! Bytes of streams to frames, and frames of requests to their effects (RFC 9114 §4.1, §6 and §7).

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

/// Bytes of a field section read beyond twice the limit, as for HTTP/2: the length is counted after decoding (RFC 9114
/// §4.2.2), and the 32 counted bytes per field may take no bytes on the wire.
const SECTION_BYTES_BEYOND: usize = 16_384;

/// State of a request's stream for incoming bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// No byte arrived.
    New,
    /// The head is incomplete.
    Opening,
    /// Open: listed among the streams.
    Stream,
    /// The answer is written; the request is still being received.
    Lingering,
    /// Just ended by this end, with the output pending.
    Over,
}

/// Handling of a request frame.
enum FrameHandling {
    /// The frame exceeds the limit.
    TooLarge,
    /// The frame is read in the given way.
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

/// Returns true for a stream with a request (RFC 9000 §2.1, RFC 9114 §6.1).
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

    /// Starts the clock of a head on a stream without any byte.
    pub(super) fn await_head(&mut self, id: u64, now: Instant) {
        let is_known = self.unbegun.iter().any(|(other, _)| *other == id);
        if self.end.is_none() && is_request(id) && !is_known && self.place(id) == Place::New {
            self.unbegun.push((id, now));
            self.check_by(now + self.limits.header);
        }
    }

    /// Records the first byte or the end of a stream. Returns the time since which the first byte was awaited.
    fn take_unbegun(&mut self, id: u64) -> Option<Instant> {
        let index = self.unbegun.iter().position(|(other, _)| *other == id)?;
        Some(self.unbegun.swap_remove(index).1)
    }

    /// Returns the state of a request's stream.
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

    /// Handles bytes of a request's stream; the first byte was awaited since the given time.
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

    /// Refuses a stream. A refusal costs next to nothing, but is charged nevertheless.
    fn refuse(&mut self, id: u64, turn: &Turn<'_>) -> Result<bool, Fault> {
        let is_beyond = self.in_flight() >= usize::try_from(self.limits.streams).unwrap_or(usize::MAX);
        // §5.2: streams beyond the final GOAWAY are not processed.
        if !is_beyond && !self.passes_over(id) {
            self.first_untaken = self.first_untaken.max(id + 4);
            return Ok(false);
        }
        self.floods.control(turn.now)?;
        self.reset(id, Code::RequestRejected, true);
        Ok(true)
    }

    /// Reads a request until the head is complete.
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
                FrameHandling::Taken(treatment) => treatment,
                FrameHandling::TooLarge => {
                    is_too_large = true;
                    // Without any piece the state of the stream would be unknown.
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
            // §4.1: a request that ended before the head.
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

    /// Handles the frames of a request after the head.
    fn take_body(&mut self, id: u64, mut bytes: &[u8], ends: bool, turn: &mut Turn<'_>) -> Result<(), Fault> {
        let Some(mut upload) = self.streams.get(id).and_then(|stream| stream.upload.take()) else { return Ok(()) };
        // Restored first: error handling of the stream depends on the upload.
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
                FrameHandling::Taken(treatment) => Ok(treatment),
                FrameHandling::TooLarge => Err(Fault::Stream(Code::ExcessiveLoad)),
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

    /// Decides by the head how to handle a frame of a request. `next` is the expected part, or `None` before the head
    /// of the request (§4.1, §7.2).
    fn treat(&mut self, head: FrameHead, next: Option<Next>, now: Instant) -> Result<FrameHandling, Fault> {
        match (head.kind, next) {
            (kind::HEADERS, None | Some(Next::Body)) => {
                let bytes_max = self.limits.header_bytes.saturating_mul(2).saturating_add(SECTION_BYTES_BEYOND);
                Ok(match usize::try_from(head.length) {
                    Ok(length) if length <= bytes_max => FrameHandling::Taken(Treatment::Whole),
                    _ => FrameHandling::TooLarge,
                })
            }
            (kind::DATA, Some(Next::Body)) => {
                if head.length == 0 {
                    self.floods.control(now)?;
                }
                Ok(FrameHandling::Taken(Treatment::Pieces))
            }
            // §4.1: DATA before the head, or DATA or HEADERS after the trailers.
            (kind::DATA | kind::HEADERS, _)
            // §7.2.3 to §7.2.7: frames of the control stream, or of servers.
            | (kind::CANCEL_PUSH | kind::SETTINGS | kind::PUSH_PROMISE | kind::GOAWAY | kind::MAX_PUSH_ID, _) => {
                Err(Fault::Connection(Code::FrameUnexpected))
            }
            (kind, _) if kind::is_of_http2(kind) => Err(Fault::Connection(Code::FrameUnexpected)),
            // §9: unknown and reserved frames (§7.2.8).
            _ => {
                self.floods.control(now)?;
                Ok(FrameHandling::Taken(Treatment::Discard))
            }
        }
    }

    /// Handles a piece of DATA.
    fn data(&mut self, id: u64, content: &[u8]) -> Result<(), Fault> {
        let Some(stream) = self.streams.get(id) else { return Ok(()) };
        stream.own.unreturned = stream.own.unreturned.saturating_add(content.len());
        // Without a filler, the request was answered by the head.
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

    /// Handles trailers, which end a request body (§4.1).
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

    /// Handles an error of a stream or a frame.
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

    /// Handles the peer's abandonment of its sending side. The peer has no use for the answer either: a stream is
    /// cancelled as a whole (§4.1.1).
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

    /// Handles the peer's refusal of further bytes of a stream.
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
                // Ended on this side too: the peer regains a stream only after both sides have ended.
                self.reset(id, Code::RequestCancelled, is_receiving);
                // A completed answer has paid for the reset.
                let is_unseen = id >= self.first_untaken;
                if is_unseen { self.floods.reset(false, now) } else { self.floods.control(now) }
            }
            Place::Over => self.floods.control(now),
            Place::Lingering => {
                // The completed answer has paid for the reset.
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

    /// Ends a stream on this side and, if the stream `is_receiving`, on the peer's side.
    pub(super) fn reset(&mut self, id: u64, code: Code, is_receiving: bool) {
        self.actions.push(Action::Reset(id, code));
        if is_receiving {
            self.actions.push(Action::Stop(id, code));
        }
    }

    /// Ends a stream for a reason of this end, including the unreceived rest on the peer's side.
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
