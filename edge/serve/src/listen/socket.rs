//! Listening sockets, and a connected one that says what happens on it.

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

/// Connections that the system holds while they wait to be accepted.
pub const BACKLOG: i32 = 4_096;
/// Bytes of the receive buffer that a socket of HTTP/3 asks for: all connections of a thread share it, and what finds
/// no room is lost.
pub const UDP_RECEIVE_BUFFER_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes that the system takes beyond what is on its way, so that a slow reader does not make it hold megabytes.
/// With a quarter of it, this or no limit, bodies of 38 KB to 100 MB cost the same CPU time within the noise of a run.
const UNSENT_BYTES_MAX: u32 = 256 * 1024;
/// A peer that says nothing for this long is asked by TCP whether it is still there.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// Interval of TCP keep-alive probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Number of TCP keep-alive probes before the connection is dead.
const KEEPALIVE_TRIES: u32 = 4;

/// Opens a listening socket, ready for [`super::serve`].
///
/// With `reuse_port` several sockets share the port, and the system spreads connections over them.
///
/// # Errors
/// Errors of the system, such as that the address is in use.
pub fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<std::net::TcpListener> {
    let socket = bound(address, reuse_port)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Looks whether an address could be listened on. No connection comes to the socket, which is closed at once.
///
/// # Errors
/// As [`bind`].
pub fn try_bind(address: SocketAddr) -> io::Result<()> {
    bound(address, false).map(drop)
}

fn bound(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        // The system's default differs from machine to machine; `[::]` means both families here.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    // Accepted sockets inherit what follows, which saves three system calls per connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    // A peer that vanished silently while a response is open (an event stream, an upgraded connection) is found
    // by TCP itself, at no cost here and for both protocols.
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_TRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Opens `count` sockets on one address, one per serving thread; port 0 becomes the same free port for all.
///
/// # Errors
/// Errors of the system; in particular that the address is in use, also by another edge of the same user, with which
/// the port would otherwise be shared silently.
pub fn bind_all(address: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpListener>> {
    bind_each(address, count, bind, std::net::TcpListener::local_addr)
}

/// The same for sockets of any kind, by what binds one of them, and says where it is.
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

/// Activity on a socket since the last call. Of one thread, except for a connection that was upgraded.
#[derive(Debug)]
pub(crate) struct IoActivity {
    read: AtomicBool,
    ended: AtomicBool,
    wrote: AtomicBool,
    blocked: AtomicBool,
    /// The socket, once HTTP is done with it while the peer may still be sending.
    left: Mutex<Option<TcpStream>>,
    _permit: Permit,
}

impl IoActivity {
    /// Whether bytes came since the last call.
    pub(crate) fn take_read(&self) -> bool {
        let read = self.read.load(Ordering::Relaxed);
        if read {
            self.read.store(false, Ordering::Relaxed);
        }
        read
    }

    /// Whether the peer took bytes since the last call.
    pub(crate) fn take_wrote(&self) -> bool {
        let wrote = self.wrote.load(Ordering::Relaxed);
        if wrote {
            self.wrote.store(false, Ordering::Relaxed);
        }
        wrote
    }

    /// Whether bytes wait for the peer to take some.
    pub(crate) fn blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Reads what the peer still sends until it closes, within limits. A socket that is closed with unread bytes sends
    /// a reset, which can overtake the answer (RFC 9112 section 9.6); so an answer to a body that was not read is lost.
    /// The default of `bytes_max` is more than the systems of both ends hold for one connection (on Linux up to 4 and
    /// 6 MiB): all that may be on its way when a client in the midst of an upload sees its answer.
    pub(crate) async fn linger(&self, (time_max, bytes_max): (Duration, u64)) {
        let left = self.left.lock().take();
        let Some(mut stream) = left else { return };
        let read = async {
            if stream.shutdown().await.is_err() {
                return;
            }
            // On the heap, so that this rare end does not make every connection larger.
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

/// A connected socket that records its pulse.
#[derive(Debug)]
pub(crate) struct SocketIo {
    /// There until the drop.
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
        // An answer is mostly one record, and the system takes longer over a list of one than over one.
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
