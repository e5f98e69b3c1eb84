//! Plain requests of HTTP/1.1 (RFC 9112), one after the other, until one of them switches to another protocol: with no
//! body but one of an announced length or in chunks. At the first other one the connection is handed over, with every
//! byte that was not answered.
//!
//! A request is answered at once ([`Service::answer`]), or it is begun ([`Service::begin`]) and its response is awaited
//! while its body comes in.

mod answering;
mod exchange;
mod head;
mod unread;
mod upload;

#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::Version;
use http::header::CONNECTION;

use self::answering::{Current, Put};
use self::exchange::Exchange;
use self::head::{HEAD_BYTES_MAX, Head};
use self::unread::Unread;
use super::fields::Fields;
use super::limits::Limits;
use super::request::RequestHead;
use super::sink::Sink;
use super::under_way::{Kinds, UnderWay};
use super::upgrade::UpgradeSender;
use super::{Answered, Service, Turn};

/// What a client is told that waits for a word before it sends a body (RFC 9110 §15.2.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A connection of HTTP/1.1, as long as its requests are plain.
pub struct Connection<S: Service> {
    service: S,
    limits: Rc<Limits>,
    unread: Unread,
    /// The request that is not answered at once.
    exchange: Option<Box<Exchange<S::Pending>>>,
    /// The current answer.
    current: Option<Current<S::Outcome>>,
    requests: u64,
    /// The unread bytes are for another engine.
    is_other: bool,
    drains: bool,
    /// The current answer switches to another protocol.
    switches: bool,
    ending: Ending,
}

/// Whether the connection ends by what is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The current answer is the last.
    AfterAnswer,
    /// It goes on.
    Never,
    /// The response is none that can be sent.
    Now,
}

