//! The stream below a connection: TCP, TLS or a Unix socket.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::proxy::sockets::Socket;

/// A stream to a member.
pub(crate) struct Stream {
    transport: Transport,
    /// The stream's slot in the socket budget, if counted.
    _socket: Option<Socket>,
}

/// The transport of a stream.
pub(crate) enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    pub(crate) const fn new(transport: Transport, socket: Option<Socket>) -> Self {
        Self { transport, _socket: socket }
    }

    pub(crate) const fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }
}

/// Delegates to the stream of each transport.
macro_rules! each {
    ($stream:expr, $inner:ident => $work:expr) => {
        match $stream {
            Transport::Tcp($inner) => $work,
            Transport::Tls($inner) => $work,
            Transport::Unix($inner) => $work,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.transport, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(&mut self.transport, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A vectored write of a single slice is slower.
        match slices {
            [slice] => each!(&mut self.transport, stream => Pin::new(stream).poll_write(cx, slice)),
            slices => each!(&mut self.transport, stream => Pin::new(stream).poll_write_vectored(cx, slices)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        each!(&self.transport, stream => stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.transport, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.transport, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// A stream after HTTP, with the bytes read ahead.
pub(crate) struct BufferedStream {
    pub(crate) bytes: BytesMut,
    pub(crate) stream: Stream,
}

impl AsyncRead for BufferedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = self.bytes.len().min(buffer.remaining());
        buffer.put_slice(self.bytes.get(..count).unwrap_or_default());
        self.bytes.advance(count);
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BufferedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
