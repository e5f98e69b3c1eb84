//! A connection to a FastCGI member, driven by the request that waits for its answer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::uri::PathAndQuery;
use http_body::{Body as _, Frame};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::task::{JoinHandle, unconstrained};
use tokio_util::io::poll_read_buf;

use super::records::{self, CONTENT_BYTES_MAX, End, Event, Reader};
use super::{Backend, answer, params};
use crate::proxy::error::Error;
use crate::proxy::http1::codec::{Fault, HEAD_BYTES_MAX, Head, Length};
use crate::proxy::http1::{Output, Stream};
use crate::proxy::outgoing::Outgoing;
use crate::proxy::request_body::RequestBody;

/// Most bytes of a request's body without a length that are held until its end is there: a script has to be given its
/// length before it.
pub(super) const UNMEASURED_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of one request's error output that are logged.
const STDERR_BYTES_MAX: usize = 4 * 1024;
/// Characters of a path in that line.
const LOGGED_PATH_MAX: usize = 200;
/// Bytes that are read at once at most.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Bytes that are read at once while the head of an answer is awaited.
const HEAD_READ_BYTES: usize = 8 * 1024;
/// Room in the buffer from which on it is read into.
const ROOM_BYTES_MIN: usize = 1024;

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
    pub(crate) error: Error,
    /// Whether the backend did nothing for it.
    pub(crate) is_unsent: bool,
}

/// The reader of an answer's body.
#[derive(Debug)]
pub(crate) struct Body {
    /// Bytes that are still to come, where the script says how many.
    left: Option<u64>,
    is_over: bool,
}

impl Body {
    /// Whether nothing more comes for the client.
    pub(crate) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Bytes that are still to come, if that is known.
    pub(crate) const fn left(&self) -> Option<u64> {
        if self.is_over { Some(0) } else { self.left }
    }

    /// Takes a piece of the answer, of which what is beyond its length is left out.
    fn take(&mut self, mut piece: Bytes) -> Bytes {
        if let Some(left) = &mut self.left {
            piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left = left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            self.is_over = *left == 0;
        }
        piece
    }
}

/// Both directions of a connection.
struct Wire {
    /// Whose scripts these are, for the log.
    backend: Arc<Backend>,
    /// The body of a request whose length is not known.
    collected: Vec<Bytes>,
    collected_bytes: usize,
    /// How the answer ended, once it has.
    end: Option<End>,
    has_written: bool,
    /// What came of the answer's head, and of its body with it.
    head: BytesMut,
    input: BytesMut,
    /// Whether the backend takes no more of the request.
    is_broken: bool,
    output: Output,
    reader: Reader,
    stderr: Vec<u8>,
    /// Bytes of error output of this request that are still logged.
    stderr_left: usize,
    stream: Stream,
    target: Option<PathAndQuery>,
    unflushed: bool,
    upload: Option<RequestBody>,
}

