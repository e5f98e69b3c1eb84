//! A stream on which interim answers are written beside what hyper writes, between two of its messages.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::Interim;

/// The stream that is given to hyper. hyper flushes it when it holds no bytes of its own any more, and at the end of
/// each of its turns; so between a flush and the next write, whatever is written stands between two messages.
pub(crate) struct Beside<T> {
    io: T,
    interim: Arc<Interim>,
    /// Bytes of interim answers that are being written; the first `written` of them are.
    rest: Vec<u8>,
    written: usize,
    waker: Option<Waker>,
}

impl<T: AsyncWrite + Unpin> Beside<T> {
    pub(crate) fn new(io: T, interim: Arc<Interim>) -> Self {
        Self { io, interim, rest: Vec::new(), written: 0, waker: None }
    }

    /// Writes interim answers to their end: they came before whatever hyper has to say.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while let Some(rest) = self.rest.get(self.written..)
                && !rest.is_empty()
            {
                let count = ready!(Pin::new(&mut self.io).poll_write(cx, rest))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.written += count;
            }
            self.written = 0;
            self.rest = match self.interim.take() {
                Some(rest) => rest,
                None if self.rest.is_empty() => return Poll::Ready(Ok(())),
                None => Vec::new(),
            };
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Beside<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Beside<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.interim.writes();
        ready!(self.poll_interim(cx))?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.interim.writes();
        ready!(self.poll_interim(cx))?;
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.interim.has_written();
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
            self.interim.set_waker(cx.waker());
        }
        ready!(self.poll_interim(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.interim.writes();
        ready!(self.poll_interim(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
