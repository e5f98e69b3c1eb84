//! The listening sockets: bound before anything is served, or inherited from the edge that this one takes over from.

use std::net::{SocketAddr, TcpListener};

use devanture_config::edge_toml::{EdgeFile, Listen};
use listenfd::ListenFd;

use super::error::StartError;
use super::stores::cores;
use super::takeover::{Inherited, Listener, Listening};
use crate::listen;

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
}

/// Copies of the sockets, for the edge that takes over.
pub(super) type SocketCopies = Vec<(Listening, TcpListener)>;

impl Sockets {
    /// Binds what the file says, but for sockets that were inherited.
    pub(super) fn bind(file: &EdgeFile, inherited: &mut Inherited) -> Result<Self, StartError> {
        let listen = &file.listen;
        let is_given = inherited.give(given(listen));
        let cannot = |address: SocketAddr| move |source| StartError::Bind { address, source };
        let count = if listen.threads == 0 { cores() } else { listen.threads };
        let mut one = |listener, address| match inherited.take(listener, address).pop() {
            Some(socket) => Ok(socket),
            None => listen::bind(address, false).map_err(cannot(address)),
        };
        let admin = one(Listener::Admin, listen.admin)?;
        let http = listen.http.map(|address| one(Listener::Http, address)).transpose()?;
        // Each has a queue of its own, which is lost with its last copy: there are as many threads as before.
        let https = match inherited.take(Listener::Https, listen.https) {
            none if none.is_empty() => listen::bind_all(listen.https, count).map_err(cannot(listen.https))?,
            // One socket of the service manager is taken from by all threads.
            sockets if is_given => shared(sockets, count).map_err(cannot(listen.https))?,
            sockets => sockets,
        };
        let local = |socket: &TcpListener| socket.local_addr().map_err(StartError::Runtime);
        let addresses = Addresses {
            admin: local(&admin)?,
            http: http.as_ref().map(local).transpose()?,
            http3: None,
            https: https.first().map(local).transpose()?.unwrap_or(listen.https),
        };
        Ok(Self { addresses, admin, http, https })
    }

    /// Copies of the sockets, for the next edge.
    pub(super) fn copies(&self) -> Result<SocketCopies, StartError> {
        let admin = [(Listener::Admin, &self.admin)];
        let http = self.http.iter().map(|socket| (Listener::Http, socket));
        let https = self.https.iter().map(|socket| (Listener::Https, socket));
        let copy = |(listener, socket): (Listener, &TcpListener)| {
            let listening = Listening { listener, address: socket.local_addr()? };
            Ok((listening, socket.try_clone()?))
        };
        let copies: std::io::Result<_> = admin.into_iter().chain(http).chain(https).map(copy).collect();
        copies.map_err(StartError::Runtime)
    }
}

/// Sockets that the service manager opened (`LISTEN_FDS`, sd_listen_fds(3)), each for the listener that has its address.
fn given(listen: &Listen) -> Vec<(Listening, TcpListener)> {
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
        Some((Listening { listener: *listener, address }, socket))
    });
    sockets.collect()
}

/// So many handles of these sockets.
fn shared(mut sockets: Vec<TcpListener>, count: usize) -> std::io::Result<Vec<TcpListener>> {
    let opened = sockets.len();
    while let Some(socket) =
        sockets.len().checked_sub(opened).and_then(|more| sockets.get(more)).filter(|_| sockets.len() < count)
    {
        let copy = socket.try_clone()?;
        sockets.push(copy);
    }
    Ok(sockets)
}
