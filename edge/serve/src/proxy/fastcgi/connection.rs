//! A connection to a FastCGI member, driven by the request that awaits its response.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::uri::PathAndQuery;
use http_body::{Body as _, Frame};
use tokio_util::io::poll_read_buf;

use super::records::{self, CONTENT_BYTES_MAX, End, Event, Reader};
use super::{Backend, answer, params};
use crate::proxy::error::{Error, SendError};
use crate::proxy::http1::codec::{Fault, Head, Length};
use crate::proxy::http1::{BodyFraming, Output, RequestSender, SendingRest, Stream};
use crate::proxy::outgoing::Outgoing;
use crate::proxy::request_body::RequestBody;

/// Maximum number of bytes of a request body without a length, held until the body ends: a script needs the length
/// before the body.
const UNMEASURED_BYTES_MAX: usize = 64 * 1024;
/// Maximum number of logged bytes of one request's error output.
const STDERR_BYTES_MAX: usize = 4 * 1024;
/// Maximum number of characters of the path in the log line.
const LOGGED_PATH_MAX: usize = 200;
/// Maximum number of bytes per read.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Maximum number of bytes per read before the response head is complete.
const HEAD_READ_BYTES: usize = 8 * 1024;
/// Minimum of free buffer space for a read without growing the buffer.
const ROOM_BYTES_MIN: usize = 1024;

/// A connection. A drop before the end of the exchange closes the connection, which cancels the request.
pub(crate) struct Connection {
    /// True if another exchange may follow.
    is_kept: bool,
    /// Task that sends the rest of an already answered request.
    rest: Option<SendingRest>,
    wire: Rc<RefCell<Wire>>,
}

/// The reader of a response body.
#[derive(Debug)]
pub(crate) struct Body {
    /// Bytes left, if the script announced a length.
    left: Option<u64>,
    is_over: bool,
}

impl Body {
    /// Returns true once the client has the whole body.
    pub(crate) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Returns the number of bytes left, if known.
    pub(crate) const fn left(&self) -> Option<u64> {
        if self.is_over { Some(0) } else { self.left }
    }

    /// Takes a piece of the response, cut at the announced length.
    fn take(&mut self, mut piece: Bytes) -> Bytes {
        if let Some(left) = &mut self.left {
            piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left = left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            self.is_over = *left == 0;
        }
        piece
    }
}

/// The framing of a request body: a sequence of records, ended by an empty record.
struct Stdin {
    /// Bytes of the body left.
    left: u64,
}

impl BodyFraming for Stdin {
    fn frame(&mut self, output: &mut Output, frame: Frame<Bytes>) -> Result<(), Fault> {
        // CGI has no trailers.
        let Ok(mut data) = frame.into_data() else { return Ok(()) };
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(length).ok_or(Fault::Request)?;
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(CONTENT_BYTES_MAX));
            output.push(records::stdin(piece.len()));
            output.push(piece);
        }
        Ok(())
    }

    fn end(&mut self, output: &mut Output) -> Result<(), Fault> {
        if self.left > 0 {
            return Err(Fault::Request);
        }
        output.push(records::stdin(0));
        Ok(())
    }
}

/// Both directions of a connection.
struct Wire {
    /// The backend, for the log.
    backend: Arc<Backend>,
    /// The end of the response, once received.
    end: Option<End>,
    /// Received bytes of the response head, and of the body after the head.
    head: BytesMut,
    input: BytesMut,
    reader: Reader,
    sender: RequestSender<Stdin>,
    stderr: Vec<u8>,
    /// Number of error output bytes still to log for the request.
    stderr_left: usize,
    target: Option<PathAndQuery>,
}

impl Connection {
    pub(crate) fn new(stream: Stream, backend: &Arc<Backend>) -> Self {
        let wire = Wire {
            backend: Arc::clone(backend),
            end: None,
            head: BytesMut::new(),
            input: BytesMut::new(),
            reader: Reader::default(),
            sender: RequestSender::new(stream, Stdin { left: 0 }),
            stderr: Vec::new(),
            stderr_left: STDERR_BYTES_MAX,
            target: None,
        };
        let is_kept = backend.keep_alive;
        Self { is_kept, rest: None, wire: Rc::new(RefCell::new(wire)) }
    }

