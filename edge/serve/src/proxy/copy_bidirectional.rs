//! Copies bytes between two streams in both directions, without a buffer for an idle direction: most upgraded
//! connections are idle.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Maximum number of bytes in flight in one direction.
const BUFFER_BYTES: usize = 16 * 1024;

thread_local! {
    /// Borrowed for one read and one write.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_BYTES]);
}

/// Bytes in flight between two streams.
#[derive(Default)]
pub(super) struct Join {
    there: Direction,
    pub(super) back: Direction,
}

impl Join {
    /// Copies in both directions until both sides have ended; the end of one side shuts down the opposite writer, whose
    /// reader may still deliver data. Cancel safe: dropping the future loses no bytes.
    ///
    /// # Errors
    /// Errors of either side.
    pub(super) async fn run<A, B>(&mut self, a: &mut A, b: &mut B) -> io::Result<()>
    where
        A: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        std::future::poll_fn(|cx| {
            let there = self.there.poll(cx, a, b)?;
            let back = self.back.poll(cx, b, a)?;
            if there.is_ready() && back.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Returns the bytes that were read from each side and not yet written to the opposite side.
    pub(super) fn into_unwritten(self) -> (Vec<u8>, Vec<u8>) {
        (self.there.unwritten(), self.back.unwritten())
    }
}

/// The state of one direction.
#[derive(Default)]
pub(super) struct Direction {
    /// Bytes that were read; the first `written` bytes were written already.
    pub(super) held: Vec<u8>,
    pub(super) written: usize,
    unflushed: bool,
    ended: bool,
    is_over: bool,
}

impl Direction {
    fn unwritten(mut self) -> Vec<u8> {
        self.held.split_off(self.written.min(self.held.len()))
    }

    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while !self.is_over {
            ready!(self.poll_held(cx, to))?;
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.is_over = true;
            } else if self.poll_read(cx, from, to)?.is_pending() {
                if self.unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_held<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<io::Result<()>> {
        while let Some(rest) = self.held.get(self.written..)
            && !rest.is_empty()
        {
            let count = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.unflushed = true;
        }
        self.held = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads once, and writes as much as the writer accepts immediately.
    fn poll_read<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            let taken = match Pin::new(to).poll_write(cx, bytes)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(taken) => taken,
                Poll::Pending => 0,
            };
            self.unflushed |= taken > 0;
            self.held = bytes.get(taken..).unwrap_or_default().to_vec();
            Poll::Ready(Ok(()))
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn every_byte_arrives_however_little_is_taken_at_once() {
        let ((mut client, mut a), (mut b, mut backend)) = (duplex(100), duplex(7));
        let joined = tokio::spawn(async move { Join::default().run(&mut a, &mut b).await });
        let sent: Vec<u8> = (0..50_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        });
        let mut received = Vec::new();
        backend.read_to_end(&mut received).await.unwrap();
        assert!(received == expected);
        // One direction has ended, the opposite direction continues.
        backend.write_all(b"still here").await.unwrap();
        drop(backend);
        assert_eq!(writer.await.unwrap(), b"still here");
        joined.await.unwrap().unwrap();
    }
}
