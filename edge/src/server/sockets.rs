//! The listening sockets: bound before any request is served, or inherited from the predecessor.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use devanture_config::edge_toml::{EdgeFile, Listen};
use listenfd::ListenFd;
use parking_lot::Mutex;

use super::error::StartError;
use super::firewall;
use super::http3::{QuicCopy, QuicSocket};
use super::stores::cores;
use super::takeover::{Inherited, Listener, Listening};
use devanture_serve::listen;

/// Maximum number of system-chosen TCP ports tried until the port is free for UDP as well.
const PORTS_MAX: usize = 16;

/// The addresses of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The API.
    pub admin: SocketAddr,
    /// The redirect to HTTPS.
    pub http: Option<SocketAddr>,
    /// Visitors by HTTP/3, over UDP; `None` without HTTP/3.
    pub http3: Option<SocketAddr>,
    /// Visitors.
    pub https: SocketAddr,
}

impl Addresses {
    pub(super) fn all(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        [Some(self.https), Some(self.admin), self.http].into_iter().flatten()
    }
}

/// All listening sockets, bound before any request is served.
pub(crate) struct Sockets {
    pub(super) addresses: Addresses,
    pub(super) admin: TcpListener,
    pub(super) http: Option<TcpListener>,
    pub(super) https: Vec<TcpListener>,
    /// One socket for each thread, or empty.
    pub(super) http3: Vec<QuicSocket>,
}

/// Copies of the sockets, for a successor.
#[derive(Default)]
pub(crate) struct SocketCopies {
    pub(crate) listening: Vec<(Listening, OwnedFd)>,
    pub(crate) quic: Vec<QuicCopy>,
    /// True if a successor has copies, or had copies and failed.
    pub(crate) are_given: bool,
}

/// Shared copies, which also get sockets bound later.
pub(crate) type SharedCopies = Arc<Mutex<SocketCopies>>;

impl Sockets {
    /// Binds the configured sockets, except inherited sockets.
    pub(super) fn bind(file: &EdgeFile, inherited: &mut Inherited) -> Result<Self, StartError> {
        let listen = &file.listen;
        let is_given = inherited.give(given(listen));
        let cannot = |address: SocketAddr| move |source| StartError::Bind { address, source };
        let count = if listen.threads == 0 { cores() } else { listen.threads };
        let mut one = |listener, address| match inherited.take(listener, address).pop() {
            Some(socket) => Ok(socket),
            None => inherited.bind(|| listen::bind(address, false)).map_err(cannot(address)),
        };
        let admin = one(Listener::Admin, listen.admin)?;
        let http = listen.http.map(|address| one(Listener::Http, address)).transpose()?;
        let (https, http3) = visitors(listen, inherited, is_given, count)?;
        if !http3.is_empty()
            && let Some(warning) = firewall::receive_buffer_warning(file)
        {
            tracing::warn!("{warning}");
        }
        let local = |socket: &TcpListener| socket.local_addr().map_err(StartError::Runtime);
        let addresses = Addresses {
            admin: local(&admin)?,
            http: http.as_ref().map(local).transpose()?,
            http3: http3.first().and_then(|quic| quic.socket.local_addr().ok()),
            https: https.first().map(local).transpose()?.unwrap_or(listen.https),
        };
        Ok(Self { addresses, admin, http, https, http3 })
    }

    /// Returns copies of the sockets, for a successor.
    pub(super) fn copies(&self) -> Result<SharedCopies, StartError> {
        let admin = [(Listener::Admin, &self.admin)];
        let http = self.http.iter().map(|socket| (Listener::Http, socket));
        let https = self.https.iter().map(|socket| (Listener::Https, socket));
        let copy = |(listener, socket): (Listener, &TcpListener)| {
            let listening = Listening { listener, address: socket.local_addr()? };
            Ok((listening, socket.try_clone()?.into()))
        };
        let listening: io::Result<_> = admin.into_iter().chain(http).chain(https).map(copy).collect();
        let quic: io::Result<_> = self.http3.iter().map(QuicSocket::copy).collect();
        let (listening, quic) = (listening.map_err(StartError::Runtime)?, quic.map_err(StartError::Runtime)?);
        Ok(Arc::new(Mutex::new(SocketCopies { listening, quic, are_given: false })))
    }
}