impl Connection {
    pub(crate) fn new(stream: Stream, backend: &Arc<Backend>) -> Self {
        let wire = Wire {
            backend: Arc::clone(backend),
            collected: Vec::new(),
            collected_bytes: 0,
            end: None,
            has_written: false,
            head: BytesMut::new(),
            input: BytesMut::new(),
            is_broken: false,
            output: Output::default(),
            reader: Reader::default(),
            stderr: Vec::new(),
            stderr_left: STDERR_BYTES_MAX,
            stream,
            target: None,
            unflushed: false,
            upload: None,
        };
        let is_kept = backend.keep_alive;
        Self { is_kept, rest: None, wire: Rc::new(RefCell::new(wire)) }
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(&mut self, request: &Outgoing, body: RequestBody) -> Result<(Head, Body), Unanswered> {
        let answered = self.exchange(request, body).await;
        let mut wire = self.wire.borrow_mut();
        wire.log_stderr();
        let is_unsent = !wire.has_written || wire.end == Some(End::Overloaded);
        let (head, length) = answered.map_err(|error| Unanswered { error, is_unsent })?;
        let left = if let Length::Known(left) = length { Some(left) } else { None };
        let is_over = left.map_or_else(|| wire.is_at_end(), |left| left == 0);
        if !wire.is_sent() {
            let wire = Rc::clone(&self.wire);
            let rest = poll_fn(move |cx| wire.borrow_mut().poll_rest(cx));
            self.rest = Some(Rest(tokio::task::spawn_local(rest)));
        }
        Ok((head, Body { left, is_over }))
    }

    async fn exchange(&self, request: &Outgoing, body: RequestBody) -> Result<(Head, Length), Error> {
        self.wire.borrow_mut().begin(request, body);
        let length = match request.length {
            Some(length) => length,
            None => poll_fn(|cx| self.wire.borrow_mut().poll_collect(cx)).await?,
        };
        self.wire.borrow_mut().write_request(request, length, self.is_kept)?;
        let mut head = poll_fn(|cx| self.wire.borrow_mut().poll_answer(cx)).await?;
        let length = head.length(&request.method)?;
        head.normalise(length)?;
        Ok((head, length))
    }

    /// The next frame of the answer's body, nothing at its end. At most `bytes_max` bytes are read for it.
    pub(crate) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
        body: &mut Body,
        bytes_max: usize,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let mut wire = self.wire.borrow_mut();
        loop {
            if body.is_over {
                return Poll::Ready(None);
            }
            match wire.next_piece() {
                Err(fault) => return Poll::Ready(Some(Err(fault))),
                Ok(Some(piece)) => {
                    let piece = body.take(piece);
                    if !piece.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                    continue;
                }
                Ok(None) => {}
            }
            if wire.end.is_some() {
                // One that says a length and sends less has broken off.
                let is_whole = body.left.is_none_or(|left| left == 0) && wire.end == Some(End::Complete);
                body.is_over = is_whole;
                return Poll::Ready((!is_whole).then(|| Err(Fault::Closed)));
            }
            match ready!(wire.poll_fill(cx, bytes_max.clamp(ROOM_BYTES_MIN, READ_BYTES_MAX))) {
                Ok(0) => return Poll::Ready(Some(Err(Fault::Closed))),
                Ok(_) => {}
                Err(fault) => return Poll::Ready(Some(Err(fault))),
            }
        }
    }

    /// Bytes of memory that what was read takes, and was not given.
    pub(crate) fn held_bytes(&self) -> usize {
        let wire = self.wire.borrow();
        let input = if wire.input.is_empty() { 0 } else { wire.input.capacity() };
        input + wire.head.len()
    }

    /// Whether the answer is over for the client, and the exchange is not.
    pub(crate) fn is_sending_rest(&self) -> bool {
        let mut wire = self.wire.borrow_mut();
        // Its end usually came with the last piece.
        self.rest.is_some() || wire.skip_answer().is_ok_and(|()| wire.end.is_none())
    }

    /// Waits until all of the request is sent, and the backend has ended its answer.
    pub(crate) async fn sent_rest(&mut self) {
        if let Some(rest) = &mut self.rest {
            self.is_kept &= (&mut rest.0).await.unwrap_or(false);
            self.rest = None;
        }
        self.is_kept &= poll_fn(|cx| self.wire.borrow_mut().poll_end(cx)).await.is_ok();
    }

    /// Gives up what is only needed within an exchange; says whether another one may follow.
    pub(crate) fn rest(&mut self) -> bool {
        let mut guard = self.wire.borrow_mut();
        let wire = &mut *guard;
        wire.log_stderr();
        wire.reader.skip_padding(&mut wire.input);
        let is_ended = wire.end == Some(End::Complete) && wire.input.is_empty() && wire.head.is_empty();
        let is_free = self.is_kept && self.rest.is_none() && is_ended && wire.is_sent();
        (wire.input, wire.head, wire.output) = (BytesMut::new(), BytesMut::new(), Output::default());
        is_free
    }

