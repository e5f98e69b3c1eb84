//! Requests of HTTP/1.1 and 1.0 (RFC 9112), one after the other, until one is the last or switches to another protocol.
//! What is no request, or larger than it may be, is refused here, and ends the connection.
//!
//! A request is answered at once ([`Service::answer`]), or begun ([`Service::begin`]) and awaited while the body
//! arrives.

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

use http::header::CONNECTION;
use http::{StatusCode, Version};

use self::answering::{AnswerForm, CurrentAnswer, Put};
use self::exchange::Exchange;
use self::head::{FieldsOfUse, Head, RequestLine};
use self::unread::Unread;
use super::limits::Limits;
use super::sink::Sink;
use super::under_way::{Kinds, UnderWay};
use super::upgrade::UpgradeSender;
use super::{Answered, Service, Turn};

/// Interim response for a client that waits before sending a body (RFC 9110 §15.2.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Bytes beyond a request with a body that are read while it is answered, so that the end of its client is seen.
const AHEAD_BYTES_MAX: usize = 16 * 1024;

/// A connection of HTTP/1.1.
pub struct Connection<S: Service> {
    service: S,
    limits: Rc<Limits>,
    unread: Unread,
    /// Deferred request.
    exchange: Option<Box<Exchange<S::Pending>>>,
    /// Answer being written.
    current: Option<CurrentAnswer<S::Outcome>>,
    requests: u64,
    /// The next request is the last.
    drains: bool,
    /// True if the current answer switches protocols.
    switches: bool,
    ending: Ending,
}

/// End of the connection as decided by the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The connection ends after the current answer.
    AfterAnswer,
    /// The connection continues.
    Never,
    /// The response is invalid and cannot be sent.
    Now,
}

/// Next action for the driver after a turn.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// An answer broke off: the driver must close the socket, so that the client does not take the answer for complete.
    Broken,
    /// It goes on.
    Open,
    /// The last answer is complete: the driver closes the connection.
    Over,
    /// The connection switched protocols; these bytes of the new protocol already arrived. The stream goes to the
    /// receiver in [`Connection::into_upgrade`].
    Upgraded(Vec<u8>),
}

