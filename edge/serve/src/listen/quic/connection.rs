//! The task of one connection, from the first packet to the last.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn_proto::ConnectionError;
use quinn_proto::crypto::rustls::HandshakeData;
use rustls::ProtocolVersion;
use tokio::time::timeout;

use super::drive::{Drive, End};
use super::endpoint::First;
use super::listener::Shared;
use super::transport::{Occurrence, Transport};
use crate::listen::activity::Activity;
use crate::listen::engine::clock;
use crate::listen::handshakes::Handshake;
use crate::listen::limits::Permit;
use crate::listen::serve::{Peer, Protocol};
use crate::listen::service::Services;
use crate::tls::Failed;
use devanture_http::http3::Code;
use devanture_http::{Cause, http3};

/// Maximum number of bytes that a connection sends at once before the end of the handshake.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// An admitted connection.
pub(super) struct Admitted {
    pub(super) first: First,
    pub(super) permit: Permit,
    pub(super) handshake: Handshake,
}

/// Serves a connection to its end.
pub(super) async fn run<S: Services>(shared: Rc<Shared<S>>, admitted: Admitted, activity: Rc<Activity>) {
    let Admitted { first, permit, handshake } = admitted;
    let Some((transport, peer)) = Box::pin(shake(&shared, first, handshake)).await else { return };
    shared.connections.increment(1);
    activity.share_memory(shared.limits.holding(peer.address.ip()));
    let (service, lane) = shared.services.of(&Arc::new(peer));
    activity.set_lane(lane);
    let engine = http3::Connection::new(Rc::clone(&shared.engine), service);
    let limits = (Arc::clone(&shared.limits.times), shared.limits.sizes);
    let mut drive = Box::new(Drive::new(transport, engine, limits, activity));
    drop(shared);
    let end = poll_fn(|cx| drive.poll(cx)).await;
    let ending = matches!(end, End::Memory).then(|| Cause::Memory.begin());
    let mut transport = drive.into_transport();
    drop(ending);
    drop(permit);
    match end {
        End::Close(code) => transport.close(clock(), code),
        End::Memory => transport.close(clock(), Code::ExcessiveLoad),
        End::Lost => {}
    }
    leave(transport);
}

/// Performs the handshake, and returns the peer.
async fn shake<E>(shared: &Shared<E>, mut first: First, handshake: Handshake) -> Option<(Transport, Peer)> {
    // The addresses of the first packet, not the current addresses: a packet right after the handshake may have a
    // forged source.
    let (local, address) = (first.local(), first.remote());
    let mut transport = None;
    let shaking = poll_fn(|cx| poll_shake(&mut first, &mut transport, cx));
    let shaken = timeout(shared.limits.times.handshake, handshake.run(shaking)).await;
    drop(handshake);
    let shaken = shaken.map(|shaken| shaken.unwrap_or(Err(Failed::Displaced)));
    if let Err(failed) = shaken.unwrap_or(Err(Failed::Timeout)) {
        failed.record();
        if let Some(transport) = transport.filter(|transport| transport.lost().is_some()) {
            leave(transport);
        }
        return None;
    }
    let transport = transport?;
    let data = transport.quic.crypto_session().handshake_data();
    let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
    let peer = Peer {
        address,
        local,
        protocol: Protocol::Http3,
        sni: data.and_then(|data| data.server_name).map(|name| name.to_ascii_lowercase().into()),
        tls_version: Some(ProtocolVersion::TLSv1_3),
    };
    Some((transport, peer))
}

/// Runs one step of a handshake.
fn poll_shake(first: &mut First, transport: &mut Option<Transport>, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
    let now = clock();
    if transport.is_none() {
        *transport = Transport::accept(first, now);
    }
    let Some(transport) = transport else {
        return Poll::Ready(Err(Failed::Io(io::ErrorKind::InvalidData.into())));
    };
    transport.take(now, cx);
    let mut is_connected = false;
    while !is_connected && let Some(occurrence) = transport.next_event() {
        is_connected = matches!(occurrence, Occurrence::Connected);
    }
    // Other output, for example the reason of a failure, is sent too.
    transport.send(now, SEND_BYTES_MAX, cx.waker());
    match transport.lost() {
        Some(error) => Poll::Ready(Err(failed(error))),
        None if is_connected => Poll::Ready(Ok(())),
        None => {
            transport.poll_alarm(None, cx);
            Poll::Pending
        }
    }
}

fn failed(error: &ConnectionError) -> Failed {
    let kind = match error {
        ConnectionError::TransportError(_) => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::ConnectionAborted,
    };
    Failed::Io(io::Error::new(kind, error.clone()))
}

/// Ends a connection and drops its buffers: the remaining detached task, which responds to late packets, is small.
fn leave(transport: Transport) {
    if let Some(mut farewell) = transport.leave(clock()) {
        tokio::task::spawn_local(poll_fn(move |cx| farewell.poll(cx)));
    }
}