/// The next need of a connection after a turn.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// An answer broke off: the socket is to be closed, so that it is not taken for whole.
    Broken,
    /// All that came before is answered; the rest is for another to answer: these bytes first, then what comes.
    HandOver(Vec<u8>),
    /// It goes on.
    Open,
    /// The last answer is whole: the connection is to be closed.
    Over,
    /// It has switched to another protocol, of which these bytes came already. The stream is for
    /// [`Connection::into_upgrade`].
    Upgraded(Vec<u8>),
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
        Self {
            service,
            limits,
            unread: Unread::default(),
            exchange: None,
            current: None,
            requests: 0,
            is_other: false,
            drains: false,
            switches: false,
            ending: Ending::Never,
        }
    }

    /// Takes bytes that came, all of them, in pieces of any size.
    pub fn receive(&mut self, bytes: &[u8], turn: &mut Turn<'_>) {
        let mut bytes = bytes;
        if self.unread.is_empty() {
            if let Some(exchange) = &mut self.exchange {
                bytes = bytes.get(exchange.receive(bytes)..).unwrap_or_default();
            } else if self.current.is_none() && !self.is_other {
                // Most requests are read where they are.
                match self.begin(bytes, turn) {
                    Next::Begun(length) => bytes = bytes.get(length..).unwrap_or_default(),
                    Next::Partial => self.unread.are_partial(bytes.len()),
                    Next::Other => self.is_other = true,
                }
            }
        }
        self.unread.push(bytes);
    }

    /// Whether more bytes are welcome.
    pub fn wants_input(&self) -> bool {
        if self.is_other {
            return false;
        }
        match &self.exchange {
            // Beyond its body, so that the end of the client is seen.
            Some(exchange) => exchange.wants_body().unwrap_or(self.unread.len() < HEAD_BYTES_MAX),
            None => self.current.is_none() && !self.unread.is_worth_a_look(),
        }
    }

    /// Puts what is to be sent while the sink has room; `cx` is woken when there is more.
    pub fn produce(&mut self, sink: &mut impl Sink, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> State {
        loop {
            if self.exchange.is_some() {
                self.advance(turn.now, cx);
                self.put_interim(sink, cx);
            }
            if self.ending == Ending::Now {
                return State::Broken;
            }
            if let Some(current) = &mut self.current {
                match current.put(sink, turn, cx) {
                    Put::All => self.current = None,
                    Put::Some => return State::Open,
                    Put::Broken => return State::Broken,
                }
                if std::mem::take(&mut self.switches) {
                    return State::Upgraded(self.unread.take());
                }
                let is_cut = self.exchange.take().is_some_and(|exchange| exchange.is_uploading());
                // What comes of a body that nobody reads cannot be distinguished from a next request.
                if self.ending == Ending::AfterAnswer || is_cut {
                    return State::Over;
                }
            }
            if self.exchange.is_some() {
                return State::Open;
            }
            if self.is_other {
                return State::HandOver(self.unread.take());
            }
            if !self.unread.is_worth_a_look() || sink.room() == 0 {
                return State::Open;
            }
            // Put aside while the service looks at a part of it.
            let unread = std::mem::take(&mut self.unread);
            let next = self.begin(unread.bytes(), turn);
            self.unread = unread;
            match next {
                Next::Begun(length) => self.unread.advance(length),
                Next::Partial => self.unread.are_partial(self.unread.len()),
                Next::Other => self.is_other = true,
            }
        }
    }

    /// Has a turn without output: the response is awaited, and the body of its request is read, also while the peer has
    /// not taken what was put before.
    pub fn tend(&mut self, turn: &Turn<'_>, cx: &mut Context<'_>) {
        self.advance(turn.now, cx);
    }

    /// Begins to answer the request at the beginning of `bytes`.
    fn begin(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Next {
        // The last one that is allowed is for another too, who says so.
        if self.drains || self.requests.saturating_add(1) >= self.limits.requests {
            return Next::Other;
        }
        let (method, target, length, body, asks_upgrade) = match head::read(bytes, &self.limits, turn.scratch) {
            Head::Plain { method, target, length, body, asks_upgrade } => (method, target, length, body, asks_upgrade),
            Head::Partial => return Next::Partial,
            Head::Other => return Next::Other,
        };
        let mut pending = None;
        if body.is_none() {
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
            match self.service.answer(&request, turn.now, |answer| Current::new(answer, &method)) {
                Answered::Now(current) => self.current = Some(current),
                Answered::Later(decided) => pending = Some(decided),
            }
            self.service.end_of_batch();
        }
        if self.current.is_none() {
            let Some(request) = head::to_request(&method, target, &turn.scratch.lines) else { return Next::Other };
            self.exchange = Some(Box::new(match asks_upgrade {
                true => Exchange::asking_upgrade(request, pending),
                false => Exchange::new(request, body, pending),
            }));
        }
        self.requests += 1;
        Next::Begun(length)
    }

    /// Goes on with the request whose response is awaited, and with its body.
    fn advance(&mut self, now: Instant, cx: &mut Context<'_>) {
        let Some(exchange) = &mut self.exchange else { return };
        exchange.begin(&self.service, &self.limits, cx);
        if !self.unread.is_empty() {
            let count = exchange.receive(self.unread.bytes());
            self.unread.advance(count);
        }
        let Poll::Ready(response) = exchange.poll(&self.limits, now, cx) else { return };
        let is_close = response.headers().get(CONNECTION).is_some_and(|value| value == "close");
        let is_last = self.drains || is_close || exchange.is_unread();
        self.current = Current::of_response(response, exchange.method(), is_last, exchange.may_switch());
        self.switches = self.current.as_ref().is_some_and(Current::switches);
        self.ending = match self.current {
            None => Ending::Now,
            Some(_) if is_last => Ending::AfterAnswer,
            Some(_) => Ending::Never,
        };
    }

    /// Puts interim responses, which come before the awaited one: the edge's own, once the body is awaited that the
    /// client waits to send (RFC 9110 §10.1.1), and those of the service.
    fn put_interim(&mut self, sink: &mut impl Sink, cx: &Context<'_>) {
        if self.current.is_none() && self.exchange.as_mut().is_some_and(|exchange| exchange.take_word()) {
            sink.put(CONTINUE);
        }
        let is_between = self.current.as_ref().is_none_or(Current::is_whole);
        if is_between && let Some(interim) = self.service.interim(cx.waker()) {
            sink.put(&interim);
        }
    }

    /// Where the stream goes of a connection that has switched to another protocol.
    pub fn into_upgrade(self) -> Option<UpgradeSender> {
        self.exchange.and_then(|exchange| exchange.into_upgrade())
    }

    /// The next request is for another to answer, who will say that it is the last.
    pub fn drain(&mut self) {
        self.drains = true;
        // A head that has begun as well.
        self.is_other |= self.exchange.is_none() && !self.unread.is_empty();
    }

    /// The time at which it wants a turn, whatever comes until then.
    pub fn deadline(&self) -> Option<Instant> {
        self.exchange.as_ref()?.deadline(self.limits.body)
    }

    /// Requests that have begun so far.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Requests whose answer was not yet put to the last byte.
    pub fn in_flight(&self) -> usize {
        usize::from(self.current.is_some() || self.exchange.is_some())
    }

    /// What is under way.
    pub fn under_way(&self) -> Kinds {
        match (&self.current, &self.exchange) {
            (Some(current), _) => current.under_way().into(),
            (None, Some(exchange)) if exchange.is_uploading() => UnderWay::Upload.into(),
            (None, Some(_)) => UnderWay::Request.into(),
            (None, None) => Kinds::NONE,
        }
    }

    /// Ends an event stream where it is: its client connects again. What else is under way goes with the connection.
    pub fn cut(&mut self, kinds: Kinds) {
        if let Some(current) = &mut self.current
            && current.under_way() == UnderWay::EventStream
            && kinds.has(UnderWay::EventStream)
        {
            current.end_here();
        }
    }

    /// Bytes of bodies that are held for the peer.
    pub fn held_for_peer(&self) -> usize {
        self.current.as_ref().map_or(0, Current::held_bytes)
    }

    /// Whether everything is answered that came, to the last byte.
    pub fn is_idle(&self) -> bool {
        self.in_flight() == 0 && self.unread.is_empty()
    }

    /// Whether nothing is to be done any more, once the peer sends no more: the beginning of a head that gets no end is
    /// no request, and a response that is awaited would be to a peer that is gone.
    pub fn is_done(&self) -> bool {
        self.exchange.is_some() || self.current.is_none() && self.wants_input()
    }
}
