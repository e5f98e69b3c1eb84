//! What the limits of connections mean for QUIC.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hkdf, hmac};
use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn_proto::{Connection, Dir, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};

use super::ids::{Ids, Place};
use crate::listen::limits::{ConnectionLimits, Sizes};
use crate::tls::ServerTls;

/// Unidirectional streams that a client may have open: the three of HTTP/3, and some whose types are not known (RFC
/// 9114 §6.2).
const UNIDIRECTIONAL_STREAMS_MAX: u32 = 8;
/// Requests that a client may have open until the head of one has come: a stream of which the first byte is missing
/// keeps what came behind it, in as many as some 2,000 pieces that take a place of their own each.
const FIRST_STREAMS_MAX: u32 = 16;
/// Bytes of all streams that a client may send ahead of what is read, until then.
const FIRST_WINDOW_BYTES_MAX: u32 = 128 * 1024;
/// Bytes of one connection that were written and that its peer has not acknowledged: at least, and at most, as many as
/// Linux holds of one of TCP. Between them, what its path takes decides.
const SEND_WINDOW_BYTES_MIN: u64 = 256 * 1024;
const SEND_WINDOW_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A connection is given up so much later than its end is announced for want of requests.
const IDLE_GRACE: Duration = Duration::from_secs(5);
/// Bytes of packets of a connection that has not begun, which wait for its turn.
const INCOMING_BYTES_MAX: u64 = 16 * 1024;
/// The same of all.
const INCOMING_BYTES_MAX_TOTAL: u64 = 8 * 1024 * 1024;

/// The settings of an endpoint of the node `node`. Resets have a key of their own on each node: with one for all, who
/// has seen the connection id of another's connection could send it to a node that does not know it, and have its reset
/// end the connection elsewhere (RFC 9000 §21.11). The next process on the node has it too, and ends what a crash left.
pub(super) fn of_endpoint(tls: &ServerTls, place: Place, node: &str) -> EndpointConfig {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &tls.key_for(&format!("QUIC stateless resets of {node}")));
    let mut config = EndpointConfig::new(Arc::new(key));
    config.cid_generator(move || Box::new(Ids(place)));
    config
}

/// The settings of connections to come.
///
/// # Errors
/// When the TLS library has no cipher for the first packets, which has none to choose.
pub(super) fn of_connections(tls: &ServerTls, limits: &ConnectionLimits) -> Result<ServerConfig, NoInitialCipherSuite> {
    let crypto = QuicServerConfig::try_from(tls.for_quic())?;
    let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&tls.key_for("QUIC tokens"));
    let mut config = ServerConfig::new(Arc::new(crypto), Arc::new(token_key));
    config
        .transport_config(Arc::new(transport(limits)))
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_MAX_TOTAL);
    Ok(config)
}

/// Bytes that may be written and not acknowledged where the path takes `window` of them at once; while memory is
/// scarce, no more than it takes.
pub(super) fn send_window(window: u64, is_tight: bool) -> u64 {
    if is_tight {
        window.min(SEND_WINDOW_BYTES_MIN)
    } else {
        window.saturating_mul(2).clamp(SEND_WINDOW_BYTES_MIN, SEND_WINDOW_BYTES_MAX)
    }
}

/// Lets a client have all that the limits let it have: it has sent the head of a request.
pub(super) fn widen(quic: &mut Connection, sizes: &Sizes) {
    quic.set_max_concurrent_streams(Dir::Bi, VarInt::from_u32(sizes.streams));
    quic.set_receive_window(VarInt::from_u32(sizes.connection_window));
}

fn transport(limits: &ConnectionLimits) -> TransportConfig {
    let Sizes { streams, stream_window, connection_window, .. } = limits.sizes;
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(streams.min(FIRST_STREAMS_MAX)))
        .max_concurrent_uni_streams(VarInt::from_u32(UNIDIRECTIONAL_STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(stream_window))
        .receive_window(VarInt::from_u32(connection_window.min(FIRST_WINDOW_BYTES_MAX)))
        .send_window(SEND_WINDOW_BYTES_MIN)
        .max_idle_timeout(IdleTimeout::try_from(limits.times.idle.saturating_add(IDLE_GRACE)).ok())
        .datagram_receive_buffer_size(None);
    config
}
