//! Minimum cost of a proxy: TLS on one side, a separate connection to the backend on the other, and bytes forwarded
//! unparsed.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::{Polled, Shared};

/// Client connection with the matching backend connection.
pub(crate) struct Relay {
    client: TcpStream,
    tls: ServerConnection,
    backend: TcpStream,
    /// Client plaintext not yet accepted by the backend.
    forward: Vec<u8>,
}

impl Relay {
    pub(crate) async fn open(client: TcpStream, tls: Arc<ServerConfig>, port: u16) -> io::Result<Self> {
        let mut tls = ServerConnection::new(tls).map_err(io::Error::other)?;
        tls.set_buffer_limit(None);
        let backend = TcpStream::connect(("127.0.0.1", port)).await?;
        backend.set_nodelay(true)?;
        Ok(Self { client, tls, backend, forward: Vec::new() })
    }

    /// Forwards available bytes, until one side ends.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, shared: &mut Shared) -> Poll<io::Result<()>> {
        loop {
            self.poll_flush(cx)?;
            let mut input = ReadBuf::new(&mut shared.input);
            if self.forward.is_empty() && Pin::new(&mut self.client).poll_read(cx, &mut input)?.is_ready() {
                if input.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                self.receive(input.filled())?;
                continue;
            }
            let mut answer = ReadBuf::new(&mut shared.plain);
            if !self.tls.wants_write() && Pin::new(&mut self.backend).poll_read(cx, &mut answer)?.is_ready() {
                if answer.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                self.tls.writer().write_all(answer.filled())?;
                continue;
            }
            return Poll::Pending;
        }
    }

    /// Writes to both sides as far as possible.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Polled { socket: &mut self.client, cx }) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while !self.forward.is_empty() {
            let Poll::Ready(count) = Pin::new(&mut self.backend).poll_write(cx, &self.forward)? else { break };
            self.forward.drain(..count);
        }
        Ok(())
    }

    fn receive(&mut self, mut input: &[u8]) -> io::Result<()> {
        while !input.is_empty() {
            self.tls.read_tls(&mut input)?;
            let state = self.tls.process_new_packets().map_err(io::Error::other)?;
            let end = self.forward.len();
            self.forward.resize(end + state.plaintext_bytes_to_read(), 0);
            if let Some(free) = self.forward.get_mut(end..) {
                self.tls.reader().read_exact(free)?;
            }
        }
        Ok(())
    }
}