    /// Whether the backend has neither closed the idle connection nor sent what nobody asked for.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut wire = self.wire.borrow_mut();
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let read = pin!(unconstrained(poll_fn(|cx| Pin::new(&mut wire.stream).poll_read(cx, &mut buffer))));
        read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

impl Wire {
    fn begin(&mut self, request: &Outgoing, body: RequestBody) {
        (self.has_written, self.is_broken, self.end) = (false, false, None);
        (self.collected_bytes, self.upload, self.target) = (0, Some(body), Some(request.target.clone()));
        (self.collected, self.stderr_left) = (Vec::new(), STDERR_BYTES_MAX);
    }

    /// Writes all of a request but a body whose length was known before.
    fn write_request(&mut self, request: &Outgoing, length: u64, is_kept: bool) -> Result<(), Error> {
        records::write_begin(&mut self.output.flat, is_kept);
        let written = params::write(&mut self.output.flat, request, length, &self.backend.scripts);
        written.map_err(|bad| Error::BadRequest(bad.sentence()))?;
        if request.length.is_none() {
            for data in std::mem::take(&mut self.collected) {
                self.push(data);
            }
            self.output.push(records::stdin(0));
        }
        Ok(())
    }

    fn is_sent(&self) -> bool {
        self.upload.is_none() && self.output.is_empty() && !self.unflushed && !self.is_broken
    }

    /// Whether all of the answer was read and given.
    fn is_at_end(&self) -> bool {
        self.end.is_some() && self.head.is_empty()
    }

    /// Collects the request's body until its end is there; gives its length.
    fn poll_collect(&mut self, cx: &mut Context<'_>) -> Poll<Result<u64, Error>> {
        while let Some(upload) = &mut self.upload {
            match ready!(Pin::new(upload).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.collected_bytes = self.collected_bytes.saturating_add(data.len());
                    if self.collected_bytes > UNMEASURED_BYTES_MAX {
                        let bytes_max = u64::try_from(UNMEASURED_BYTES_MAX).unwrap_or(u64::MAX);
                        return Poll::Ready(Err(Error::RequestTooLarge { bytes_max }));
                    }
                    self.collected.push(data);
                }
                Some(Err(_broken_off)) => return Poll::Ready(Err(Fault::Request.into())),
                None => self.upload = None,
            }
        }
        Poll::Ready(Ok(u64::try_from(self.collected_bytes).unwrap_or(u64::MAX)))
    }

