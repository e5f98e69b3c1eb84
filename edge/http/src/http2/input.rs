//! Bytes to frames, and frames to their effects (RFC 9113 §4 to §6).

use super::super::field_coding::DecodeError;
use super::super::flood::Flooded;
use super::super::inbound::Broken;
use super::super::{Service, Turn, message};
use super::field_block::FieldBlock;
use super::flow::Exceeded;
use super::frame::{
    self, Code, Fault, FrameHead, HEAD_BYTES, PAYLOAD_BYTES_MAX, PREFACE, flag, kind, write_reset, write_window,
};
use super::{Connection, Phase};

/// Maximum frames of one field block. Most heads arrive in one frame.
const BLOCK_FRAMES_MAX: usize = 64;

/// Window for all uploads below which clients may wait for more before sending.
const UPLOAD_WINDOW_MIN: u32 = 1_024;

/// DATA bytes for a skipped stream below which a frame counts as empty.
const LATE_BYTES_MIN: usize = 512;

/// State of a stream for an incoming frame (§5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// No frame was sent or received.
    Idle,
    /// Open: listed among the streams.
    Stream,
    /// The answer waits to be written.
    Ready,
    /// The answer is written; the request is still being received.
    Lingering,
    /// Reset or refused by this end: the peer may not know yet.
    PassedOver,
    /// Closed.
    Closed,
}

impl From<Flooded> for Fault {
    fn from(_: Flooded) -> Self {
        Self::Connection(Code::EnhanceYourCalm)
    }
}

/// §4.3.
impl From<DecodeError> for Fault {
    fn from(_: DecodeError) -> Self {
        Self::Connection(Code::Compression)
    }
}

impl<S: Service> Connection<S> {
    pub(super) fn take_bytes(&mut self, mut bytes: &[u8], turn: &mut Turn<'_>) {
        if let Phase::Preface(seen) = self.phase {
            match self.take_preface(seen.into(), bytes) {
                Some(rest) => bytes = rest,
                None => return,
            }
        }
        if !self.partial.is_empty() {
            match self.complete_partial(bytes, turn) {
                Some(rest) => bytes = rest,
                None => return,
            }
        }
        while self.phase != Phase::Ended
            && let Some((head, rest)) = FrameHead::read(bytes)
        {
            if let Err(fault) = self.check_head(head) {
                return self.fault(fault, turn);
            }
            let Some((payload, rest)) = rest.split_at_checked(head.length) else { break };
            bytes = rest;
            if let Err(fault) = self.frame(head, payload, turn) {
                self.fault(fault, turn);
            }
        }
        if self.phase != Phase::Ended && !bytes.is_empty() {
            self.partial.extend_from_slice(bytes);
            self.partial_since = Some(turn.now);
            self.check_by(turn.now + self.limits.header);
        }
    }

