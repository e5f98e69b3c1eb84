//! Minimum cost of serving: TLS, sockets and the runtime like the edge's, and constant responses, with almost no HTTP.
//! `benches/performance` compares the edge with this server.
//!
//! Environment variables: PORT, CERT and KEY (PEM files), WWW (the folder, including precompressed siblings). The first
//! head of a connection determines the response; later heads are assumed equal and are not parsed; likewise over HTTP/3
//! at the same port. With BACKEND, a port, all bytes are forwarded to the backend (`benches/proxy`, HTTP/1.1 alone).

mod answers;
mod protocol;
mod quic;
mod relay;

use std::cell::RefCell;
use std::error::Error;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use devanture_config::edge_toml::{CertificateFiles, Tls};
use devanture_serve::listen::bind;
use devanture_serve::tls::Certificates;
use rustls::{ServerConfig, ServerConnection};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use answers::Answers;
use protocol::{Out, Protocol};
use relay::Relay;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes per read.
const INPUT_BYTES: usize = 64 * 1024;
/// Socket buffer of HTTP/3 in bytes for each direction, as in the edge.
const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Bytes written per turn, about as in the edge: 64 KiB makes large bodies half as expensive again.
const TURN_BYTES: usize = 48 * 1024;

/// Resources shared by the connections of a thread.
struct Shared {
    input: Box<[u8]>,
    plain: Box<[u8]>,
    out: Out,
}

fn main() -> Result<(), Box<dyn Error>> {
    let variable = |name| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let (port, www) = (variable("PORT")?.parse::<u16>()?, variable("WWW")?);
    let files = CertificateFiles { certificate: variable("CERT")?.into(), key: variable("KEY")?.into() };
    let here = Path::new(".");
    let certificates =
        Certificates::open(&Tls::Files(vec![files]), here, here, Arc::new(|_| false), Arc::new(|_| None), None)?;
    let tls = certificates.server_config();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = bind(([127, 0, 0, 1], port).into(), false)?;
    let config = Arc::clone(tls.config());
    match variable("BACKEND") {
        Ok(backend) => LocalSet::new().block_on(&runtime, relay(listener, config, backend.parse()?)),
        Err(_) => {
            let answers = Arc::new(Answers::read(Path::new(&www))?);
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
            SockRef::from(&udp).set_recv_buffer_size(UDP_BUFFER_BYTES)?;
            SockRef::from(&udp).set_send_buffer_size(UDP_BUFFER_BYTES)?;
            let over_quic = quic::serve(udp, &config, Arc::clone(&answers));
            let over_tcp = accept(listener, Arc::clone(&config), answers);
            LocalSet::new().block_on(&runtime, async { tokio::try_join!(over_quic, over_tcp).map(|_| ()) })
        }
    }
}

/// Two buffers for all connections, and the output of a turn.
fn shared() -> Rc<RefCell<Shared>> {
    let buffer = || vec![0; INPUT_BYTES].into_boxed_slice();
    Rc::new(RefCell::new(Shared { input: buffer(), plain: buffer(), out: Out::default() }))
}

async fn relay(listener: std::net::TcpListener, tls: Arc<ServerConfig>, backend: u16) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::from_std(listener)?;
    let mut tls = (*tls).clone();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (tls, shared) = (Arc::new(tls), shared());
    loop {
        let (socket, _) = listener.accept().await?;
        let (tls, shared) = (Arc::clone(&tls), Rc::clone(&shared));
        spawn_local(async move {
            let mut relay = Relay::open(socket, tls, backend).await?;
            poll_fn(|cx| relay.poll(cx, &mut shared.borrow_mut())).await
        });
    }
}

async fn accept(
    listener: std::net::TcpListener,
    tls: Arc<ServerConfig>,
    answers: Arc<Answers>,
) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::from_std(listener)?;
    let shared = shared();
    loop {
        let (socket, _) = listener.accept().await?;
        let mut connection = Connection {
            socket,
            tls: ServerConnection::new(Arc::clone(&tls))?,
            protocol: None,
            answers: Arc::clone(&answers),
        };
        connection.tls.set_buffer_limit(None);
        let shared = Rc::clone(&shared);
        spawn_local(async move {
            // Errors are ignored: the client checks the responses.
            drop(poll_fn(|cx| connection.poll(cx, &mut shared.borrow_mut())).await);
        });
    }
}

struct Connection {
    socket: TcpStream,
    tls: ServerConnection,
    /// Known after the handshake.
    protocol: Option<Protocol>,
    answers: Arc<Answers>,
}

impl Connection {
    /// Reads, answers and writes until no work is left.
    fn poll(&mut self, cx: &mut Context<'_>, shared: &mut Shared) -> Poll<io::Result<()>> {
        loop {
            if self.tls.wants_write() {
                ready!(self.poll_write(cx))?;
            }
            if self.produce(&mut shared.out)? || self.tls.wants_write() {
                continue;
            }
            let mut input = ReadBuf::new(&mut shared.input);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut input))?;
            if input.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.receive(input.filled(), &mut shared.plain)?;
        }
    }

    /// Writes all ciphertext, or waits for the socket.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Polled { socket: &mut self.socket, cx }) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Encrypts the responses of a turn; returns true if there were any.
    fn produce(&mut self, out: &mut Out) -> io::Result<bool> {
        let Some(protocol) = &mut self.protocol else { return Ok(false) };
        protocol.produce(out, TURN_BYTES);
        if out.is_empty() {
            return Ok(false);
        }
        let slices: Vec<IoSlice<'_>> = out.slices().map(IoSlice::new).collect();
        let written = self.tls.writer().write_vectored(&slices)?;
        debug_assert_eq!(written, slices.iter().map(|slice| slice.len()).sum::<usize>());
        out.clear();
        Ok(true)
    }

    fn receive(&mut self, mut input: &[u8], plain: &mut [u8]) -> io::Result<()> {
        while !input.is_empty() {
            self.tls.read_tls(&mut input)?;
            let state = self.tls.process_new_packets().map_err(io::Error::other)?;
            if self.protocol.is_none() && !self.tls.is_handshaking() {
                let is_http2 = self.tls.alpn_protocol() == Some(b"h2");
                self.protocol = Some(Protocol::new(is_http2, Arc::clone(&self.answers)));
            }
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let count = self.tls.reader().read(plain)?;
                left = left.saturating_sub(count);
                if let (Some(protocol), Some(bytes)) = (&mut self.protocol, plain.get(..count)) {
                    protocol.receive(bytes)?;
                }
            }
        }
        Ok(())
    }
}

/// Socket adapter that returns `WouldBlock` and registers the task.
struct Polled<'p, 'c> {
    socket: &'p mut TcpStream,
    cx: &'p mut Context<'c>,
}

fn blocking(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    match polled {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Write for Polled<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.socket).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.socket).poll_write_vectored(self.cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
