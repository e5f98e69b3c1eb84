//! A connection to a member, driven by the request that waits for its answer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::StatusCode;
use http_body::{Body as _, Frame};
use tokio_util::io::poll_read_buf;

use super::codec::{self, Decoded, Decoder, Fault, HEAD_BYTES_MAX, Head, Length};
use super::output::{Framing, Output};
use super::request_sender::{RequestSender, SendingRest};
use super::stream::{Early, Stream};
use crate::proxy::interim::Passing;
use crate::proxy::outgoing::Outgoing;
use crate::proxy::request_body::RequestBody;

/// Bytes that are read at once at least, and those that a slow client may leave here.
const READ_BYTES: std::ops::RangeInclusive<usize> = 4 * 1024..=64 * 1024;
/// Bytes that are read at once while the head of an answer is awaited: what comes with it is held until its client
/// takes the answer.
const HEAD_READ_BYTES_MAX: usize = 8 * 1024;
/// Room in the buffer from which on it is read into.
const ROOM_BYTES_MIN: usize = 1024;
/// Interim answers that are read in one turn, after which others have theirs; how long they may go on is the route's
/// time for the first byte.
const INTERIMS_MAX: usize = 64;
/// Most bytes of a request's body that are read when its backend takes no more of it.
const UNWANTED_BYTES_MAX: usize = 1024 * 1024;

/// A connection. Dropped before its exchange has ended it is closed, which is how a request is cancelled.
pub(crate) struct Connection {
    /// Whether another exchange may follow.
    is_kept: bool,
    /// Sends the rest of a request that is answered already.
    rest: Option<SendingRest>,
    wire: Rc<RefCell<Wire>>,
}

/// Why a request was not answered.
pub(crate) struct Unanswered {
    pub(crate) fault: Fault,
    /// Whether nothing of it was sent.
    pub(crate) is_unsent: bool,
}

/// Both directions of a connection.
struct Wire {
    input: BytesMut,
    interims: usize,
    /// Size of a read where the length is unknown: the size of the answer before.
    read_bytes: usize,
    received: usize,
    /// Bytes of `input` that are known not to hold a whole head.
    seen: usize,
    sender: RequestSender<Framing>,
    /// Bytes of the request that are still read when the backend takes no more of it.
    unwanted_left: usize,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        let wire = Wire {
            input: BytesMut::new(),
            interims: 0,
            read_bytes: 2 * READ_BYTES.start(),
            received: 0,
            seen: 0,
            sender: RequestSender::new(stream, Framing::Over),
            unwanted_left: 0,
        };
        Self { is_kept: true, rest: None, wire: Rc::new(RefCell::new(wire)) }
    }

    /// Sends a request and waits for the head of its answer. Where it comes before all of the request is sent, a task
    /// sends the rest.
    pub(crate) async fn send(
        &mut self,
        request: &Outgoing,
        body: RequestBody,
        passing: Option<&Passing>,
    ) -> Result<(Head, Decoder), Unanswered> {
        self.wire.borrow_mut().begin(request, body);
        let answered = poll_fn(|cx| self.wire.borrow_mut().poll_answer(cx, passing)).await;
        let answered = answered.and_then(|mut head| {
            let length = head.length(&request.method)?;
            let may_lie = head.may_lie(&request.method);
            head.normalise(length)?;
            Ok((head, length, may_lie))
        });
        match answered {
            Ok((head, length, may_lie)) => {
                // Servers that send a body all the same send it after the head: it would be the next request's answer.
                self.is_kept = head.keeps_connection() && length != Length::UntilClose && !may_lie;
                self.send_rest(head.status);
                Ok((head, Decoder::new(length)))
            }
            Err(fault) => Err(Unanswered { fault, is_unsent: !self.wire.borrow().sender.has_written() }),
        }
    }

    fn send_rest(&mut self, status: StatusCode) {
        if self.wire.borrow().sender.is_sent() || status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let wire = Rc::clone(&self.wire);
        let rest = poll_fn(move |cx| wire.borrow_mut().poll_rest(cx));
        self.rest = Some(SendingRest::spawn(rest));
    }

    /// The next frame of the answer's body, nothing at its end. At most `bytes_max` bytes are read for it.
    pub(crate) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
        decoder: &mut Decoder,
        bytes_max: usize,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let mut wire = self.wire.borrow_mut();
        loop {
            match decoder.decode(&mut wire.input) {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Decoded::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Decoded::Over) => return Poll::Ready(None),
                Ok(Decoded::More) => {}
                Err(fault) => return Poll::Ready(Some(Err(fault))),
            }
            match ready!(wire.poll_fill(cx, decoder.left(), bytes_max)) {
                Ok(0) => return Poll::Ready(decoder.close().err().map(Err)),
                Ok(_) => {}
                Err(fault) => return Poll::Ready(Some(Err(fault))),
            }
        }
    }

    /// Bytes of memory that what was read takes, and was not given.
    pub(crate) fn held_bytes(&self) -> usize {
        let wire = self.wire.borrow();
        if wire.input.is_empty() { 0 } else { wire.input.capacity() }
    }

    /// Whether the answer is over and the request is not.
    pub(crate) const fn is_sending_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// Waits until all of the request is sent, or the backend takes no more of it.
    pub(crate) async fn sent_rest(&mut self) {
        if let Some(rest) = &mut self.rest {
            self.is_kept &= rest.ended().await;
            self.rest = None;
        }
    }

    /// Gives up what is only needed within an exchange; says whether another one may follow.
    pub(crate) fn rest(&mut self) -> bool {
        let mut wire = self.wire.borrow_mut();
        let is_free = self.is_kept && self.rest.is_none() && wire.sender.is_sent() && wire.input.is_empty();
        wire.read_bytes = (wire.received + 1).next_power_of_two().clamp(*READ_BYTES.start(), *READ_BYTES.end());
        wire.input = BytesMut::new();
        wire.sender.output = Output::default();
        is_free
    }

    /// Whether the backend has neither closed the idle connection nor sent what nobody asked for.
    pub(crate) fn is_quiet(&self) -> bool {
        self.wire.borrow_mut().sender.is_quiet()
    }

    /// The stream, with what was read ahead, once the backend speaks another protocol on it.
    pub(crate) fn into_stream(self) -> Option<Early> {
        let Wire { input, sender, .. } = Rc::into_inner(self.wire)?.into_inner();
        Some(Early { bytes: input, stream: sender.stream })
    }
}

