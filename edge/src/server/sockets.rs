//! The listening sockets: bound before anything is served, or inherited from the edge that this one takes over from.

use std::net::{SocketAddr, TcpListener};

use devanture_config::edge_toml::EdgeFile;

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

impl Sockets {
    /// Binds what the file says, but for sockets that were inherited.
    pub(super) fn bind(file: &EdgeFile, inherited: &mut Inherited) -> Result<Self, StartError> {
        let listen = &file.listen;
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
            sockets => sockets,
        };
        let local = |socket: &TcpListener| socket.local_addr().map_err(StartError::Runtime);
        let addresses = Addresses {
            admin: local(&admin)?,
            http: http.as_ref().map(local).transpose()?,
            https: https.first().map(local).transpose()?.unwrap_or(listen.https),
        };
        Ok(Self { addresses, admin, http, https })
    }

    /// Copies of the sockets, for the next edge.
    pub(super) fn copies(&self) -> Result<Vec<(Listening, TcpListener)>, StartError> {
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
