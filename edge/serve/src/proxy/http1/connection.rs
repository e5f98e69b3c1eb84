//! A connection to a member, driven by the request that awaits its response.

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
use super::stream::{BufferedStream, Stream};
use crate::proxy::interim::Passing;
use crate::proxy::outgoing::Outgoing;
use crate::proxy::request_body::RequestBody;

/// Bounds of the size of a read; the maximum also bounds the bytes buffered for a slow client.
const READ_BYTES: std::ops::RangeInclusive<usize> = 4 * 1024..=64 * 1024;
/// Maximum number of bytes per read before the response head is complete: body bytes after the head stay in memory
/// until the client takes the response.
const HEAD_READ_BYTES_MAX: usize = 8 * 1024;
/// Minimum of free buffer space for a read without growing the buffer.
const ROOM_BYTES_MIN: usize = 1024;
/// Maximum number of interim responses read in one poll, before other tasks run; the route's time for the first byte
/// limits their duration.
const INTERIMS_MAX: usize = 64;
/// Maximum number of bytes of a request body that are read and dropped after the backend stops reading.
const UNWANTED_BYTES_MAX: usize = 1024 * 1024;

/// A connection. A drop before the end of the exchange closes the connection, which cancels the request.
pub(crate) struct Connection {
    /// True if another exchange may follow.
    is_kept: bool,
    /// Task that sends the rest of an already answered request.
    rest: Option<SendingRest>,
    wire: Rc<RefCell<Wire>>,
}

/// Error of a request without a response.
pub(crate) struct Unanswered {
    pub(crate) fault: Fault,
    /// True if no byte of the request was sent.
    pub(crate) is_unsent: bool,
}

/// Both directions of a connection.
struct Wire {
    input: BytesMut,
    interims: usize,
    /// Size of a read for an unknown length: the size of the previous response.
    read_bytes: usize,
    received: usize,
    /// Number of bytes of `input` known not to hold a whole head.
    seen: usize,
    sender: RequestSender<Framing>,
    /// Number of request bytes still read and dropped after the backend stops reading.
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

    /// Sends a request and waits for the response head. If the response precedes the end of the request, a task sends
    /// the rest.
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
                // Some servers send a body after a head that excludes a body: the bytes would pass as the next
                // response.
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

    /// Polls the next frame of the response body, `None` at the end, reading at most `bytes_max` bytes.
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

    /// Returns the bytes of memory of undelivered input.
    pub(crate) fn held_bytes(&self) -> usize {
        let wire = self.wire.borrow();
        if wire.input.is_empty() { 0 } else { wire.input.capacity() }
    }

    /// Returns true if the response is complete while the request is not.
    pub(crate) const fn is_sending_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// Waits until the whole request is sent, or the backend stops reading.
    pub(crate) async fn sent_rest(&mut self) {
        if let Some(rest) = &mut self.rest {
            self.is_kept &= rest.ended().await;
            self.rest = None;
        }
    }

    /// Releases the buffers of an exchange; returns true if another exchange may follow.
    pub(crate) fn rest(&mut self) -> bool {
        let mut wire = self.wire.borrow_mut();
        let is_free = self.is_kept && self.rest.is_none() && wire.sender.is_sent() && wire.input.is_empty();
        wire.read_bytes = (wire.received + 1).next_power_of_two().clamp(*READ_BYTES.start(), *READ_BYTES.end());
        wire.input = BytesMut::new();
        wire.sender.output = Output::default();
        is_free
    }

    /// Returns true if the backend has neither closed the idle connection nor sent unsolicited bytes.
    pub(crate) fn is_quiet(&self) -> bool {
        self.wire.borrow_mut().sender.is_quiet()
    }

    /// Returns the stream, with the bytes read ahead, after a switch of protocols.
    pub(crate) fn into_stream(self) -> Option<BufferedStream> {
        let Wire { input, sender, .. } = Rc::into_inner(self.wire)?.into_inner();
        Some(BufferedStream { bytes: input, stream: sender.stream })
    }
}

impl Wire {
    fn begin(&mut self, request: &Outgoing, body: RequestBody) {
        self.sender.begin(request.length.map_or(Framing::Chunked, Framing::Known), Some(body));
        (self.received, self.seen, self.unwanted_left) = (0, 0, UNWANTED_BYTES_MAX);
        codec::write_head(&mut self.sender.output.flat, &request.method, request.target.as_str(), &request.headers);
    }

    /// Reads once, at most `bytes_max` bytes; `left` is the number of expected bytes.
    fn poll_fill(&mut self, cx: &mut Context<'_>, left: Option<u64>, bytes_max: usize) -> Poll<Result<usize, Fault>> {
        let spare = self.input.capacity().saturating_sub(self.input.len());
        let most = bytes_max.clamp(ROOM_BYTES_MIN, *READ_BYTES.end());
        // A buffer with room for all expected bytes and one more saves a system call that would find no more data.
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

    /// Sends the request and receives the response head, as far as each can progress.
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

    /// Takes the complete head of the final response; forwards interim responses.
    fn take_head(&mut self, passing: Option<&Passing>) -> Result<Option<Head>, Fault> {
        while self.interims < INTERIMS_MAX {
            // Skip the parse without a new line end: input byte by byte must not be parsed each time.
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

    /// Sends the rest of an answered request, or reads and drops the rest after the backend stops reading, so that the
    /// client's connection can continue with the next request; returns true once the whole request is sent.
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
