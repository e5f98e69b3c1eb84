//! The stream below a connection of the engine: TLS on a socket, or the socket alone.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::pieces::Pieces;
use super::tls_io::{self, ReadOutcome};
use crate::listen::socket::{IoActivity, SocketIo};
use crate::tls::WRITE_BYTES;

/// The stream below a connection.
pub(crate) trait Transport {
    /// The stream as it goes on without the engine.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Begins, with what came before the first turn. Whether the peer sends no more.
    ///
    /// # Errors
    /// When the peer made a mistake.
    fn begin(&mut self, receive: &mut impl FnMut(&[u8])) -> io::Result<bool>;

    /// Reads once, into `input`, and gives what came to `receive`.
    ///
    /// # Errors
    /// When the socket failed, or the peer made a mistake.
    fn poll_receive(
        &mut self,
        input: &mut [u8],
        cx: &mut Context<'_>,
        receive: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<ReadOutcome>>;

    /// Takes the output of a turn, all of it.
    ///
    /// # Errors
    /// When it cannot be taken.
    fn take(&mut self, pieces: &mut Pieces) -> io::Result<()>;

    /// Sends what was taken, until none is left. After `Pending`, the task is woken when the socket takes more.
    ///
    /// # Errors
    /// When the socket failed.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether some of it is left.
    fn holds_output(&self) -> bool;

    /// What happened on the socket.
    fn pulse(&self) -> &IoActivity;

    /// Takes note that the engine puts no more.
    fn end_turns(&mut self);

    /// Adds to what is to be sent that nothing follows.
    fn say_end(&mut self);

    /// The stream, for who goes on with it.
    fn into_stream(self) -> Self::Stream;
}

impl Transport for TlsStream<SocketIo> {
    type Stream = Self;

    fn begin(&mut self, receive: &mut impl FnMut(&[u8])) -> io::Result<bool> {
        let (_, session) = self.get_mut();
        // What is put in one turn is taken as a whole; how much that is, the pieces say.
        session.set_buffer_limit(None);
        tls_io::give(session, receive);
        // It may have come with the end of the handshake.
        let state = session.process_new_packets().map_err(tls_io::mistaken)?;
        Ok(state.peer_has_closed())
    }

    fn poll_receive(
        &mut self,
        input: &mut [u8],
        cx: &mut Context<'_>,
        receive: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<ReadOutcome>> {
        let (io, session) = self.get_mut();
        tls_io::poll_read(io, session, input, cx, receive)
    }

    fn take(&mut self, pieces: &mut Pieces) -> io::Result<()> {
        pieces.write_to(&mut self.get_mut().1.writer())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (io, session) = self.get_mut();
        tls_io::poll_write(io, session, cx)
    }

    fn holds_output(&self) -> bool {
        self.get_ref().1.wants_write()
    }

    fn pulse(&self) -> &IoActivity {
        self.get_ref().0.pulse()
    }

    fn end_turns(&mut self) {
        self.get_mut().1.set_buffer_limit(Some(WRITE_BYTES));
    }

    fn say_end(&mut self) {
        self.get_mut().1.send_close_notify();
    }

    fn into_stream(self) -> Self {
        self
    }
}

/// A socket without TLS. It holds the output of one turn, and no memory while there is none.
#[derive(Debug)]
pub(crate) struct Plain {
    io: SocketIo,
    output: Vec<u8>,
    /// Bytes of it that were sent.
    sent: usize,
}

impl Plain {
    pub(crate) const fn new(io: SocketIo) -> Self {
        Self { io, output: Vec::new(), sent: 0 }
    }
}

impl Transport for Plain {
    type Stream = SocketIo;

    fn begin(&mut self, _receive: &mut impl FnMut(&[u8])) -> io::Result<bool> {
        Ok(false)
    }

    fn poll_receive(
        &mut self,
        input: &mut [u8],
        cx: &mut Context<'_>,
        receive: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<ReadOutcome>> {
        let mut buffer = ReadBuf::new(input);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(ReadOutcome::End));
        }
        receive(buffer.filled());
        Poll::Ready(Ok(ReadOutcome::Bytes))
    }

    fn take(&mut self, pieces: &mut Pieces) -> io::Result<()> {
        pieces.write_to(&mut Whole(&mut self.output))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.output.get(self.sent..)
            && !rest.is_empty()
        {
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        (self.output, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    fn holds_output(&self) -> bool {
        !self.output.is_empty()
    }

    fn pulse(&self) -> &IoActivity {
        self.io.pulse()
    }

    fn end_turns(&mut self) {}

    fn say_end(&mut self) {
        // The end of the socket says it.
    }

    fn into_stream(self) -> SocketIo {
        self.io
    }
}

/// Takes all slices at once, which a vector by itself does too, but does not promise.
struct Whole<'v>(&'v mut Vec<u8>);

impl Write for Whole<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        slices.iter().for_each(|slice| self.0.extend_from_slice(slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
