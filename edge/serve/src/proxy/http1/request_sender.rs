//! The sending half of an exchange: the unwritten part of a request, the rest of the body, and the stream to the
//! member.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::task::{JoinHandle, unconstrained};

use super::codec::Fault;
use super::output::Output;
use super::stream::Stream;
use crate::proxy::request_body::RequestBody;

/// Body framing of a protocol.
pub(crate) trait BodyFraming {
    /// Appends a frame of the body to `output`.
    ///
    /// # Errors
    /// [`Fault::Request`]: the body is longer than its declared length.
    fn frame(&mut self, output: &mut Output, frame: Frame<Bytes>) -> Result<(), Fault>;

    /// Appends the end of the body to `output`.
    ///
    /// # Errors
    /// [`Fault::Request`]: the body is shorter than its declared length.
    fn end(&mut self, output: &mut Output) -> Result<(), Fault>;
}

/// The sending half of successive exchanges on one connection.
pub(crate) struct RequestSender<F> {
    pub(crate) framing: F,
    has_written: bool,
    /// True after the backend has stopped reading the request.
    is_broken: bool,
    pub(crate) output: Output,
    pub(crate) stream: Stream,
    unflushed: bool,
    pub(crate) upload: Option<RequestBody>,
}

impl<F: BodyFraming> RequestSender<F> {
    pub(crate) fn new(stream: Stream, framing: F) -> Self {
        Self {
            framing,
            has_written: false,
            is_broken: false,
            output: Output::default(),
            stream,
            unflushed: false,
            upload: None,
        }
    }

    /// Begins a request, whose head the caller adds to `output`; `upload` is a streamed body.
    pub(crate) fn begin(&mut self, framing: F, upload: Option<RequestBody>) {
        (self.has_written, self.is_broken) = (false, false);
        (self.framing, self.upload) = (framing, upload);
    }

    /// Appends a body that is in memory, and its end.
    ///
    /// # Errors
    /// [`Fault::Request`]: the body has another length than declared.
    pub(crate) fn push_whole(&mut self, body: Bytes) -> Result<(), Fault> {
        self.framing.frame(&mut self.output, Frame::data(body))?;
        self.framing.end(&mut self.output)
    }

    /// Returns true if the backend may have received a part of the request.
    pub(crate) const fn has_written(&self) -> bool {
        self.has_written
    }

    /// Returns true once the whole request is sent.
    pub(crate) fn is_sent(&self) -> bool {
        self.upload.is_none() && self.output.is_empty() && !self.unflushed && !self.is_broken
    }

    /// Sends as much as possible; ready once the whole request is sent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            // All available frames go out together.
            while let Some(upload) = &mut self.upload
                && self.output.has_room()
            {
                match Pin::new(upload).poll_frame(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(frame))) => self.framing.frame(&mut self.output, frame)?,
                    Poll::Ready(Some(Err(_broken_off))) => return Poll::Ready(Err(Fault::Request)),
                    Poll::Ready(None) => {
                        self.upload = None;
                        self.framing.end(&mut self.output)?;
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
            // After a failed TLS write, a part may have gone out.
            self.has_written |= self.stream.is_tls();
            ready!(self.output.poll_write(cx, Pin::new(&mut self.stream)))?;
            (self.has_written, self.unflushed) = (true, true);
        }
    }

    /// Sends as much as possible while the response head is awaited. Returns the fault of a backend that stops reading,
    /// because the backend may have sent a response with the reason.
    ///
    /// # Errors
    /// [`Fault::Request`].
    pub(crate) fn send_some(&mut self, cx: &mut Context<'_>) -> Result<Option<Fault>, Fault> {
        if self.is_broken || self.is_sent() {
            return Ok(None);
        }
        match self.poll_send(cx) {
            Poll::Ready(Err(Fault::Request)) => Err(Fault::Request),
            Poll::Ready(Err(fault)) => {
                self.is_broken = true;
                Ok(Some(fault))
            }
            Poll::Ready(Ok(())) | Poll::Pending => Ok(None),
        }
    }

    /// Sends the rest of an answered request; returns true once the whole request is sent.
    ///
    /// # Errors
    /// [`Fault::Request`].
    pub(crate) fn poll_send_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Fault>> {
        if !self.is_broken {
            match ready!(self.poll_send(cx)) {
                Ok(()) => {}
                Err(Fault::Request) => return Poll::Ready(Err(Fault::Request)),
                Err(_broken) => self.is_broken = true,
            }
        }
        Poll::Ready(Ok(!self.is_broken))
    }

    /// Returns true if the backend has neither closed the idle connection nor sent unsolicited bytes.
    ///
    /// Makes a system call only if the runtime has seen an event on the stream.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let read = pin!(unconstrained(poll_fn(|cx| Pin::new(&mut self.stream).poll_read(cx, &mut buffer))));
        read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

/// A task that sends the rest of an already answered request, and ends with the connection.
pub(crate) struct SendingRest(JoinHandle<bool>);

impl SendingRest {
    /// Spawns the task on the current thread; `rest` returns true if the whole request was sent.
    pub(crate) fn spawn(rest: impl Future<Output = bool> + 'static) -> Self {
        Self(tokio::task::spawn_local(rest))
    }

    /// Waits for the end of the task; returns true if the whole request was sent.
    ///
    /// Cancel safe.
    pub(crate) async fn ended(&mut self) -> bool {
        (&mut self.0).await.unwrap_or(false)
    }
}

impl Drop for SendingRest {
    fn drop(&mut self) {
        self.0.abort();
    }
}
