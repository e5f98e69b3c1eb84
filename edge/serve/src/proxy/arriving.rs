//! Tunnels of other nodes that end at instances of the local node.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;

use super::address::Endpoint;
use super::connect::{check_listener, set_up};
use super::http1::{Stream, Transport};
use super::peer_owner::check_peer;
use super::run::{RunId, RunMember};

/// Tunnels that end on the local node.
#[derive(Default)]
pub(super) struct InboundTunnels {
    counts: Mutex<HashMap<(RunId, Endpoint), usize>>,
    ended: Notify,
}

impl InboundTunnels {
    /// Returns the number of tunnels to a run, or only to the run's instance at `endpoint`.
    pub(super) fn count(&self, id: &RunId, endpoint: Option<&Endpoint>) -> usize {
        let counts = self.counts.lock();
        let of = |(run, at): &(RunId, Endpoint)| run == id && endpoint.is_none_or(|endpoint| at == endpoint);
        counts.iter().filter(|(key, _)| of(key)).map(|(_, count)| count).sum()
    }

    /// Waits until all tunnels have ended.
    pub(super) async fn all_ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.counts.lock().is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Connects to the instance `to` of a run.
    pub(super) async fn arrive(self: &Arc<Self>, id: &RunId, to: &RunMember) -> io::Result<ArrivedTunnel> {
        // Counted before the connect, so that a stopping instance waits for the tunnel.
        let entered = self.enter(id, &to.endpoint);
        let stream = match &to.endpoint {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                check_peer(&stream, to.uid).await?;
                set_up(&stream);
                Stream::new(Transport::Tcp(stream), None)
            }
            Endpoint::Socket(path) => {
                let stream = UnixStream::connect(path).await?;
                check_listener(&stream, to.uid)?;
                Stream::new(Transport::Unix(stream), None)
            }
            // The tunnel would lead on to a third node.
            Endpoint::Node(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(ArrivedTunnel { stream, _entered: entered })
    }

    fn enter(self: &Arc<Self>, id: &RunId, endpoint: &Endpoint) -> Entered {
        let key = (id.clone(), endpoint.clone());
        *self.counts.lock().entry(key.clone()).or_default() += 1;
        Entered { arriving: Arc::clone(self), key }
    }
}

/// Guard that counts a tunnel until the drop.
struct Entered {
    arriving: Arc<InboundTunnels>,
    key: (RunId, Endpoint),
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut counts = self.arriving.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
                drop(counts);
                self.arriving.ended.notify_waiters();
            }
        }
    }
}

/// A connection of another node to an instance of the local node. The instance counts as busy until the drop.
pub struct ArrivedTunnel {
    stream: Stream,
    _entered: Entered,
}

impl ArrivedTunnel {
    /// Copies bytes in both directions between the instance and `other` until both have ended.
    ///
    /// # Errors
    /// Errors of either side.
    pub async fn join(mut self, mut other: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        copy_bidirectional(&mut self.stream, &mut other).await.map(drop)
    }
}