    /// Sends a request and waits for the response head.
    pub(crate) async fn send(&mut self, request: &Outgoing, body: RequestBody) -> Result<(Head, Body), SendError> {
        let answered = self.exchange(request, body).await;
        let mut wire = self.wire.borrow_mut();
        wire.log_stderr();
        let is_unsent = !wire.sender.has_written() || wire.end == Some(End::Overloaded);
        let (head, length) = answered.map_err(|error| SendError { error, is_unsent })?;
        let left = if let Length::Known(left) = length { Some(left) } else { None };
        let is_over = left.map_or_else(|| wire.is_at_end(), |left| left == 0);
        if !wire.sender.is_sent() {
            let wire = Rc::clone(&self.wire);
            let rest = poll_fn(move |cx| wire.borrow_mut().poll_rest(cx));
            self.rest = Some(SendingRest::spawn(rest));
        }
        Ok((head, Body { left, is_over }))
    }

    async fn exchange(&self, request: &Outgoing, body: RequestBody) -> Result<(Head, Length), Error> {
        self.wire.borrow_mut().begin(request, self.is_kept);
        if let Some(length) = request.length {
            let mut wire = self.wire.borrow_mut();
            wire.write_parameters(request, length)?;
            wire.sender.upload = Some(body);
        } else {
            // PHP-FPM closes a connection after five seconds without input, and a client may be slower.
            poll_fn(|cx| Poll::Ready(self.wire.borrow_mut().sender.send_some(cx))).await?;
            let whole = collected(body).await?;
            let mut wire = self.wire.borrow_mut();
            wire.write_parameters(request, u64::try_from(whole.len()).unwrap_or(u64::MAX))?;
            wire.sender.push_whole(whole)?;
        }
        let mut head = poll_fn(|cx| self.wire.borrow_mut().poll_answer(cx)).await?;
        let length = head.length(&request.method)?;
        head.normalise(length)?;
        Ok((head, length))
    }

    /// Polls the next frame of the response body, `None` at the end, reading at most `bytes_max` bytes.
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
                // A body shorter than the announced length is broken off.
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

    /// Returns the bytes of memory of undelivered input.
    pub(crate) fn held_bytes(&self) -> usize {
        let wire = self.wire.borrow();
        let input = if wire.input.is_empty() { 0 } else { wire.input.capacity() };
        input + wire.head.len()
    }

    /// Returns true if the client has the whole response while the exchange continues.
    pub(crate) fn is_sending_rest(&self) -> bool {
        let mut wire = self.wire.borrow_mut();
        // The end usually arrives with the last piece.
        self.rest.is_some() || wire.skip_answer().is_ok_and(|()| wire.end.is_none())
    }

    /// Waits until the whole request is sent and the backend has ended its response.
    pub(crate) async fn sent_rest(&mut self) {
        if let Some(rest) = &mut self.rest {
            self.is_kept &= rest.ended().await;
            self.rest = None;
        }
        self.is_kept &= poll_fn(|cx| self.wire.borrow_mut().poll_end(cx)).await.is_ok();
    }

    /// Releases the buffers of an exchange; returns true if another exchange may follow.
    pub(crate) fn rest(&mut self) -> bool {
        let mut guard = self.wire.borrow_mut();
        let wire = &mut *guard;
        wire.log_stderr();
        wire.reader.skip_padding(&mut wire.input);
        let is_ended = wire.end == Some(End::Complete) && wire.input.is_empty() && wire.head.is_empty();
        let is_free = self.is_kept && self.rest.is_none() && is_ended && wire.sender.is_sent();
        (wire.input, wire.head, wire.sender.output) = (BytesMut::new(), BytesMut::new(), Output::default());
        is_free
    }

    /// Returns true if the backend has neither closed the idle connection nor sent unsolicited bytes.
    pub(crate) fn is_quiet(&self) -> bool {
        self.wire.borrow_mut().sender.is_quiet()
    }
}

