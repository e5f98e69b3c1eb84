//! A connection to a member, driven by the request that waits for its answer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::StatusCode;
use http_body::{Body as _, Frame};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::task::{JoinHandle, unconstrained};
use tokio_util::io::poll_read_buf;

use super::codec::{self, Decoded, Decoder, Fault, HEAD_BYTES_MAX, Head, Length};
use super::output::{Framing, Output};
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
    rest: Option<Rest>,
    wire: Rc<RefCell<Wire>>,
}

/// A task that ends with its connection; it says whether all was sent.
struct Rest(JoinHandle<bool>);

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why a request was not answered.
pub(crate) struct Unanswered {
    pub(crate) fault: Fault,
    /// Whether nothing of it was sent.
    pub(crate) is_unsent: bool,
}

/// Both directions of a connection.
struct Wire {
    framing: Framing,
    has_written: bool,
    input: BytesMut,
    interims: usize,
    /// Whether the backend takes no more of the request.
    is_broken: bool,
    output: Output,
    /// Size of a read where the length is unknown: the size of the answer before.
    read_bytes: usize,
    received: usize,
    /// Bytes of `input` that are known not to hold a whole head.
    seen: usize,
    stream: Stream,
    unflushed: bool,
    /// Bytes of the request that are still read when the backend takes no more of it.
    unwanted_left: usize,
    upload: Option<RequestBody>,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        let wire = Wire {
            framing: Framing::Over,
            has_written: false,
            input: BytesMut::new(),
            interims: 0,
            is_broken: false,
            output: Output::default(),
            read_bytes: 2 * READ_BYTES.start(),
            received: 0,
            seen: 0,
            stream,
            unflushed: false,
            unwanted_left: 0,
            upload: None,
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
            Err(fault) => Err(Unanswered { fault, is_unsent: !self.wire.borrow().has_written }),
        }
    }

    fn send_rest(&mut self, status: StatusCode) {
        if self.wire.borrow().is_sent() || status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let wire = Rc::clone(&self.wire);
        let rest = poll_fn(move |cx| wire.borrow_mut().poll_rest(cx));
        self.rest = Some(Rest(tokio::task::spawn_local(rest)));
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
            let is_sent = (&mut rest.0).await;
            self.is_kept &= is_sent.unwrap_or(false);
            self.rest = None;
        }
    }

    /// Gives up what is only needed within an exchange; says whether another one may follow.
    pub(crate) fn rest(&mut self) -> bool {
        let mut wire = self.wire.borrow_mut();
        let is_free = self.is_kept && self.rest.is_none() && wire.is_sent() && wire.input.is_empty();
        wire.read_bytes = (wire.received + 1).next_power_of_two().clamp(*READ_BYTES.start(), *READ_BYTES.end());
        wire.input = BytesMut::new();
        wire.output = Output::default();
        is_free
    }

    /// Whether the backend has neither closed the idle connection nor sent what nobody asked for.
    ///
    /// This asks the system only where something has come of which the runtime knows.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut wire = self.wire.borrow_mut();
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let read = pin!(unconstrained(poll_fn(|cx| Pin::new(&mut wire.stream).poll_read(cx, &mut buffer))));
        read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// The stream, with what was read ahead, once the backend speaks another protocol on it.
    pub(crate) fn into_stream(self) -> Option<Early> {
        let Wire { input, stream, .. } = Rc::into_inner(self.wire)?.into_inner();
        Some(Early { bytes: input, stream })
    }
}

impl Wire {
    fn begin(&mut self, request: &Outgoing, body: RequestBody) {
        self.framing = request.length.map_or(Framing::Chunked, Framing::Known);
        (self.has_written, self.is_broken) = (false, false);
        (self.received, self.seen) = (0, 0);
        codec::write_head(&mut self.output.flat, &request.method, request.target.as_str(), &request.headers);
        (self.unwanted_left, self.upload) = (UNWANTED_BYTES_MAX, Some(body));
    }

    fn is_sent(&self) -> bool {
        self.upload.is_none() && self.output.is_empty() && !self.unflushed && !self.is_broken
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
        let read = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut (&mut self.input).limit(spare)))?;
        self.received = self.received.saturating_add(read);
        if read == spare {
            self.read_bytes = self.read_bytes.saturating_mul(2).min(*READ_BYTES.end());
        }
        Poll::Ready(Ok(read))
    }

    /// Sends what can be sent; ready when all of the request is.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            // All that is there goes out together.
            while let Some(upload) = &mut self.upload
                && self.output.has_room()
            {
                match Pin::new(upload).poll_frame(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(frame))) => self.output.frame(&mut self.framing, frame)?,
                    Poll::Ready(Some(Err(_broken_off))) => return Poll::Ready(Err(Fault::Request)),
                    Poll::Ready(None) => {
                        self.upload = None;
                        self.output.end(self.framing)?;
                    }
                }
            }
            if self.output.is_empty() {
                if self.unflushed {
                    ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return if self.upload.is_none() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            // Of what TLS fails to write, a part may have gone out.
            self.has_written |= self.stream.is_tls();
            ready!(self.output.poll_write(cx, Pin::new(&mut self.stream)))?;
            (self.has_written, self.unflushed) = (true, true);
        }
    }

    /// Sends the request and receives the answer's head, whichever can be done.
    fn poll_answer(&mut self, cx: &mut Context<'_>, passing: Option<&Passing>) -> Poll<Result<Head, Fault>> {
        let mut broken = None;
        self.interims = 0;
        if !self.is_broken && !self.is_sent() {
            match self.poll_send(cx) {
                Poll::Ready(Err(Fault::Request)) => return Poll::Ready(Err(Fault::Request)),
                // A backend that takes no more may have said why.
                Poll::Ready(Err(fault)) => {
                    self.is_broken = true;
                    broken = Some(fault);
                }
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
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
        if !self.is_broken {
            match ready!(self.poll_send(cx)) {
                Ok(()) => return Poll::Ready(true),
                Err(Fault::Request) => return Poll::Ready(false),
                Err(_broken) => self.is_broken = true,
            }
        }
        while let Some(upload) = &mut self.upload {
            match ready!(Pin::new(upload).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let length = frame.data_ref().map_or(0, Bytes::len);
                    self.unwanted_left = self.unwanted_left.saturating_sub(length);
                }
                Some(Err(_)) | None => self.upload = None,
            }
            if self.unwanted_left == 0 {
                self.upload = None;
            }
        }
        Poll::Ready(false)
    }
}
