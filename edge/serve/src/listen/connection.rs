//! One connection from its handshake to its end: the engine speaks HTTP on it, driven by [`super::engine`]; here it is
//! begun, handed on where a request upgrades it, and ended.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use metrics::Counter;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::activity::Activity;
use super::engine::{Drive, End, Machine, Plain, Rewind, Transport};
use super::handshakes::{Displaced, Handshake};
use super::limits::ConnectionLimits;
use super::serve::{Peer, Protocol};
use super::service::Services;
use super::socket::{IoActivity, SocketIo};
use crate::tls::{Failed, H2, ServerTls};
use devanture_http::{self as engine, Cause, Service};

/// Shared by all connections of one listener on one thread.
pub(crate) struct Shared<S> {
    pub(crate) tls: Option<ServerTls>,
    pub(crate) limits: ConnectionLimits,
    /// The same for the engine.
    pub(crate) engine: Rc<engine::Limits>,
    pub(crate) services: Rc<S>,
    pub(crate) http1: Counter,
    pub(crate) http2: Counter,
}

impl<S> Shared<S> {
    /// The same with other limits, for connections to come.
    pub(crate) fn with(&self, limits: ConnectionLimits) -> Self {
        Self {
            tls: self.tls.clone(),
            engine: Rc::new(limits.of_engine()),
            limits,
            services: Rc::clone(&self.services),
            http1: self.http1.clone(),
            http2: self.http2.clone(),
        }
    }
}

/// A socket that was accepted.
pub(crate) struct Accepted {
    pub(crate) io: SocketIo,
    pub(crate) address: SocketAddr,
    pub(crate) local: SocketAddr,
    /// Its place among the handshakes, where the listener has TLS.
    pub(crate) handshake: Option<Handshake>,
}

/// Serves a connection to its end.
pub(crate) async fn run<S: Services>(shared: Rc<Shared<S>>, accepted: Accepted, activity: Rc<Activity>) {
    let Accepted { io, address, local, handshake } = accepted;
    let pulse = Arc::clone(io.pulse());
    activity.share_memory(shared.limits.holding(address.ip()));
    let peer = Peer { address, local, protocol: Protocol::Http1, sni: None, tls_version: None };
    // What is rare or short is on the heap, so that the task of a connection that rests is small.
    let (Some(tls), Some(handshake)) = (&shared.tls, handshake) else {
        let (service, lane) = shared.services.of(&Arc::new(peer));
        activity.set_lane(lane);
        let drive = begin_http1(&shared, Plain::new(io), service, activity);
        return Box::pin(http1(drive, &shared.limits, pulse)).await;
    };
    let Some((stream, peer)) = Box::pin(shake(&shared, tls, handshake, io, peer)).await else { return };
    let is_http2 = peer.protocol == Protocol::Http2;
    let (service, lane) = shared.services.of(&Arc::new(peer));
    activity.set_lane(lane);
    if !is_http2 {
        let drive = begin_http1(&shared, stream, service, activity);
        return http1(drive, &shared.limits, pulse).await;
    }
    shared.http2.increment(1);
    let machine = engine::http2::Connection::new(Rc::clone(&shared.engine), service);
    let mut drive = Box::new(Drive::new(stream, machine, Arc::clone(&shared.limits.times), activity));
    let end = poll_fn(|cx| drive.poll(cx)).await;
    Box::pin(close(end, drive, &shared.limits, pulse)).await;
}

/// Shakes hands, and says who the peer is.
async fn shake<S>(
    shared: &Shared<S>,
    tls: &ServerTls,
    handshake: Handshake,
    io: SocketIo,
    mut peer: Peer,
) -> Option<(TlsStream<SocketIo>, Peer)> {
    let shaken = timeout(shared.limits.times.handshake, handshake.run(tls.accept(io))).await;
    drop(handshake);
    let shaken = shaken.map(|shaken| shaken.unwrap_or_else(|Displaced| Err(Failed::Displaced)));
    let stream = match shaken.unwrap_or(Err(Failed::Timeout)) {
        Ok(stream) => stream?,
        Err(failed) => {
            failed.record();
            return None;
        }
    };
    let (_, session) = stream.get_ref();
    peer.sni = session.server_name().map(Into::into);
    peer.tls_version = session.protocol_version();
    if session.alpn_protocol() == Some(H2) {
        peer.protocol = Protocol::Http2;
    }
    Some((stream, peer))
}

/// Begins a connection of HTTP/1.1.
fn begin_http1<S, T: Transport, V: Service>(
    shared: &Shared<S>,
    stream: T,
    service: V,
    activity: Rc<Activity>,
) -> Box<Drive<T, engine::http1::Connection<V>>> {
    shared.http1.increment(1);
    let machine = engine::http1::Connection::new(Rc::clone(&shared.engine), service);
    Box::new(Drive::new(stream, machine, Arc::clone(&shared.limits.times), activity))
}

/// Serves it to its end, or until a request upgrades it.
async fn http1<T: Transport, V: Service>(
    mut drive: Box<Drive<T, engine::http1::Connection<V>>>,
    limits: &ConnectionLimits,
    pulse: Arc<IoActivity>,
) {
    match poll_fn(|cx| drive.poll(cx)).await {
        End::Upgraded(bytes) => {
            let (stream, machine) = drive.into_parts();
            if let Some(upgrade) = machine.into_upgrade() {
                upgrade.send(Rewind::new(stream.into_stream(), bytes));
            }
        }
        end => Box::pin(close(end, drive, limits, pulse)).await,
    }
}

/// Ends a connection; its last bytes may take as long as a handshake.
async fn close<T: Transport, M: Machine>(
    end: End,
    mut drive: Box<Drive<T, M>>,
    limits: &ConnectionLimits,
    pulse: Arc<IoActivity>,
) {
    match end {
        End::Limit => return,
        End::Memory => {
            let _ending = Cause::Memory.begin();
            return drop(drive);
        }
        End::Lost | End::Upgraded(_) => {}
        End::Close => {
            drive.say_end();
            drop(timeout(limits.times.handshake, poll_fn(|cx| drive.poll_close(cx))).await);
        }
    }
    drop(drive);
    pulse.linger(limits.linger()).await;
}