/// Collects a body without a known length.
///
/// # Errors
/// [`Error::RequestTooLarge`] beyond [`UNMEASURED_BYTES_MAX`]; [`Fault::Request`] if the client breaks off.
async fn collected(mut body: RequestBody) -> Result<Bytes, Error> {
    // A single buffer: the pieces of a client that sends single bytes would cost more memory than their content.
    let mut whole = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|_broken_off| Fault::Request)?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len().saturating_add(data.len()) > UNMEASURED_BYTES_MAX {
            let bytes_max = u64::try_from(UNMEASURED_BYTES_MAX).unwrap_or(u64::MAX);
            return Err(Error::RequestTooLarge { bytes_max });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

impl Wire {
    fn begin(&mut self, request: &Outgoing, is_kept: bool) {
        self.sender.begin(Stdin { left: 0 }, None);
        (self.end, self.target, self.stderr_left) = (None, Some(request.target.clone()), STDERR_BYTES_MAX);
        records::write_begin(&mut self.sender.output.flat, is_kept);
    }

    /// Writes the parameters of a request with a body of `length` bytes.
    fn write_parameters(&mut self, request: &Outgoing, length: u64) -> Result<(), Error> {
        let out = &mut self.sender.output.flat;
        let written = params::write(out, request, length, &self.backend.scripts);
        written.map_err(|bad| Error::BadRequest(bad.sentence()))?;
        self.sender.framing.left = length;
        Ok(())
    }

    /// Returns true once the whole response is read and delivered.
    fn is_at_end(&self) -> bool {
        self.end.is_some() && self.head.is_empty()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Result<usize, Fault>> {
        let spare = self.input.capacity().saturating_sub(self.input.len());
        if spare < ROOM_BYTES_MIN {
            self.input.reserve(most.min(HEAD_READ_BYTES.max(self.input.len() * 2)));
        }
        let spare = self.input.capacity().saturating_sub(self.input.len()).min(most);
        let read = ready!(poll_read_buf(Pin::new(&mut self.sender.stream), cx, &mut (&mut self.input).limit(spare)))?;
        Poll::Ready(Ok(read))
    }

    /// Takes the next piece of the response, head included, from the read bytes.
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

    /// Skips read bytes of a response that the client has in full.
    fn skip_answer(&mut self) -> Result<(), Fault> {
        while self.next_piece()?.is_some() {}
        Ok(())
    }

    fn note_stderr(&mut self, piece: &[u8]) {
        let piece = piece.get(..self.stderr_left).unwrap_or(piece);
        self.stderr_left -= piece.len();
        self.stderr.extend_from_slice(piece);
    }

    /// Logs the error output of a script, bounded and on one line.
    fn log_stderr(&mut self) {
        if self.stderr.is_empty() {
            return;
        }
        let text = std::mem::take(&mut self.stderr);
        let text = String::from_utf8_lossy(&text).trim_end().escape_debug().to_string();
        let path: String = self.target.iter().flat_map(|target| target.path().chars().take(LOGGED_PATH_MAX)).collect();
        tracing::warn!(upstream = self.backend.owner, path, stderr = text, "a script reports an error");
    }

    /// Sends the request and receives the response head, as far as each can progress.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Error>> {
        let broken = self.sender.send_some(cx)?;
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
        // Body bytes that arrived with the head are delivered first.
        self.head = head;
        Poll::Ready(Ok(taken))
    }

    /// Appends read bytes to `head`; takes off the complete head.
    fn take_into(&mut self, head: &mut BytesMut) -> Result<Option<Head>, Error> {
        while let Some(piece) = self.next_piece()? {
            if let Some(taken) = answer::add(head, &piece)? {
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

    /// Sends the rest of an answered request; returns true once the whole request is sent.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match ready!(self.sender.poll_send_rest(cx)) {
            Ok(true) => Poll::Ready(true),
            Ok(false) | Err(_) => {
                self.sender.upload = None;
                Poll::Ready(false)
            }
        }
    }

    /// Reads to the end of a response that the client has in full.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_another_length_than_the_script_was_given_is_broken_off() {
        let (mut output, mut framing) = (Output::default(), Stdin { left: 2 });
        framing.frame(&mut output, Frame::data(Bytes::from_static(b"a"))).unwrap();
        assert!(matches!(framing.end(&mut output), Err(Fault::Request)));
        assert!(matches!(framing.frame(&mut output, Frame::data(Bytes::from_static(b"bc"))), Err(Fault::Request)));
        framing.frame(&mut output, Frame::data(Bytes::from_static(b"b"))).unwrap();
        assert!(framing.end(&mut output).is_ok());
    }
}
