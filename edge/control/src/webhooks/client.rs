//! Sends a message: resolves the name, checks each address, connects to exactly the checked address, and reads the
//! response.
//!
//! Redirects are not followed, and proxies from the environment are not used: both would lead to unchecked addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devanture_config::AppName;
use devanture_config::api::WebhookAttempt;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::outcome::AttemptResult;
use super::target::{Host, Target};
use devanture_base::clock;
use devanture_base::fair::TurnsByApp;
use devanture_serve::proxy::address::{
    APP_PARTS, Class, LOOKUPS_MAX, LOOKUPS_TIME_MAX, Policy, Reason, Refusal, class,
};
use devanture_serve::proxy::{DnsAnswer, Names, retry_after_ms, tls};

/// Maximum time to connect, including TLS.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Maximum number of addresses to try per name.
const ADDRESSES_MAX: usize = 3;
/// Maximum size of a response head, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1_024;
/// Maximum size of a response body to read, in bytes.
const BODY_BYTES_MAX: usize = 4 * 1_024;
/// Maximum number of characters of a response body to store.
const ANSWER_CHARACTERS_MAX: usize = 500;
const AGENT: &str = concat!("Devanture-Webhooks/", env!("CARGO_PKG_VERSION"));

/// Reason for a message without a response.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("it cannot be connected to: {0}")]
    Connect(std::io::Error),
    #[error("{0}")]
    Dns(String),
    #[error("{}", why(.0))]
    Forbidden(Refusal),
    #[error("its connection failed: {0}")]
    Http(hyper::Error),
    #[error("{0} is a public address, to which messages go by https:// alone")]
    Plain(IpAddr),
    #[error("it cannot be spoken to by TLS: {0}")]
    Tls(String),
    #[error("it did not answer within {0} ms")]
    TooSlow(u128),
    #[error("the message cannot be put together: {0}")]
    Unsendable(http::Error),
}

/// Returns the reason for refusing an address, as a clause for the author of the address.
fn why(refusal: &Refusal) -> String {
    match (&refusal.endpoint, refusal.reason) {
        (devanture_serve::proxy::address::Endpoint::Tcp(address), Reason::NotAllowed(kind)) => format!(
            "{} is {kind}: such an address needs its block in [upstreams] allow of edge.toml, or an admin of every app who sets the webhook",
            address.ip()
        ),
        (endpoint, Reason::Never(kind)) => format!("{endpoint} is {kind}, which no webhook may reach"),
        (endpoint, Reason::Internal) => {
            format!("{endpoint} is of an instance or a store of the edge, which no webhook may reach")
        }
        (endpoint, Reason::Node) => format!("{endpoint} is another node of the cluster, which no webhook may reach"),
        (endpoint, Reason::Own | Reason::NotAllowed(_) | Reason::SocketNotAllowed) => {
            format!("{endpoint} is the edge itself, which no webhook may reach")
        }
    }
}

/// Message to send.
pub(super) struct Message {
    /// Header fields, in order.
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// HTTP client for messages.
pub(super) struct Client {
    names: Names,
    lookups: TurnsByApp,
    policy: Policy,
    tls: OnceCell<Arc<ClientConfig>>,
}

impl Client {
    /// Creates a client with the given DNS servers; the resolvers of the system if empty.
    pub(super) fn new(servers: &[SocketAddr], policy: Policy) -> Self {
        Self {
            names: Names::new(servers),
            lookups: TurnsByApp::new(LOOKUPS_MAX, APP_PARTS),
            policy,
            tls: OnceCell::new(),
        }
    }