impl Wire {
    fn begin(&mut self, request: &Outgoing, body: RequestBody) {
        self.sender.begin(request.length.map_or(Framing::Chunked, Framing::Known), Some(body));
        (self.received, self.seen, self.unwanted_left) = (0, 0, UNWANTED_BYTES_MAX);
        codec::write_head(&mut self.sender.output.flat, &request.method, request.target.as_str(), &request.headers);
    }

    /// Reads once, at most `bytes_max` bytes; with `left`, no more is expected than that.
    fn poll_fill(&mut self, cx: &mut Context<'_>, left: Option<u64>, bytes_max: usize) -> Poll<Result<usize, Fault>> {
        let spare = self.input.capacity().saturating_sub(self.input.len());
        let most = bytes_max.clamp(ROOM_BYTES_MIN, *READ_BYTES.end());
        // Where all of it fits and one byte more, the system need not be asked whether there is more.
        let left = left.map(|left| usize::try_from(left).unwrap_or(usize::MAX).saturating_add(1).min(most));
        if spare < left.unwrap_or(ROOM_BYTES_MIN) {
            self.input.reserve(left.unwrap_or(self.read_bytes).min(most));
        }
        let spare = self.input.capacity().saturating_sub(self.input.len()).min(most);
        let read = ready!(poll_read_buf(Pin::new(&mut self.sender.stream), cx, &mut (&mut self.input).limit(spare)))?;
        self.received = self.received.saturating_add(read);
        if read == spare {
            self.read_bytes = self.read_bytes.saturating_mul(2).min(*READ_BYTES.end());
        }
        Poll::Ready(Ok(read))
    }

    /// Sends the request and receives the answer's head, whichever can be done.
    fn poll_answer(&mut self, cx: &mut Context<'_>, passing: Option<&Passing>) -> Poll<Result<Head, Fault>> {
        let broken = self.sender.send_some(cx)?;
        self.interims = 0;
        loop {
            if let Some(head) = self.take_head(passing)? {
                return Poll::Ready(Ok(head));
            }
            if self.interims >= INTERIMS_MAX {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match ready!(self.poll_fill(cx, None, HEAD_READ_BYTES_MAX)) {
                Ok(0) => return Poll::Ready(Err(broken.unwrap_or(Fault::Closed))),
                Ok(_) => {}
                Err(fault) => return Poll::Ready(Err(broken.unwrap_or(fault))),
            }
        }
    }

    /// The head of the final answer, once it is there; interim ones are passed on.
    fn take_head(&mut self, passing: Option<&Passing>) -> Result<Option<Head>, Fault> {
        while self.interims < INTERIMS_MAX {
            // What comes byte by byte is not looked at as often.
            let fresh = self.input.get(self.seen..).unwrap_or_default();
            let is_worth_it =
                self.seen == 0 || self.input.len() >= HEAD_BYTES_MAX || memchr::memchr(b'\n', fresh).is_some();
            if fresh.is_empty() || !is_worth_it {
                self.seen = self.input.len();
                return Ok(None);
            }
            let Some(head) = codec::take_head(&mut self.input)? else {
                self.seen = self.input.len();
                return Ok(None);
            };
            self.seen = 0;
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(head));
            }
            self.interims += 1;
            if let Some(passing) = passing {
                passing.pass(head.status, &head.fields);
            }
        }
        Ok(None)
    }

    /// Sends what is left of a request that is answered, or reads it where the backend takes no more, so that the
    /// client's connection can go on to its next request; says whether all of it was sent.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match ready!(self.sender.poll_send_rest(cx)) {
            Ok(true) => return Poll::Ready(true),
            Err(_broken_off) => return Poll::Ready(false),
            Ok(false) => {}
        }
        while let Some(upload) = &mut self.sender.upload {
            match ready!(Pin::new(upload).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let length = frame.data_ref().map_or(0, Bytes::len);
                    self.unwanted_left = self.unwanted_left.saturating_sub(length);
                }
                Some(Err(_)) | None => self.sender.upload = None,
            }
            if self.unwanted_left == 0 {
                self.sender.upload = None;
            }
        }
        Poll::Ready(false)
    }
}
