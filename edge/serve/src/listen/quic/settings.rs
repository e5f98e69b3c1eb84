//! The QUIC settings derived from the connection limits.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hkdf, hmac};
use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn_proto::{Connection, Dir, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};

use super::ids::{Ids, Place};
use crate::listen::limits::{ConnectionLimits, Sizes};
use crate::tls::ServerTls;

/// Maximum number of open unidirectional streams of a client: the three of HTTP/3, and some of unknown types (RFC 9114
/// §6.2).
const UNIDIRECTIONAL_STREAMS_MAX: u32 = 8;
/// Maximum number of open requests of a client before the first complete head: a stream with a missing first byte
/// retains the following bytes, in up to about 2,000 separately allocated pieces.
const FIRST_STREAMS_MAX: u32 = 16;
/// Maximum number of unread bytes of all streams of a client, before the first complete head.
const FIRST_WINDOW_BYTES_MAX: u32 = 128 * 1024;
/// Bounds of unacknowledged bytes of one connection, as for a TCP connection on Linux. Between the bounds, the
/// congestion window decides.
const SEND_WINDOW_BYTES_MIN: u64 = 256 * 1024;
const SEND_WINDOW_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Delay between the announced end of an idle connection and its abort.
const IDLE_GRACE: Duration = Duration::from_secs(5);
/// Maximum number of queued packet bytes of a connection before its begin.
const INCOMING_BYTES_MAX: u64 = 16 * 1024;
/// The same maximum for all connections.
const INCOMING_BYTES_MAX_TOTAL: u64 = 8 * 1024 * 1024;

/// Returns the settings of an endpoint of the node `node`. Each node has its own key for resets: with a common key, an
/// observer of another client's connection id could send the id to a node without the connection, and use the node's
/// reset to end the connection (RFC 9000 §21.11). The next process on the node has the same key, and ends connections
/// left by a crash.
pub(super) fn of_endpoint(tls: &ServerTls, place: Place, node: &str) -> EndpointConfig {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &tls.key_for(&format!("QUIC stateless resets of {node}")));
    let mut config = EndpointConfig::new(Arc::new(key));
    config.cid_generator(move || Box::new(Ids(place)));
    config
}

/// Returns the settings of new connections.
///
/// # Errors
/// Fails if the TLS library has no cipher suite for initial packets, which is fixed by the protocol.
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

/// Returns the maximum of unacknowledged bytes for a congestion window of `window`; while memory is scarce, no more
/// than the window.
pub(super) fn send_window(window: u64, is_tight: bool) -> u64 {
    if is_tight {
        window.min(SEND_WINDOW_BYTES_MIN)
    } else {
        window.saturating_mul(2).clamp(SEND_WINDOW_BYTES_MIN, SEND_WINDOW_BYTES_MAX)
    }
}

/// Extends the limits to the full limits, after a client's first complete request head.
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
