//! New connections to backends: the name resolved, the very address asked about, TCP, TLS, HTTP/1.1.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::address::Policy;
use super::error::{BadAnswer, Error, Phase};
use super::pool::Connection;
use super::upstream::Target;

/// Longest time for a name, a connection and its TLS handshake together.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer's head, and of what is read ahead of a slow client.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// After how long a silent connection is asked whether its other end still lives.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// Connects to `target` within `limit`.
pub(crate) async fn connect(
    target: &Target,
    policy: &Policy,
    tls: &Arc<ClientConfig>,
    limit: Duration,
) -> Result<Connection, Error> {
    let work = Box::pin(async {
        let stream = reach(target, policy, Instant::now() + limit.min(CONNECT_MAX)).await?;
        let peer = stream.peer_addr().map_err(Error::connect)?;
        if !target.tls {
            return speak(stream, peer).await;
        }
        let name = target.server_name().ok_or_else(|| Error::Tls(io::Error::other("its name is no DNS name")))?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map_err(Error::Tls)?;
        speak(stream, peer).await
    });
    timeout(limit.min(CONNECT_MAX), work).await.unwrap_or(Err(Error::Timeout(Phase::Connect)))
}

/// A TCP connection to the first address that takes one, each getting its share of the time.
async fn reach(target: &Target, policy: &Policy, deadline: Instant) -> Result<TcpStream, Error> {
    let mut addresses = target.addresses().await.map_err(Error::connect)?;
    let mut failure = None;
    // What is asked about is what is connected to: a name may have changed its mind since the publish.
    addresses.retain(|address| match policy.permits(*address) {
        Ok(()) => true,
        Err(refusal) => {
            failure = Some(Error::Forbidden(refusal));
            false
        }
    });
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let share = deadline.saturating_duration_since(Instant::now()) / left.max(1);
        left = left.saturating_sub(1);
        match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                set_up(&stream);
                return Ok(stream);
            }
            Ok(Err(error)) => failure = Some(Error::connect(error)),
            Err(_elapsed) => failure = Some(Error::Timeout(Phase::Connect)),
        }
    }
    Err(failure.unwrap_or_else(|| Error::Connect(io::Error::new(io::ErrorKind::NotFound, "its name has no address"))))
}

fn set_up(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_AFTER / 4);
    let outcome = stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = outcome {
        tracing::debug!(%error, "an option of a backend's socket could not be set");
    }
}

/// Starts HTTP/1.1, driven by a task of this thread.
async fn speak<S>(stream: S, peer: SocketAddr) -> Result<Connection, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http1::Builder::new().max_buf_size(BUFFER_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| Error::BadAnswer(BadAnswer::Http(error)))?;
    let driver = tokio::task::spawn_local(async move {
        // What goes wrong within an exchange is told to it; here only what happens between two of them arrives.
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, %peer, "a connection to a backend ended");
        }
    });
    Ok(Connection::new(sender, peer, driver.abort_handle()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public_only() -> Policy {
        Policy { allow: Arc::default(), own: Arc::default(), trusted: false }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_loopback_is_refused_at_connect() {
        let target = Target::new(&"http://localhost:9".parse().unwrap());
        let error = reach(&target, &public_only(), Instant::now() + CONNECT_MAX).await.unwrap_err();
        assert!(matches!(error, Error::Forbidden(_)), "{error}");
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_cannot_be_connected_to() {
        let target = Target::new(&"http://not-there.invalid".parse().unwrap());
        let error = reach(&target, &public_only(), Instant::now() + CONNECT_MAX).await.unwrap_err();
        assert!(matches!(error, Error::Connect(_)), "{error}");
    }
}
