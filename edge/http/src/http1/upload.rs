//! The body of a request of HTTP/1.1, on its way to its reader.

use std::task::Waker;
use std::time::{Duration, Instant};

use crate::chunks::{ChunkDecoder, ChunkPart};
use crate::inbound::{Broken, Filler, Inbound};

/// Bytes that may wait for the reader. What has not been read of the socket, the kernel holds back.
pub(super) const UNREAD_BYTES_MAX: usize = 64 * 1024;

/// The body that a head announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AnnouncedBody {
    pub(super) framing: BodyFraming,
    /// The client waits for a word before it sends it: `Expect: 100-continue`.
    pub(super) awaits_word: bool,
}

/// The length of a body (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// It comes in chunks.
    Chunks,
    /// It has so many bytes.
    Length(u64),
}

/// A body of which bytes are still to come.
pub(super) struct Upload {
    filler: Filler,
    rest: Rest,
    /// The client waits for a word before it sends any of it.
    awaits_word: bool,
    /// The reader waits.
    is_awaited: bool,
    /// Bytes that came, and wait for the reader.
    unread: usize,
    /// The time since which the reader waits.
    hungry_since: Option<Instant>,
    /// Nobody reads it any more.
    is_abandoned: bool,
}

/// The bytes that are still to come.
enum Rest {
    /// Some that mean nothing: the framing broke.
    Broken,
    /// Chunks.
    Chunks(Box<ChunkDecoder>),
    /// So many.
    Length(u64),
}

impl Upload {
    /// Begins with a body of more than no bytes, with at most so many trailers. `connection` is woken when it is read.
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

    /// Takes the bytes of the body at the beginning of `bytes`, and returns their number.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> usize {
        // RFC 9110 §10.1.1: who sends has not waited.
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

    /// Takes chunks. What comes after an error of theirs means nothing.
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

    /// Takes bytes of the body itself. Framing alone does not help a reader that waits.
    fn take(&mut self, bytes: &[u8]) {
        let never_read = self.filler.push(bytes);
        self.unread = (self.unread + bytes.len()).saturating_sub(never_read);
        self.hungry_since = None;
    }

    /// Whether all of it came.
    pub(super) fn is_whole(&self) -> bool {
        match &self.rest {
            Rest::Broken => false,
            Rest::Chunks(decoder) => decoder.is_over(),
            Rest::Length(left) => *left == 0,
        }
    }

    /// Whether what comes is no request that could be answered.
    pub(super) const fn is_broken(&self) -> bool {
        matches!(self.rest, Rest::Broken)
    }

    /// Whether more of it is welcome.
    pub(super) const fn wants_input(&self) -> bool {
        self.unread < UNREAD_BYTES_MAX && !self.is_broken()
    }

    /// Whether nobody reads the rest.
    pub(super) const fn is_abandoned(&self) -> bool {
        self.is_abandoned
    }

    /// Whether the client is to be asked for the body now: once, and not before somebody reads it.
    pub(super) fn take_word(&mut self) -> bool {
        self.is_awaited && std::mem::take(&mut self.awaits_word)
    }

    /// Takes note of what the reader did. False once it has waited for `patience`, and reads an error.
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

    /// The end of its reader's patience.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Instant> {
        self.hungry_since.map(|since| since + patience)
    }
}
