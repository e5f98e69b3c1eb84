//! Plain requests of HTTP/1.1 (RFC 9112): GET and HEAD without a body or an upgrade, one after the other. At the
//! first other one the connection is handed over, with every byte that was not answered.

mod answering;
mod head;

#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::task::Context;

use http::Version;

use self::answering::{Current, Put};
use self::head::{HEAD_BYTES_MAX, Head};
use super::fields::Fields;
use super::limits::Limits;
use super::request::RequestHead;
use super::sink::Sink;
use super::{Service, Turn};

/// Bytes of a head that has begun up to which each further byte is looked at; beyond, each further line.
const LOOK_BYTES_MAX: usize = 1_024;

/// A connection of HTTP/1.1, as long as its requests are plain.
pub struct Connection<S: Service> {
    service: S,
    limits: Rc<Limits>,
    unread: Unread,
    /// The current answer.
    current: Option<Current<S::Outcome>>,
    requests: u64,
    /// The unread bytes are for another engine.
    is_other: bool,
    drains: bool,
}

/// Bytes that came and were not answered. Without memory while there are none.
#[derive(Debug, Default)]
struct Unread {
    bytes: Vec<u8>,
    /// Where they begin; what is before was answered.
    start: usize,
    /// Number of them that are known to be an incomplete head.
    looked_at: usize,
}

/// The next need of a connection after a turn.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Open,
    /// All that came before is answered; the rest is for another to answer: these bytes first, then what comes.
    HandOver(Vec<u8>),
    /// An answer broke off: the socket is to be closed, so that it is not taken for whole.
    Over,
}

/// Parses the beginning of the unread bytes.
enum Next {
    /// A request of so many bytes, which is being answered now.
    Begun(usize),
    /// The beginning of a head.
    Partial,
    /// The bytes for another engine.
    Other,
}

impl<S: Service> Connection<S> {
    /// Begins a connection.
    pub fn new(limits: Rc<Limits>, service: S) -> Self {
        Self { service, limits, unread: Unread::default(), current: None, requests: 0, is_other: false, drains: false }
    }

    /// Takes bytes that came, all of them, in pieces of any size.
    pub fn receive(&mut self, bytes: &[u8], turn: &mut Turn<'_>) {
        let mut bytes = bytes;
        if self.current.is_none() && self.unread.is_empty() && !self.is_other {
            // Most requests are read where they are.
            match self.begin(bytes, turn) {
                Next::Begun(length) => bytes = bytes.get(length..).unwrap_or_default(),
                Next::Partial => self.unread.looked_at = bytes.len(),
                Next::Other => self.is_other = true,
            }
        }
        self.unread.push(bytes);
    }

    /// Whether more bytes are welcome.
    pub fn wants_input(&self) -> bool {
        self.current.is_none() && !self.is_other && !self.unread.is_worth_a_look()
    }

    /// Puts what is to be sent while the sink has room; `cx` is woken when there is more.
    pub fn produce(&mut self, sink: &mut impl Sink, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> State {
        loop {
            if let Some(current) = &mut self.current {
                match current.put(sink, turn, cx) {
                    Put::All => self.current = None,
                    Put::Some => return State::Open,
                    Put::Broken => return State::Over,
                }
            }
            if self.is_other {
                return State::HandOver(self.unread.take());
            }
            if !self.unread.is_worth_a_look() || sink.room() == 0 {
                return State::Open;
            }
            // Put aside while the service looks at a part of it.
            let bytes = std::mem::take(&mut self.unread.bytes);
            let next = self.begin(bytes.get(self.unread.start..).unwrap_or_default(), turn);
            self.unread.bytes = bytes;
            match next {
                Next::Begun(length) => self.unread.advance(length),
                Next::Partial => self.unread.looked_at = self.unread.len(),
                Next::Other => self.is_other = true,
            }
        }
    }

    /// Begins to answer the request at the beginning of `bytes`.
    fn begin(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Next {
        // The last one that is allowed is for another too, who says so.
        if self.drains || self.requests.saturating_add(1) >= self.limits.requests {
            return Next::Other;
        }
        let (method, target, length) = match head::read(bytes, &self.limits, turn.scratch) {
            Head::Plain { method, target, length } => (method, target, length),
            Head::Partial => return Next::Partial,
            Head::Other => return Next::Other,
        };
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let request = RequestHead {
            version: Version::HTTP_11,
            method: &method,
            scheme: None,
            authority: None,
            path,
            query,
            fields: Fields::Lines(&turn.scratch.lines),
        };
        let current = self.service.answer(&request, turn.now, |answer| Current::new(answer, &method));
        self.service.end_of_batch();
        let Some(current) = current else { return Next::Other };
        self.requests += 1;
        self.current = Some(current);
        Next::Begun(length)
    }

    /// The next request is for another to answer, who will say that it is the last.
    pub fn drain(&mut self) {
        self.drains = true;
        // A head that has begun as well.
        self.is_other |= !self.unread.is_empty();
    }

    /// Requests that have begun so far.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Requests whose answer was not yet put to the last byte.
    pub fn in_flight(&self) -> usize {
        usize::from(self.current.is_some())
    }

    /// Bytes of bodies that are held for the peer.
    pub fn held_for_peer(&self) -> usize {
        self.current.as_ref().map_or(0, Current::held_bytes)
    }

    /// Whether everything is answered that came, to the last byte.
    pub fn is_idle(&self) -> bool {
        self.current.is_none() && self.unread.is_empty()
    }
}

impl Unread {
    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        drop(self.bytes.drain(..self.start));
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    fn advance(&mut self, count: usize) {
        self.start += count;
        self.looked_at = 0;
        if self.start >= self.bytes.len() {
            *self = Self::default();
        }
    }

    /// Whether there may be more at the beginning than at the last look. What comes byte by byte is not read from its
    /// beginning for each of them.
    fn is_worth_a_look(&self) -> bool {
        let new = self.bytes.get(self.start + self.looked_at..).unwrap_or_default();
        let is_short = self.len() < LOOK_BYTES_MAX;
        !new.is_empty() && (is_short || self.len() >= HEAD_BYTES_MAX || new.contains(&b'\n'))
    }

    fn take(&mut self) -> Vec<u8> {
        let Self { mut bytes, start, .. } = std::mem::take(self);
        drop(bytes.drain(..start));
        bytes
    }
}
