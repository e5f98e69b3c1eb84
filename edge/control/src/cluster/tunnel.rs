//! Tunnels to instances of other nodes: a mutual TLS connection, one line in each direction, then the opaque bytes of a
//! request and its response.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::server;

use super::identity::Identity;
use super::peer;
use devanture_base::fair::{Share, Shares};
use devanture_serve::proxy::address::{Endpoint, NodeInstance};
use devanture_serve::proxy::{Registry, RunId, Tunnels};

/// Protocol of tunnels in ALPN, distinct from requests on the same listener.
pub(super) const ALPN: &[u8] = b"devanture-tunnel/1";
/// Concurrent tunnels of other nodes over all apps, at most half for one app, see [`Shares`].
pub(super) const TUNNELS_MAX: u64 = 4_096;
/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Longest time from the connection to the open tunnel, at the accepting end.
const OPEN_MAX: Duration = Duration::from_secs(5);
/// Silence after which the system probes the other node.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);

/// First line: target of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OpenRequest {
    run: RunId,
    instance: Endpoint,
}

/// Answer to the first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OpenAnswer {
    Open,
    Refused(String),
}

/// Opens tunnels to other nodes.
pub(super) struct Opener {
    identity: Identity,
}

impl Opener {
    pub(super) fn new(identity: &Identity) -> Self {
        Self { identity: identity.clone() }
    }
}

#[async_trait]
impl Tunnels for Opener {
    async fn open(&self, run: &RunId, to: &NodeInstance) -> io::Result<TlsStream<TcpStream>> {
        let mut tls = peer::dial(&self.identity.tunnels_config(), &to.node, to.advertise, keep_alive).await?;
        if tls.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::other("the node takes no tunnels"));
        }
        let request = OpenRequest { run: run.clone(), instance: (*to.instance).clone() };
        tls.write_all(&line(&request)?).await?;
        tls.flush().await?;
        match read_line(&mut tls).await? {
            OpenAnswer::Open => Ok(tls),
            OpenAnswer::Refused(reason) => Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason)),
        }
    }
}

/// Connects a tunnel of another node to a local instance. Once its app is known, the tunnel counts among `tunnels`;
/// before, as a `connection`.
pub(super) async fn end(
    mut tls: server::TlsStream<TcpStream>,
    registry: &Registry,
    tunnels: &Arc<Shares>,
    connection: OwnedSemaphorePermit,
) -> Result<(), String> {
    let said = |error: io::Error| error.to_string();
    keep_alive(tls.get_ref().0).map_err(said)?;
    let open = async {
        let OpenRequest { run, instance } = read_line(&mut tls).await.map_err(said)?;
        let arrived = match take_place(tunnels, &run) {
            Ok(place) => registry.arrive(&run, &instance).await.map(|arrived| (arrived, place)),
            Err(reason) => Err(reason),
        };
        let answer = match &arrived {
            Ok(_) => OpenAnswer::Open,
            Err(reason) => OpenAnswer::Refused(reason.clone()),
        };
        tls.write_all(&line(&answer).map_err(said)?).await.map_err(said)?;
        tls.flush().await.map_err(said)?;
        arrived
    };
    let (arrived, _place) =
        timeout(OPEN_MAX, open).await.map_err(|_elapsed| "no tunnel was opened in time".to_owned())??;
    // Released early, so that tunnels never block exchanges between nodes.
    drop(connection);
    arrived.join(tls).await.map_err(said)
}

/// Takes a permit for a tunnel to an instance of a run.
fn take_place(tunnels: &Arc<Shares>, run: &RunId) -> Result<Share, String> {
    tunnels.take(&run.app).ok_or_else(|| "the node has too many tunnels".to_owned())
}

/// Detects silently lost nodes, so that their tunnels end.
fn keep_alive(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_AFTER / 3);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads exactly one line, leaving later bytes unread. TLS serves single bytes from its buffer.
async fn read_line<T: serde::de::DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(serde_json::from_slice(&line)?),
            _ if line.len() >= LINE_BYTES_MAX => return Err(io::ErrorKind::InvalidData.into()),
            byte => line.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::Digest;

    use super::*;
    use devanture_serve::proxy::RunKey;

    #[test]
    fn law_11_tunnels_to_one_app_leave_places_for_those_to_others() {
        let run = |app: &str| RunId {
            app: app.parse().unwrap(),
            place: "prod".to_owned(),
            key: RunKey { digest: Digest::of(b"1"), settings: 0 },
        };
        let tunnels = Shares::new(TUNNELS_MAX);
        let greedy: Vec<Share> = std::iter::from_fn(|| take_place(&tunnels, &run("greedy")).ok()).collect();
        assert_eq!(greedy.len(), 2_048);
        let others: Vec<Share> = std::iter::from_fn(|| take_place(&tunnels, &run("shop")).ok()).collect();
        assert_eq!(others.len(), 1_024);
        assert!(take_place(&tunnels, &run("third")).is_ok());
    }

    #[tokio::test]
    async fn a_line_is_read_to_its_end_and_no_further() {
        let mut both = line(&OpenAnswer::Refused("no\nmore".to_owned())).unwrap();
        both.extend_from_slice(b"\0rest");
        let mut stream = both.as_slice();
        let answer: OpenAnswer = read_line(&mut stream).await.unwrap();
        assert_eq!((answer, stream), (OpenAnswer::Refused("no\nmore".to_owned()), &b"\0rest"[..]));
        let endless = vec![b' '; LINE_BYTES_MAX + 1];
        assert!(read_line::<OpenAnswer>(&mut endless.as_slice()).await.is_err());
        assert!(read_line::<OpenAnswer>(&mut &b"{}\n"[..]).await.is_err());
    }
}
