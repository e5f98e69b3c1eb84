//! HTTP/1.1 request body on the way to the reader.

use std::task::Waker;
use std::time::{Duration, Instant};

use crate::chunks::{ChunkDecoder, ChunkPart};
use crate::inbound::{Broken, Inbound, InboundSender};

/// Maximum bytes waiting for the reader. The kernel holds back unread bytes of the socket.
pub(super) const UNREAD_BYTES_MAX: usize = 64 * 1024;

/// Body announced by a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AnnouncedBody {
    pub(super) framing: BodyFraming,
    /// True if the client waits for `100 Continue` before sending the body.
    pub(super) awaits_word: bool,
}

/// Length of a body (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// Chunked body.
    Chunks,
    /// Body with a known length.
    Length(u64),
}

/// Incomplete request body.
pub(super) struct Upload {
    filler: InboundSender,
    rest: Rest,
    /// True if the client waits for `100 Continue` before sending any byte.
    awaits_word: bool,
    /// True if the reader waits.
    is_awaited: bool,
    /// Received bytes waiting for the reader.
    unread: usize,
    /// Time since which the reader waits.
    hungry_since: Option<Instant>,
    /// True if the reader was dropped.
    is_abandoned: bool,
}

/// Unreceived part of the body.
enum Rest {
    /// Meaningless bytes after a framing error.
    Broken,
    /// Chunks.
    Chunks(Box<ChunkDecoder>),
    /// Remaining length.
    Length(u64),
}

impl Upload {
    /// Creates the reader and the upload for a non-empty body with at most `trailers_max` trailers. `connection` is
    /// woken by reads.
    pub(super) fn new(body: AnnouncedBody, trailers_max: usize, connection: Waker) -> (Inbound, Self) {
        let (length, rest) = match body.framing {
            BodyFraming::Chunks => (None, Rest::Chunks(Box::new(ChunkDecoder::new(trailers_max)))),
            BodyFraming::Length(length) => (Some(length), Rest::Length(length)),
        };
        let (inbound, filler) = Inbound::new(length, UNREAD_BYTES_MAX / 2, connection);
        let upload = Self {
            filler,
            rest,
            awaits_word: body.awaits_word,
            is_awaited: false,
            unread: 0,
            hungry_since: None,
            is_abandoned: false,
        };
        (inbound, upload)
    }

    /// Consumes the body bytes at the beginning of `bytes`, and returns their number.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> usize {
        // RFC 9110 §10.1.1: a client that sends bytes has not waited.
        self.awaits_word &= bytes.is_empty();
        match &mut self.rest {
            Rest::Broken => bytes.len(),
            Rest::Chunks(_) => self.receive_chunks(bytes),
            Rest::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left = left.saturating_sub(count as u64);
                let is_whole = *left == 0;
                self.take(bytes.get(..count).unwrap_or_default());
                if is_whole {
                    self.filler.end(None);
                }
                count
            }
        }
    }

    /// Consumes chunks. Bytes after a framing error have no meaning.
    fn receive_chunks(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while let Rest::Chunks(decoder) = &mut self.rest {
            let rest = bytes.get(passed..).unwrap_or_default();
            match decoder.next_part(rest) {
                Ok(ChunkPart::Content { framing, content }) => {
                    let length = framing.saturating_add(content);
                    self.take(rest.get(framing..length).unwrap_or_default());
                    passed += length;
                }
                Ok(ChunkPart::End { framing, trailers }) => {
                    self.filler.end(trailers);
                    return passed + framing;
                }
                Ok(ChunkPart::More) => break,
                Err(error) => {
                    tracing::debug!(%error, "the body of a request is malformed");
                    self.filler.fail(Broken::Malformed);
                    self.rest = Rest::Broken;
                }
            }
        }
        bytes.len()
    }

    /// Passes on body bytes. Framing alone does not satisfy a waiting reader.
    fn take(&mut self, bytes: &[u8]) {
        let never_read = self.filler.push(bytes);
        self.unread = (self.unread + bytes.len()).saturating_sub(never_read);
        self.hungry_since = None;
    }

    /// Returns true if the body is complete.
    pub(super) fn is_whole(&self) -> bool {
        match &self.rest {
            Rest::Broken => false,
            Rest::Chunks(decoder) => decoder.is_over(),
            Rest::Length(left) => *left == 0,
        }
    }

    /// Returns true after a framing error.
    pub(super) const fn is_broken(&self) -> bool {
        matches!(self.rest, Rest::Broken)
    }

    /// Returns true if more body bytes are welcome.
    pub(super) const fn wants_input(&self) -> bool {
        self.unread < UNREAD_BYTES_MAX && !self.is_broken()
    }

    /// Returns true if the reader was dropped.
    pub(super) const fn is_abandoned(&self) -> bool {
        self.is_abandoned
    }

    /// Returns true if `100 Continue` must be sent now: once, and only after the reader begins to wait.
    pub(super) fn take_word(&mut self) -> bool {
        self.is_awaited && std::mem::take(&mut self.awaits_word)
    }

    /// Records the actions of the reader. Returns false once the reader has waited for `patience`, and then reads an
    /// error.
    pub(super) fn tend(&mut self, now: Instant, patience: Duration) -> bool {
        let tended = self.filler.tend();
        self.unread = self.unread.saturating_sub(tended.read);
        (self.is_abandoned, self.is_awaited) = (tended.is_abandoned, tended.is_awaited);
        if !tended.is_awaited {
            self.hungry_since = None;
            return true;
        }
        let since = *self.hungry_since.get_or_insert(now);
        let is_in_time = now.saturating_duration_since(since) < patience;
        if !is_in_time {
            self.filler.fail(Broken::Slow);
        }
        is_in_time
    }

    /// Returns the time at which the reader's patience ends.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Instant> {
        self.hungry_since.map(|since| since + patience)
    }
}