/// Binds the visitor sockets: TCP, and UDP on the same port.
fn visitors(
    listen: &Listen,
    inherited: &mut Inherited,
    is_given: bool,
    count: usize,
) -> Result<(Vec<TcpListener>, Vec<QuicSocket>), StartError> {
    let cannot = |source| StartError::Bind { address: listen.https, source };
    let mut ports_left = PORTS_MAX;
    loop {
        let (https, is_bound) = match inherited.take(Listener::Https, listen.https) {
            none if none.is_empty() => {
                (inherited.bind(|| listen::bind_all(listen.https, count)).map_err(cannot)?, true)
            }
            // All threads accept from a socket of the service manager.
            sockets if is_given => (shared(sockets, count).map_err(cannot)?, false),
            // Each socket has its own queue, which is lost with the last copy: so the number of threads stays the same.
            sockets => (sockets, false),
        };
        let address = https.first().map_or(Ok(listen.https), TcpListener::local_addr).map_err(StartError::Runtime)?;
        // Dropped if unused: the running edge then reads the sockets itself.
        let sockets = QuicSocket::inherit(inherited, address, https.len());
        if !listen.tries_http3() {
            return Ok((https, Vec::new()));
        }
        let http3 = match sockets.is_empty() {
            true => inherited.bind(|| QuicSocket::bind_all(address, https.len())),
            false => Ok(sockets),
        };
        match http3 {
            Ok(http3) => return Ok((https, http3)),
            Err(_) if is_bound && listen.https.port() == 0 && ports_left > 0 => ports_left -= 1,
            Err(source) if listen.http3 == Some(true) => return Err(StartError::BindUdp { address, source }),
            Err(error) => {
                warn_of_no_http3(address, &error);
                return Ok((https, Vec::new()));
            }
        }
    }
}

fn warn_of_no_http3(address: SocketAddr, error: &io::Error) {
    tracing::warn!(
        %address,
        %error,
        "HTTP/3 is not served until the UDP port can be listened on; `http3 = false` below [listen] turns it off"
    );
}

/// Returns the sockets opened by the service manager (`LISTEN_FDS`, sd_listen_fds(3)), each for the listener with the
/// same address.
fn given(listen: &Listen) -> Vec<(Listening, OwnedFd)> {
    let mut descriptors = ListenFd::from_env();
    let addresses =
        [(Listener::Https, Some(listen.https)), (Listener::Admin, Some(listen.admin)), (Listener::Http, listen.http)];
    let sockets = (0..descriptors.len()).filter_map(|number| {
        let socket = match descriptors.take_tcp_listener(number) {
            Ok(socket) => socket?,
            Err(error) => {
                tracing::warn!(number, %error, "a socket of the service manager cannot be used");
                return None;
            }
        };
        let address = socket.local_addr().ok()?;
        let Some((listener, _)) = addresses.iter().find(|(_, configured)| *configured == Some(address)) else {
            tracing::warn!(%address, "the service manager opened a socket that [listen] in edge.toml does not name");
            return None;
        };
        Some((Listening { listener: *listener, address }, socket.into()))
    });
    sockets.collect()
}

/// Returns `count` handles of the sockets.
fn shared(mut sockets: Vec<TcpListener>, count: usize) -> io::Result<Vec<TcpListener>> {
    let opened = sockets.len();
    while let Some(socket) =
        sockets.len().checked_sub(opened).and_then(|more| sockets.get(more)).filter(|_| sockets.len() < count)
    {
        let copy = socket.try_clone()?;
        sockets.push(copy);
    }
    Ok(sockets)
}