/// Result of parsing the unread bytes.
enum Next {
    /// A request of this length is being answered.
    Begun(usize),
    /// The beginning of a head, after so many bytes over which one passes.
    Partial(usize),
    /// No request that is answered, and nothing that comes after it: the connection ends with what is being put.
    Ended,
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
            drains: false,
            switches: false,
            ending: Ending::Never,
        }
    }

    /// Consumes all received bytes, in pieces of any size.
    pub fn receive(&mut self, bytes: &[u8], turn: &mut Turn<'_>) {
        let mut bytes = bytes;
        if self.unread.is_empty() {
            if let Some(exchange) = &mut self.exchange {
                bytes = bytes.get(exchange.receive(bytes)..).unwrap_or_default();
            } else if self.ending != Ending::Never && self.current.is_none() {
                return;
            } else if self.current.is_none() {
                // Most requests are read where they are.
                match self.begin(bytes, turn) {
                    Next::Begun(length) => bytes = bytes.get(length..).unwrap_or_default(),
                    Next::Partial(passed) => {
                        bytes = bytes.get(passed..).unwrap_or_default();
                        self.unread.are_partial(bytes.len());
                    }
                    Next::Ended => return,
                }
            }
        }
        self.unread.push(bytes);
    }

    /// Returns true if more bytes are welcome.
    pub fn wants_input(&self) -> bool {
        match &self.exchange {
            Some(exchange) => exchange.wants_body().unwrap_or(self.unread.len() < AHEAD_BYTES_MAX),
            None => self.current.is_none() && !self.is_worth_a_look(),
        }
    }

    /// Writes output while the sink has room; `cx` is woken when more is ready.
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
                // Input after an unread body cannot be distinguished from a next request.
                if self.ending == Ending::AfterAnswer || is_cut {
                    return State::Over;
                }
            }
            if self.exchange.is_some() {
                return State::Open;
            }
            if self.ending == Ending::AfterAnswer {
                return State::Over;
            }
            if !self.is_worth_a_look() || sink.room() == 0 {
                return State::Open;
            }
            // Moved out while the service borrows a part.
            let unread = std::mem::take(&mut self.unread);
            let next = self.begin(unread.bytes(), turn);
            self.unread = unread;
            match next {
                Next::Begun(length) => self.unread.advance(length),
                Next::Partial(passed) => {
                    self.unread.advance(passed);
                    self.unread.are_partial(self.unread.len());
                }
                Next::Ended => drop(self.unread.take()),
            }
        }
    }

    /// Whether there may be a head, or a fault, among the unread bytes.
    fn is_worth_a_look(&self) -> bool {
        self.unread.is_worth_a_look(head::bytes_max(&self.limits))
    }

    /// Has a turn without output: the response is awaited, and the body of its request is read, also while the peer has
    /// not taken what was put before.
    pub fn tend(&mut self, turn: &Turn<'_>, cx: &mut Context<'_>) {
        self.advance(turn.now, cx);
    }

    /// Begins to answer the request at the beginning of `bytes`.
    fn begin(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Next {
        let passed = head::empty_lines(bytes);
        let bytes = bytes.get(passed..).unwrap_or_default();
        match head::read(bytes, &self.limits, turn.scratch) {
            Head::Whole(line, fields) => {
                let length = passed + line.length;
                match self.begin_request(line, &fields, turn) {
                    Some(()) => Next::Begun(length),
                    None => self.refuse(StatusCode::BAD_REQUEST),
                }
            }
            Head::Partial => Next::Partial(passed),
            Head::Refused(status) => self.refuse(status),
            Head::Http2 => {
                self.ending = Ending::AfterAnswer;
                Next::Ended
            }
        }
    }

    /// Answers a request at once, or begins to. `None` if it cannot be handed on.
    fn begin_request(&mut self, line: RequestLine<'_>, fields: &FieldsOfUse, turn: &mut Turn<'_>) -> Option<()> {
        let is_last = self.drains || !fields.keeps || self.requests.saturating_add(1) >= self.limits.requests;
        let manner =
            AnswerForm { is_http10: line.version == Version::HTTP_10, is_last, takes_trailers: fields.takes_trailers };
        let mut pending = None;
        if fields.body.is_none() {
            let request = line.request(&turn.scratch.lines);
            match self.service.answer(&request, turn.now, |answer| CurrentAnswer::new(answer, &line.method, manner)) {
                Answered::Now(current) => {
                    if current.is_last() {
                        self.ending = Ending::AfterAnswer;
                    }
                    self.current = Some(current);
                }
                Answered::Later(decided) => pending = Some(decided),
            }
            self.service.end_of_batch();
        }
        if self.current.is_none() {
            let request = line.into_request(&turn.scratch.lines, fields.body.map(|body| body.framing))?;
            self.exchange = Some(Box::new(match fields.asks_upgrade {
                true => Exchange::asking_upgrade(request, pending, manner),
                false => Exchange::new(request, fields.body, pending, manner),
            }));
        }
        self.requests += 1;
        Some(())
    }

    /// Refuses what came. What follows cannot be told from the rest of it.
    fn refuse(&mut self, status: StatusCode) -> Next {
        self.service.note_refusal(Version::HTTP_11, status);
        self.requests += 1;
        self.current = CurrentAnswer::refusal(status);
        self.ending = Ending::AfterAnswer;
        Next::Ended
    }

    /// Advances the awaited response and the request body.
    fn advance(&mut self, now: Instant, cx: &mut Context<'_>) {
        let Some(exchange) = &mut self.exchange else { return };
        exchange.begin(&self.service, &self.limits, cx);
        if !self.unread.is_empty() {
            let count = exchange.receive(self.unread.bytes());
            self.unread.advance(count);
        }
        let Poll::Ready(response) = exchange.poll(&self.limits, now, cx) else { return };
        let is_close = response.headers().get(CONNECTION).is_some_and(|value| value == "close");
        let mut manner = exchange.manner();
        manner.is_last |= self.drains || is_close || exchange.is_unread();
        self.current = CurrentAnswer::of_response(response, exchange.method(), manner, exchange.may_switch());
        self.switches = self.current.as_ref().is_some_and(CurrentAnswer::switches);
        self.ending = match &self.current {
            None => Ending::Now,
            Some(current) if current.is_last() => Ending::AfterAnswer,
            Some(_) => Ending::Never,
        };
    }

    /// Writes interim responses before the awaited response: `100 Continue` once the service reads a body that the
    /// client holds back (RFC 9110 §10.1.1), and the interim responses of the service.
    fn put_interim(&mut self, sink: &mut impl Sink, cx: &Context<'_>) {
        if self.current.is_none() && self.exchange.as_mut().is_some_and(|exchange| exchange.take_word()) {
            sink.put(CONTINUE);
        }
        let is_between = self.current.as_ref().is_none_or(CurrentAnswer::is_whole);
        if is_between && let Some(interim) = self.service.interim(cx.waker()) {
            sink.put(&interim);
        }
    }

    /// Returns the receiver of the stream of a connection that switched protocols.
    pub fn into_upgrade(self) -> Option<UpgradeSender> {
        self.exchange.and_then(|exchange| exchange.into_upgrade())
    }

    /// The answer to the next request says that it is the last, and so does one that is awaited.
    pub fn drain(&mut self) {
        self.drains = true;
    }

    /// Returns the time of the next required turn, regardless of input.
    pub fn deadline(&self) -> Option<Instant> {
        self.exchange.as_ref()?.deadline(self.limits.body)
    }

    /// Returns the number of requests begun so far.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Returns the number of requests without a completely written answer.
    pub fn in_flight(&self) -> usize {
        usize::from(self.current.is_some() || self.exchange.is_some())
    }

    /// Returns the kinds of requests under way.
    pub fn under_way(&self) -> Kinds {
        match (&self.current, &self.exchange) {
            (Some(current), _) => current.under_way().into(),
            (None, Some(exchange)) if exchange.is_uploading() => UnderWay::Upload.into(),
            (None, Some(_)) => UnderWay::Request.into(),
            (None, None) => Kinds::NONE,
        }
    }

    /// Ends an event stream in place: the client reconnects. All other requests end with the connection.
    pub fn cut(&mut self, kinds: Kinds) {
        if let Some(current) = &mut self.current
            && current.under_way() == UnderWay::EventStream
            && kinds.has(UnderWay::EventStream)
        {
            current.end_here();
        }
    }

    /// Returns the body bytes held for the peer.
    pub fn held_for_peer(&self) -> usize {
        self.current.as_ref().map_or(0, CurrentAnswer::held_bytes)
    }

    /// Returns true if all received requests are completely answered.
    pub fn is_idle(&self) -> bool {
        self.in_flight() == 0 && self.unread.is_empty()
    }

    /// Returns true if no work is left once the peer has closed its side: an incomplete head is no request, and an
    /// awaited response would have no receiver.
    pub fn is_done(&self) -> bool {
        self.exchange.is_some() || self.current.is_none() && self.wants_input()
    }
}