    /// Checks the current addresses of a target. A name without an answer in time passes, because the receiver may be
    /// set up later: each attempt checks again.
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Plain`].
    pub(super) async fn check(&self, app: &AppName, target: &Target, trusted: bool) -> Result<(), Error> {
        let turns = self.lookups.of_app(app);
        let addresses = async {
            let _turn = turns.take().await;
            self.addresses(target, trusted).await
        };
        // Address literals need no DNS and wait for no turn.
        let checked = match target.literal() {
            Some(_) => Ok(self.addresses(target, trusted).await),
            None => timeout(LOOKUPS_TIME_MAX, addresses).await,
        };
        match checked {
            Ok(Ok(_) | Err(Error::Dns(_))) | Err(_) => Ok(()),
            Ok(Err(error)) => Err(error),
        }
    }

    /// Returns the addresses of the edge's own network that only a trusted webhook can reach; empty for a name without
    /// an answer in time.
    pub(super) async fn private_addresses(&self, app: &AppName, target: &Target) -> BTreeSet<IpAddr> {
        let addresses = match &target.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                let turns = self.lookups.of_app(app);
                let asked = async {
                    let _turn = turns.take().await;
                    self.names.ask(name).await
                };
                match timeout(LOOKUPS_TIME_MAX, asked).await {
                    Ok(DnsAnswer::Addresses(addresses, _)) => addresses,
                    Ok(DnsAnswer::Nothing | DnsAnswer::Failed(_)) | Err(_) => Vec::new(),
                }
            }
        };
        let [public, trusted] = [false, true].map(|trusted| Policy { trusted, ..self.policy.clone() });
        let is_private = |address: &IpAddr| {
            let address = SocketAddr::new(*address, target.port);
            public.permits(address).is_err() && trusted.permits(address).is_ok()
        };
        addresses.iter().filter(|address| is_private(address)).map(IpAddr::to_canonical).collect()
    }

    /// Returns the checked addresses of a target: a single refused address refuses all.
    ///
    /// # Errors
    /// [`Error::Dns`], [`Error::Forbidden`], [`Error::Plain`].
    pub(super) async fn addresses(&self, target: &Target, trusted: bool) -> Result<Vec<SocketAddr>, Error> {
        let policy = Policy { trusted, ..self.policy.clone() };
        let addresses = match &target.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => match self.names.ask(name).await {
                DnsAnswer::Addresses(addresses, _) => addresses,
                DnsAnswer::Nothing => return Err(Error::Dns(format!("{name} has no address"))),
                DnsAnswer::Failed(reason) => return Err(Error::Dns(reason)),
            },
        };
        for address in &addresses {
            policy.permits(SocketAddr::new(*address, target.port)).map_err(Error::Forbidden)?;
            if !target.is_tls && class(*address) == Class::Public {
                return Err(Error::Plain(*address));
            }
        }
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, target.port)).collect())
    }

    /// Sends a message once, and returns the result within `time_max`.
    pub(super) async fn send(
        &self,
        (target, trusted): (&Target, bool),
        message: Message,
        time_max: Duration,
    ) -> AttemptResult {
        let (at_ms, begun) = (clock::now_ms(), Instant::now());
        let deadline = begun + time_max;
        let answered = timeout_at(deadline, self.exchange(target, trusted, message));
        let answered = answered.await.unwrap_or(Err(Error::TooSlow(time_max.as_millis())));
        let (status, error, answer, retry_after_ms) = match answered {
            Err(error) => (None, Some(error.to_string()), String::new(), None),
            Ok((response, _connection)) => {
                let status = response.status();
                let error = match status {
                    _ if status.is_success() => None,
                    _ if status.is_redirection() => {
                        Some(format!("it answers {}: redirects are not followed", status.as_u16()))
                    }
                    _ => Some(format!("it answers {}", status.as_u16())),
                };
                let retry_after_ms = retry_after_ms(response.headers(), clock::now_ms());
                (Some(status.as_u16()), error, beginning(response.into_body(), deadline).await, retry_after_ms)
            }
        };
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        AttemptResult { attempt: WebhookAttempt { at_ms, ms, status, error, answer }, retry_after_ms }
    }

    async fn exchange(
        &self,
        target: &Target,
        trusted: bool,
        message: Message,
    ) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), Error> {
        let addresses = self.addresses(target, trusted).await?;
        let deadline = Instant::now() + CONNECT_MAX;
        let stream = connect(addresses, deadline).await?;
        if !target.is_tls {
            return post(stream, target, message).await;
        }
        let name = match &target.host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|error| Error::Tls(error.to_string()))?,
        };
        let config = self.tls.get_or_try_init(|| async { tls::platform() }).await;
        let config = config.map_err(|error| Error::Tls(error.to_string()))?;
        let connecting = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        let late = || Error::Tls("the handshake takes too long".to_owned());
        let stream = timeout_at(deadline, connecting).await.map_err(|_elapsed| late())?;
        post(stream.map_err(|error| Error::Tls(error.to_string()))?, target, message).await
    }
}

/// Connects to any of the addresses, in random order. Each address gets an equal part of the remaining time, so an
/// address that drops packets does not fail the message.
async fn connect(mut addresses: Vec<SocketAddr>, deadline: Instant) -> Result<TcpStream, Error> {
    addresses.sort_by_cached_key(|_| rand::random::<u64>());
    addresses.truncate(ADDRESSES_MAX);
    let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let (mut failed, mut left) = (late(), u32::try_from(addresses.len()).unwrap_or(u32::MAX));
    for address in addresses {
        let share = deadline.saturating_duration_since(Instant::now()).checked_div(left).unwrap_or_default();
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_elapsed) => failed = late(),
        }
        left = left.saturating_sub(1);
    }
    Err(Error::Connect(failed))
}

/// Sends a message on a separate connection, which ends with the returned handle.
async fn post<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    target: &Target,
    message: Message,
) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), Error> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Error::Http)?;
    let driven = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to a receiver of webhooks ended");
        }
    }));
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&target.path)
        .header(HOST, &target.authority)
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in message.fields {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(message.body))).map_err(Error::Unsendable)?;
    let response = sender.send_request(request).await.map_err(Error::Http)?;
    Ok((response, driven))
}

/// Returns the beginning of a body, as received before the deadline, as a single line.
async fn beginning(mut body: Incoming, deadline: Instant) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < BODY_BYTES_MAX {
        // A late body is ignored: the head already holds the result.
        let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await else { break };
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data.get(..data.len().min(BODY_BYTES_MAX)).unwrap_or_default());
        }
    }
    bytes.truncate(BODY_BYTES_MAX);
    shown(&bytes)
}

/// Returns untrusted bytes as a text of a single line.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(ANSWER_CHARACTERS_MAX).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    /// Law 7. Time is paused, so the result does not depend on the speed of the machine.
    #[tokio::test(start_paused = true)]
    async fn law_7_an_address_that_is_set_waits_no_longer_for_dns_than_it_may() {
        // Receives queries and never reads them.
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = Client::new(&[silent.local_addr().unwrap()], Policy::default());
        let (app, target) = ("shop".parse().unwrap(), Target::parse("https://hooks.example.org/a").unwrap());
        let begun = Instant::now();
        // More checks than turns.
        let all = (0..LOOKUPS_MAX).map(|_| client.check(&app, &target, false));
        assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
        assert!(begun.elapsed() < LOOKUPS_TIME_MAX + Duration::from_millis(500), "{:?}", begun.elapsed());
        let literal = Target::parse("https://127.0.0.1/a").unwrap();
        assert!(matches!(client.check(&app, &literal, false).await, Err(Error::Forbidden(_))));
    }
}
