//! The listening sockets: bound before anything is served, or inherited from the edge that this one takes over from.

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

/// Ports that the system chooses for TCP before one is given up that is free for UDP as well.
const PORTS_MAX: usize = 16;

/// Where an edge listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The API.
    pub admin: SocketAddr,
    /// The redirect to HTTPS.
    pub http: Option<SocketAddr>,
    /// Visitors by HTTP/3, over UDP; `None` where it is not served.
    pub http3: Option<SocketAddr>,
    /// Visitors.
    pub https: SocketAddr,
}

impl Addresses {
    pub(super) fn all(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        [Some(self.https), Some(self.admin), self.http].into_iter().flatten()
    }
}

/// Every listening socket, bound before anything is served.
pub(crate) struct Sockets {
    pub(super) addresses: Addresses,
    pub(super) admin: TcpListener,
    pub(super) http: Option<TcpListener>,
    pub(super) https: Vec<TcpListener>,
    /// One of each thread, or none.
    pub(super) http3: Vec<QuicSocket>,
}

/// Copies of the sockets, for the edge that takes over.
#[derive(Default)]
pub(crate) struct SocketCopies {
    pub(crate) listening: Vec<(Listening, OwnedFd)>,
    pub(crate) quic: Vec<QuicCopy>,
    /// Whether an edge has them that takes over, or fails to.
    pub(crate) are_given: bool,
}

/// The same, to which those are added that are bound later.
pub(crate) type SharedCopies = Arc<Mutex<SocketCopies>>;

impl Sockets {
    /// Binds what the file says, but for sockets that were inherited.
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

    /// Copies of the sockets, for the next edge.
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

/// The sockets of visitors: those of TCP, and those of UDP on the port of the same number.
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
            // One socket of the service manager is taken from by all threads.
            sockets if is_given => (shared(sockets, count).map_err(cannot)?, false),
            // Each has a queue of its own, which is lost with its last copy: there are as many threads as before.
            sockets => (sockets, false),
        };
        let address = https.first().map_or(Ok(listen.https), TcpListener::local_addr).map_err(StartError::Runtime)?;
        // Dropped where they are not used: the running edge then reads them itself.
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

/// Sockets that the service manager opened (`LISTEN_FDS`, sd_listen_fds(3)), each for the listener that has its
/// address.
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

/// So many handles of these sockets.
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