    /// Reads the preface; returns the rest.
    fn take_preface<'b>(&mut self, seen: usize, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let expected = PREFACE.get(seen..).unwrap_or_default();
        let count = expected.len().min(bytes.len());
        let (came, rest) = bytes.split_at_checked(count)?;
        if !expected.starts_with(came) {
            self.end(Code::Protocol);
            return None;
        }
        self.phase = match u8::try_from(seen + count) {
            Ok(seen) if count < expected.len() => Phase::Preface(seen),
            _ => Phase::Settings,
        };
        Some(rest)
    }

    /// Completes and handles a begun frame; returns the rest.
    fn complete_partial<'b>(&mut self, mut bytes: &'b [u8], turn: &mut Turn<'_>) -> Option<&'b [u8]> {
        if let Some(missing) = HEAD_BYTES.checked_sub(self.partial.len()) {
            let (part, rest) = bytes.split_at(missing.min(bytes.len()));
            self.partial.extend_from_slice(part);
            bytes = rest;
        }
        let (head, came) = FrameHead::read(&self.partial)?;
        let came = came.len();
        if let Err(fault) = self.check_head(head) {
            self.fault(fault, turn);
            return None;
        }
        let (part, rest) = bytes.split_at((head.length - came.min(head.length)).min(bytes.len()));
        self.partial.reserve_exact(head.length - came.min(head.length));
        self.partial.extend_from_slice(part);
        if came + part.len() < head.length {
            return None;
        }
        let whole = std::mem::take(&mut self.partial);
        let payload = whole.get(HEAD_BYTES..).unwrap_or_default();
        if let Err(fault) = self.frame(head, payload, turn) {
            self.fault(fault, turn);
        }
        Some(rest)
    }

    /// Checks a frame head without the payload.
    fn check_head(&self, head: FrameHead) -> Result<(), Fault> {
        // §3.4: SETTINGS come first.
        if self.phase == Phase::Settings && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(Fault::Connection(Code::Protocol));
        }
        // §4.2: the frame could belong to a field block, or exceed the memory limit.
        if head.length > PAYLOAD_BYTES_MAX {
            return Err(Fault::Connection(Code::FrameSize));
        }
        // §4.3, §5.5: no frame comes between the frames of a field block.
        let expected = self.block.as_ref().map(|block| block.stream);
        let continues = (head.kind == kind::CONTINUATION).then_some(head.stream);
        if expected != continues {
            return Err(Fault::Connection(Code::Protocol));
        }
        Ok(())
    }

    fn frame(&mut self, head: FrameHead, payload: &[u8], turn: &mut Turn<'_>) -> Result<(), Fault> {
        match head.kind {
            kind::DATA => self.data(head, payload, turn),
            kind::HEADERS => self.headers(head, payload, turn),
            kind::PRIORITY => self.priority(head, turn),
            kind::RST_STREAM => self.peer_reset(head, payload, turn),
            kind::SETTINGS => self.settings(head, payload, turn),
            kind::PING => self.ping(head, payload, turn),
            kind::GOAWAY => self.goaway(head, turn),
            kind::WINDOW_UPDATE => self.window_update(head, payload, turn),
            kind::CONTINUATION => self.continuation(head, payload, turn),
            // §8.4: a client does not push.
            kind::PUSH_PROMISE => Err(Fault::Connection(Code::Protocol)),
            // §5.5.
            _ => Ok(self.floods.control(turn.now)?),
        }
    }

    /// Returns the state of a stream.
    pub(super) fn place(&self, id: u32) -> Place {
        if id > self.last_begun || id.is_multiple_of(2) {
            Place::Idle
        } else if self.streams.contains(id) {
            Place::Stream
        } else if self.lingering.contains(id) {
            Place::Lingering
        } else if self.ready.iter().rev().any(|ready| ready.id == id) {
            Place::Ready
        } else if self.drain.passes_over(id) || self.recent.contains(id) {
            Place::PassedOver
        } else {
            Place::Closed
        }
    }

    fn data(&mut self, head: FrameHead, payload: &[u8], turn: &mut Turn<'_>) -> Result<(), Fault> {
        let id = head.stream;
        let content = frame::unpadded(head, payload)?;
        let place = self.place(id);
        if place == Place::Idle {
            return Err(Fault::Connection(Code::Protocol));
        }
        // §6.9: all DATA counts, used or not.
        self.upload_window.receive(payload.len()).map_err(|Exceeded| Fault::Connection(Code::FlowControl))?;
        let ends = head.has(flag::END_STREAM);
        let is_costly =
            if place == Place::Stream { content.is_empty() && !ends } else { content.len() < LATE_BYTES_MIN };
        if is_costly {
            self.floods.control(turn.now)?;
        }
        let taken = match place {
            Place::Stream => self.stream_data(id, payload.len(), content, ends),
            Place::Lingering => self.discard_data(id, payload.len(), ends).map(|()| None),
            Place::PassedOver => self.recent.receive(payload.len()).map(|()| None),
            Place::Idle | Place::Ready | Place::Closed => Ok(None),
        };
        if !matches!(taken, Ok(Some(()))) {
            self.give_back(payload.len());
        }
        match (place, taken?) {
            (Place::Closed | Place::Ready, _) => Err(Fault::Stream(id, Code::StreamClosed)),
            _ => Ok(()),
        }
    }

    /// Handles DATA of a stream; `Some` if the consumed window was dealt with.
    fn stream_data(&mut self, id: u32, length: usize, content: &[u8], ends: bool) -> Result<Option<()>, Fault> {
        let Some(stream) = self.streams.get(id) else { return Ok(None) };
        let Some(upload) = &mut stream.upload else { return Err(Fault::Stream(id, Code::StreamClosed)) };
        upload.window.receive(length).map_err(|Exceeded| Fault::Stream(id, Code::FlowControl))?;
        let Some(filler) = &stream.filler else {
            // The request was answered by the head.
            stream.upload.take_if(|_| ends);
            return Ok(None);
        };
        // §8.1.1.
        if !filler.agrees(content.len(), ends) {
            return Err(Fault::Stream(id, Code::Protocol));
        }
        let unread = if content.is_empty() { 0 } else { filler.push(content) };
        if ends || !content.is_empty() {
            stream.hungry = None;
        }
        let mut increment = None;
        if ends {
            filler.end(None);
            stream.upload = None;
        } else {
            // The window of bytes without a reader is not reopened; the window of padding is.
            increment = upload.window.give_back(length - content.len());
        }
        if let Some(increment) = increment {
            write_window(&mut self.control, id, increment);
        }
        self.give_back(length - content.len() + unread);
        Ok(Some(()))
    }

    /// Returns true if the peer has next to no window for uploads: the requests are not slow for lack of a window.
    pub(super) fn is_upload_shut(&self) -> bool {
        self.upload_window.open() < UPLOAD_WINDOW_MIN
    }

    /// Counts consumed bytes of uploads.
    pub(super) fn give_back(&mut self, bytes: usize) {
        let was_shut = self.is_upload_shut();
        if let Some(increment) = self.upload_window.give_back(bytes) {
            self.upload_reopened |= was_shut;
            write_window(&mut self.control, 0, increment);
        }
    }

    fn headers(&mut self, head: FrameHead, payload: &[u8], turn: &mut Turn<'_>) -> Result<(), Fault> {
        let fragment = frame::fragment(head, payload)?;
        // §5.1.1.
        if head.stream.is_multiple_of(2) {
            return Err(Fault::Connection(Code::Protocol));
        }
        let ends_stream = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.field_block(head.stream, ends_stream, fragment, turn);
        }
        let bytes = fragment.to_vec();
        self.block = Some(Box::new(FieldBlock { since: turn.now, stream: head.stream, ends_stream, bytes, frames: 1 }));
        self.check_by(turn.now + self.limits.header);
        Ok(())
    }

    /// Handles CONTINUATION (§6.10). Bytes and frames of a block are bounded (CVE-2024-27316).
    fn continuation(&mut self, head: FrameHead, payload: &[u8], turn: &mut Turn<'_>) -> Result<(), Fault> {
        let Some(mut block) = self.block.take() else { return Err(Fault::Connection(Code::Protocol)) };
        self.floods.control(turn.now)?;
        block.frames += 1;
        let bytes_max = self.limits.header_bytes.saturating_mul(2).saturating_add(PAYLOAD_BYTES_MAX);
        if block.frames > BLOCK_FRAMES_MAX || block.bytes.len() + payload.len() > bytes_max {
            return Err(Fault::Connection(Code::EnhanceYourCalm));
        }
        block.bytes.extend_from_slice(payload);
        if head.has(flag::END_HEADERS) {
            return self.field_block(block.stream, block.ends_stream, &block.bytes, turn);
        }
        self.block = Some(block);
        Ok(())
    }

    fn field_block(&mut self, id: u32, ends: bool, block: &[u8], turn: &mut Turn<'_>) -> Result<(), Fault> {
        if id > self.last_begun {
            return self.request(id, ends, block, turn);
        }
        match self.place(id) {
            Place::Stream => self.trailers(id, ends, block),
            Place::PassedOver => {
                self.floods.control(turn.now)?;
                Ok(message::discard(&mut self.decoder, block)?)
            }
            Place::Lingering => {
                message::discard(&mut self.decoder, block)?;
                // §8.1.
                if !ends {
                    return Err(Fault::Stream(id, Code::Protocol));
                }
                self.lingering.remove(id);
                Ok(())
            }
            Place::Ready => Err(Fault::Connection(Code::StreamClosed)),
            // §5.1.1: stream numbers only rise.
            Place::Idle | Place::Closed => Err(Fault::Connection(Code::Protocol)),
        }
    }

    /// Handles trailers, which end a request body (§8.1).
    fn trailers(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<(), Fault> {
        let Some(stream) = self.streams.get(id) else { return Ok(()) };
        if stream.upload.is_none() {
            return Err(Fault::Connection(Code::StreamClosed));
        }
        let trailers = match message::read_trailers(&mut self.decoder, block, &self.limits)? {
            Ok(trailers) => trailers,
            Err(message::Unsound::Malformed) => return Err(Fault::Stream(id, Code::Protocol)),
            Err(message::Unsound::TooLarge) => return Err(Fault::Stream(id, Code::EnhanceYourCalm)),
        };
        if !ends || stream.filler.as_ref().is_some_and(|filler| !filler.agrees(0, true)) {
            return Err(Fault::Stream(id, Code::Protocol));
        }
        if let Some(filler) = &stream.filler {
            filler.end(Some(trailers));
        }
        (stream.upload, stream.hungry) = (None, None);
        Ok(())
    }

    /// Handles an error of a frame.
    fn fault(&mut self, fault: Fault, turn: &Turn<'_>) {
        match fault {
            Fault::Connection(code) => self.end(code),
            Fault::Stream(id, code) => {
                self.forget(id, Broken::Malformed);
                self.reset(id, code);
                if self.floods.reset(true, turn.now).is_err() {
                    self.end(Code::EnhanceYourCalm);
                }
            }
        }
    }

    /// Sends RST_STREAM (§5.4.2).
    pub(super) fn reset(&mut self, id: u32, code: Code) {
        write_reset(&mut self.control, id, code);
        self.recent.add(id);
        self.recent.expect(self.limits.stream_window);
    }

    /// Releases a stream in any state.
    pub(super) fn forget(&mut self, id: u32, broken: Broken) {
        if let Some(stream) = self.streams.remove(id) {
            self.release(&stream, broken);
        } else if let Some(ready) = self.ready.remove(id) {
            self.window.refund(ready.bytes());
        } else {
            self.lingering.remove(id);
        }
    }

    /// Ends the connection with an error (§5.4.1).
    pub(super) fn end(&mut self, code: Code) {
        frame::write_goaway(&mut self.control, self.last_taken, code);
        self.abandon();
    }
}
