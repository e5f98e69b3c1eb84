//! Listening sockets, and a connected socket that records its activity.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::limits::Permit;

/// Maximum number of connections in the system's accept queue.
pub const BACKLOG: i32 = 4_096;
/// Requested size of the receive buffer of an HTTP/3 socket: all connections of a thread share the buffer, and packets
/// without room are lost.
pub const UDP_RECEIVE_BUFFER_BYTES: u64 = 4 * 1024 * 1024;
/// Maximum number of unsent bytes in the system's buffer, so that a slow reader does not make the system hold
/// megabytes. With a quarter, the full value or no limit, bodies of 38 KB to 100 MB cost the same CPU time within the
/// noise of a run.
const UNSENT_BYTES_MAX: u32 = 256 * 1024;
/// Silence of a peer before the first TCP keep-alive probe.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// Interval of TCP keep-alive probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Number of TCP keep-alive probes before the connection is dead.
const KEEPALIVE_TRIES: u32 = 4;

/// Opens a listening socket for [`super::serve`].
///
/// With `reuse_port` several sockets share the port, and the system distributes connections.
///
/// # Errors
/// Errors of the system, for example that the address is in use.
pub fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<std::net::TcpListener> {
    let socket = bound(address, reuse_port)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Checks that an address can be bound. The socket gets no connections, and is closed immediately.
///
/// # Errors
/// As [`bind`].
pub fn try_bind(address: SocketAddr) -> io::Result<()> {
    bound(address, false).map(drop)
}

fn bound(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        // The system's default differs between machines; `[::]` means both families here.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    // Accepted sockets inherit the following options, which saves three system calls per connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    // TCP itself detects a peer that vanished silently during an open response (an event stream, an upgraded
    // connection), without cost for the edge and for both protocols.
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_TRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Opens `count` sockets on one address, one per serving thread; port 0 becomes the same free port for all sockets.
///
/// # Errors
/// Errors of the system; for example, the address is in use, possibly by another edge of the same user, which would
/// otherwise share the port silently.
pub fn bind_all(address: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpListener>> {
    bind_each(address, count, bind, std::net::TcpListener::local_addr)
}

/// Opens sockets of any kind on one address, by functions that bind one socket and return its address.
pub(super) fn bind_each<S>(
    address: SocketAddr,
    count: usize,
    bind: impl Fn(SocketAddr, bool) -> io::Result<S>,
    local: impl Fn(&S) -> io::Result<SocketAddr>,
) -> io::Result<Vec<S>> {
    if count <= 1 {
        return Ok(vec![bind(address, false)?]);
    }
    if address.port() != 0 {
        drop(bind(address, false)?);
    }
    let first = bind(address, true)?;
    let chosen = local(&first)?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind(chosen, true)?);
    }
    Ok(sockets)
}

/// Activity on a socket since the last call, used by one thread, except after an upgrade.
#[derive(Debug)]
pub(crate) struct IoActivity {
    read: AtomicBool,
    ended: AtomicBool,
    wrote: AtomicBool,
    blocked: AtomicBool,
    /// The socket after HTTP, while the peer may still be sending.
    left: Mutex<Option<TcpStream>>,
    _permit: Permit,
}

impl IoActivity {
    /// Returns true if bytes arrived since the last call.
    pub(crate) fn take_read(&self) -> bool {
        let read = self.read.load(Ordering::Relaxed);
        if read {
            self.read.store(false, Ordering::Relaxed);
        }
        read
    }

    /// Returns true if the peer accepted bytes since the last call.
    pub(crate) fn take_wrote(&self) -> bool {
        let wrote = self.wrote.load(Ordering::Relaxed);
        if wrote {
            self.wrote.store(false, Ordering::Relaxed);
        }
        wrote
    }

    /// Returns true if bytes wait for the peer.
    pub(crate) fn blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Reads and drops input until the peer closes, within limits. Closing a socket with unread bytes sends a reset,
    /// which can overtake the response (RFC 9112 §9.6), so that the response to an unread body is lost. The default of
    /// `bytes_max` exceeds the buffers of both ends' systems for one connection (on Linux up to 4 and 6 MiB): all bytes
    /// that may be in flight when a client receives the response in the midst of an upload.
    pub(crate) async fn linger(&self, (time_max, bytes_max): (Duration, u64)) {
        let left = self.left.lock().take();
        let Some(mut stream) = left else { return };
        let read = async {
            if stream.shutdown().await.is_err() {
                return;
            }
            // On the heap, so that the rare case does not enlarge every connection.
            let mut bytes = vec![0; 16 * 1024];
            let mut total = 0;
            while total < bytes_max {
                match stream.read(&mut bytes).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => total += count as u64,
                }
            }
        };
        drop(tokio::time::timeout(time_max, read).await);
    }
}

/// A connected socket that records its activity.
#[derive(Debug)]
pub(crate) struct SocketIo {
    /// Present until the drop.
    stream: Option<TcpStream>,
    pulse: Arc<IoActivity>,
}

impl SocketIo {
    pub(crate) fn new(stream: TcpStream, permit: Permit) -> Self {
        let pulse = IoActivity {
            read: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            wrote: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            left: Mutex::new(None),
            _permit: permit,
        };
        Self { stream: Some(stream), pulse: Arc::new(pulse) }
    }

    pub(crate) fn pulse(&self) -> &Arc<IoActivity> {
        &self.pulse
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Pending => self.pulse.blocked.store(true, Ordering::Relaxed),
            Poll::Ready(Ok(0)) => {}
            Poll::Ready(Ok(_)) => {
                self.pulse.wrote.store(true, Ordering::Relaxed);
                self.pulse.blocked.store(false, Ordering::Relaxed);
            }
            Poll::Ready(Err(_)) => self.pulse.ended.store(true, Ordering::Relaxed),
        }
        result
    }
}

impl AsyncRead for SocketIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        let result = ready!(self.stream()?.poll_read(cx, buffer));
        let count = buffer.filled().len() - before;
        if result.is_err() || (count == 0 && room > 0) {
            self.pulse.ended.store(true, Ordering::Relaxed);
        } else {
            self.pulse.read.store(true, Ordering::Relaxed);
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for SocketIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = self.stream()?.poll_write(cx, bytes);
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A response is usually one record, and a vectored write of a single slice is slower.
        if let [slice] = slices {
            return self.poll_write(cx, slice);
        }
        let result = self.stream()?.poll_write_vectored(cx, slices);
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

impl Drop for SocketIo {
    fn drop(&mut self) {
        if !self.pulse.ended.load(Ordering::Relaxed) {
            *self.pulse.left.lock() = self.stream.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_one_port_and_another_process_does_not_get_it() {
        let sockets = bind_all("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
        assert_eq!(bind_all(address, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(bind_all(address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(sockets);
        assert_eq!(bind_all(address, 2).unwrap().len(), 2);
    }

    #[test]
    fn an_accepted_socket_inherits_the_options() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = loop {
            match listener.accept() {
                Ok((stream, _)) => break Socket::from(stream),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), UNSENT_BYTES_MAX);
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEPALIVE_TIME);
        drop(client);
    }
}
