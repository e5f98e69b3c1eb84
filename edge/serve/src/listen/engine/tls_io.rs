//! TLS between a socket and the engine: decrypts received records and encrypts output. No buffers here: unsent records
//! stay in the session, and no new records are produced meanwhile.

use std::io::{self, BufRead, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// Bytes of the socket, of which the session may have made plaintext.
    Bytes,
    /// The peer has ended its direction.
    End,
}

/// Reads the socket once into `input`, and passes the plaintext to `receive`.
///
/// # Errors
/// The socket failed, or the records are invalid in the session; the alert must be written then.
pub(super) fn poll_read<T: AsyncRead + Unpin>(
    io: &mut T,
    session: &mut ServerConnection,
    input: &mut [u8],
    cx: &mut Context<'_>,
    receive: &mut impl FnMut(&[u8]),
) -> Poll<io::Result<ReadOutcome>> {
    let mut buffer = ReadBuf::new(input);
    ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
    let mut records = buffer.filled();
    if records.is_empty() {
        return Poll::Ready(Ok(ReadOutcome::End));
    }
    while !records.is_empty() {
        // No data is accepted after a `close_notify`.
        if session.read_tls(&mut records)? == 0 {
            return Poll::Ready(Ok(ReadOutcome::End));
        }
        let state = session.process_new_packets().map_err(mistaken)?;
        give(session, receive);
        if state.peer_has_closed() {
            return Poll::Ready(Ok(ReadOutcome::End));
        }
    }
    Poll::Ready(Ok(ReadOutcome::Bytes))
}

/// Converts an error of invalid records.
pub(super) fn mistaken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Passes the session's plaintext to `receive`.
pub(super) fn give(session: &mut ServerConnection, receive: &mut impl FnMut(&[u8])) {
    let mut reader = session.reader();
    while let Ok(bytes) = reader.fill_buf()
        && !bytes.is_empty()
    {
        receive(bytes);
        let count = bytes.len();
        reader.consume(count);
    }
}

/// Writes the session's records until none is left. After `Pending`, the task is woken when the socket accepts more.
///
/// # Errors
/// The socket failed.
pub(super) fn poll_write<T: AsyncWrite + Unpin>(
    io: &mut T,
    session: &mut ServerConnection,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while session.wants_write() {
        match session.write_tls(&mut Records { io, cx }) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    Poll::Ready(Ok(()))
}

/// A socket as the writer of a session.
struct Records<'r, 'c, T> {
    io: &'r mut T,
    cx: &'r mut Context<'c>,
}

fn now(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<T: AsyncWrite + Unpin> Write for Records<'_, '_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        now(Pin::new(&mut *self.io).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        now(Pin::new(&mut *self.io).poll_write_vectored(self.cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