    /// Adds a piece of the request's body to what is to be written.
    fn push(&mut self, mut data: Bytes) {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(CONTENT_BYTES_MAX));
            self.output.push(records::stdin(piece.len()));
            self.output.push(piece);
        }
    }

    /// Takes the next piece of the request's body, if there is one now; false says that there is none for now.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<bool, Fault> {
        let Some(upload) = &mut self.upload else { return Ok(false) };
        match Pin::new(upload).poll_frame(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Some(Ok(frame))) => {
                // A script has no trailers.
                if let Ok(data) = frame.into_data() {
                    self.push(data);
                }
            }
            Poll::Ready(Some(Err(_broken_off))) => return Err(Fault::Request),
            Poll::Ready(None) => {
                self.upload = None;
                self.output.push(records::stdin(0));
            }
        }
        Ok(true)
    }

    /// Sends what can be sent; ready when all of the request is.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            while self.output.has_room() && self.poll_upload(cx)? {}
            if self.output.is_empty() {
                if self.unflushed {
                    ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return if self.upload.is_none() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            self.has_written |= self.stream.is_tls();
            ready!(self.output.poll_write(cx, Pin::new(&mut self.stream)))?;
            (self.has_written, self.unflushed) = (true, true);
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Result<usize, Fault>> {
        let spare = self.input.capacity().saturating_sub(self.input.len());
        if spare < ROOM_BYTES_MIN {
            self.input.reserve(most.min(HEAD_READ_BYTES.max(self.input.len() * 2)));
        }
        let spare = self.input.capacity().saturating_sub(self.input.len()).min(most);
        let read = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut (&mut self.input).limit(spare)))?;
        Poll::Ready(Ok(read))
    }

    /// The next piece of the answer, its head included, out of what was read.
    fn next_piece(&mut self) -> Result<Option<Bytes>, Fault> {
        if !self.head.is_empty() {
            return Ok(Some(self.head.split().freeze()));
        }
        while self.end.is_none() {
            let event = self.reader.next(&mut self.input);
            match event.map_err(|_bad| Fault::Malformed("it is no FastCGI answer"))? {
                Event::Stdout(piece) => return Ok(Some(piece)),
                Event::Stderr(piece) => self.note_stderr(&piece),
                Event::End(end) => self.end = Some(end),
                Event::More => break,
            }
        }
        Ok(None)
    }

    /// Skips what was read of an answer that is over for the client.
    fn skip_answer(&mut self) -> Result<(), Fault> {
        while self.next_piece()?.is_some() {}
        Ok(())
    }

    fn note_stderr(&mut self, piece: &[u8]) {
        let piece = piece.get(..self.stderr_left).unwrap_or(piece);
        self.stderr_left -= piece.len();
        self.stderr.extend_from_slice(piece);
    }

    /// Logs what a script has reported, bounded and in one line.
    fn log_stderr(&mut self) {
        if self.stderr.is_empty() {
            return;
        }
        let text = std::mem::take(&mut self.stderr);
        let text = String::from_utf8_lossy(&text).trim_end().escape_debug().to_string();
        let path: String = self.target.iter().flat_map(|target| target.path().chars().take(LOGGED_PATH_MAX)).collect();
        tracing::warn!(upstream = self.backend.owner, path, stderr = text, "a script reports an error");
    }

    /// Sends the request and receives the answer's head, whichever can be done.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Error>> {
        let mut broken = None;
        if !self.is_broken && !self.is_sent() {
            match self.poll_send(cx) {
                Poll::Ready(Err(Fault::Request)) => return Poll::Ready(Err(Fault::Request.into())),
                // A backend that takes no more may have said why.
                Poll::Ready(Err(fault)) => (self.is_broken, broken) = (true, Some(fault)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        let mut head = std::mem::take(&mut self.head);
        let taken = loop {
            match self.take_into(&mut head) {
                Ok(Some(taken)) => break taken,
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            match self.poll_fill(cx, HEAD_READ_BYTES) {
                Poll::Pending => {
                    self.head = head;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(broken.unwrap_or(Fault::Closed).into())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(broken.unwrap_or(fault).into())),
            }
        };
        // What came of the body with it is given first.
        self.head = head;
        Poll::Ready(Ok(taken))
    }

    /// Adds to `head` what was read of it; takes the head off once it is there.
    fn take_into(&mut self, head: &mut BytesMut) -> Result<Option<Head>, Error> {
        while let Some(piece) = self.next_piece()? {
            // What comes byte by byte is looked at once for each line.
            let is_worth_it = memchr::memchr(b'\n', &piece).is_some();
            head.extend_from_slice(&piece);
            if (is_worth_it || head.len() >= HEAD_BYTES_MAX)
                && let Some(taken) = answer::take_head(head)?
            {
                return Ok(Some(taken));
            }
        }
        match self.end {
            None => Ok(None),
            Some(End::Overloaded) => Err(Error::Unavailable("the FastCGI backend has too much to do")),
            Some(End::Refused) => Err(Fault::Malformed("it takes no requests of this kind").into()),
            Some(End::Complete) => Err(Fault::Malformed("it ended without a head").into()),
        }
    }

    /// Sends what is left of a request that is answered; says whether all of it was sent.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if !self.is_broken && ready!(self.poll_send(cx)).is_err() {
            self.is_broken = true;
            self.upload = None;
        }
        Poll::Ready(!self.is_broken)
    }

    /// Reads to the end of an answer that is over for the client.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            self.skip_answer()?;
            if self.end.is_some() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_fill(cx, HEAD_READ_BYTES))? == 0 {
                return Poll::Ready(Err(Fault::Closed));
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.log_stderr();
    }
}
