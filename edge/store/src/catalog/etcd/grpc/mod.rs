//! gRPC over HTTP/2: calls and streams of messages on one connection.

mod body;
mod framing;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::RwLock;
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::body::Outgoing;
use self::framing::{Frames, framed};
use super::fault::Fault;
use super::settings::Endpoint;
use super::wire::Call;

pub(super) use framing::FrameError;

/// Interval of pings on a connection with streams. etcd closes a connection with pings more often than every five
/// seconds (`--grpc-keepalive-min-time`).
const PING_EVERY: Duration = Duration::from_secs(6);
/// Longest wait for the answer to a ping.
const PING_TIME_MAX: Duration = Duration::from_secs(4);
/// Bytes of one stream in transit: a page of a snapshot does not wait for the acknowledgement of each frame.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Bytes of all streams in transit, so that a watch with events that wait for the disk never blocks the other streams.
const CONNECTION_WINDOW_BYTES: u32 = 4 * STREAM_WINDOW_BYTES;
/// Messages of a stream in the send queue.
const WAITING_MESSAGES_MAX: usize = 4;
/// Upper bound of characters of an error text.
const MESSAGE_CHARACTERS_MAX: usize = 300;

/// A connection to a member.
pub(super) struct Channel {
    url: String,
    uri: Uri,
    sender: http2::SendRequest<Outgoing>,
    token: RwLock<Option<HeaderValue>>,
    /// Cancelled when the connection has broken.
    broken: CancellationToken,
    /// Ends the task of the connection on drop.
    _task: DropGuard,
}

impl Channel {
    /// Connects to a member before `until`.
    pub(super) async fn connect(endpoint: &Endpoint, until: Instant) -> Result<Self, Fault> {
        let connecting = Box::pin(Self::connect_to(endpoint));
        timeout_at(until, connecting)
            .await
            .unwrap_or_else(|_late| Err(Fault::Silent { endpoint: endpoint.url.clone() }))
    }

    async fn connect_to(endpoint: &Endpoint) -> Result<Self, Fault> {
        let unreachable = |reason: String| Fault::Unreachable { endpoint: endpoint.url.clone(), reason };
        let io_fault = |error: std::io::Error| unreachable(error.to_string());
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.map_err(io_fault)?;
        stream.set_nodelay(true).map_err(io_fault)?;
        let ended = CancellationToken::new();
        let broken = CancellationToken::new();
        let sender = match &endpoint.tls {
            None => speak(TokioIo::new(stream), &ended, &broken).await,
            Some((name, config)) => {
                let mut config = ClientConfig::clone(&config.load());
                // gRPC is HTTP/2, which etcd speaks only to clients that offer it.
                config.alpn_protocols = vec![b"h2".to_vec()];
                let connector = TlsConnector::from(Arc::new(config));
                let stream = connector.connect(name.clone(), stream).await.map_err(io_fault)?;
                speak(TokioIo::new(stream), &ended, &broken).await
            }
        };
        let sender = sender.map_err(|error| unreachable(reason_of(&error)))?;
        let uri = Uri::try_from(&endpoint.url).map_err(|error| unreachable(error.to_string()))?;
        Ok(Self { url: endpoint.url.clone(), uri, sender, token: RwLock::new(None), broken, _task: ended.drop_guard() })
    }

    /// The member's URL.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Sends `token` with each request from now on.
    pub(super) fn set_token(&self, token: Option<HeaderValue>) {
        *self.token.write() = token;
    }

    /// Returns the token that is sent.
    pub(super) fn token(&self) -> Option<HeaderValue> {
        self.token.read().clone()
    }

    /// Gives the connection up, so that its callers look for a new one.
    pub(super) fn give_up(&self) {
        self.broken.cancel();
    }

    /// Waits until the connection is broken or given up.
    pub(super) async fn until_broken(&self) {
        self.broken.cancelled().await;
    }

    /// Sends one request and receives one answer, before `until`.
    pub(super) async fn call<C: Call>(&self, request: &C::Request, until: Instant) -> Result<C::Answer, Fault> {
        self.call_with::<C>(self.token(), request, until).await
    }

    /// Like [`Channel::call`], without the token. Concurrent calls are sent with their token.
    pub(super) async fn call_without_token<C: Call>(
        &self,
        request: &C::Request,
        until: Instant,
    ) -> Result<C::Answer, Fault> {
        self.call_with::<C>(None, request, until).await
    }

    async fn call_with<C: Call>(
        &self,
        token: Option<HeaderValue>,
        request: &C::Request,
        until: Instant,
    ) -> Result<C::Answer, Fault> {
        let call = async {
            let mut answers: Answers<C> = self.send(token, Outgoing::one(framed(request))).await?;
            let answer = answers.next().await?;
            let malformed = |reason: &str| Fault::Malformed { endpoint: self.url.clone(), reason: reason.to_owned() };
            let answer = answer.ok_or_else(|| malformed("no message"))?;
            // The status follows the message, and decides.
            match answers.next().await? {
                None => Ok(answer),
                Some(_) => Err(malformed("a second message")),
            }
        };
        let late = |_late| Err(Fault::Silent { endpoint: self.url.clone() });
        timeout_at(until, Box::pin(call)).await.unwrap_or_else(late)
    }

    /// Opens a bidirectional stream, with its first request.
    pub(super) async fn stream<C: Call>(
        &self,
        first: &C::Request,
        until: Instant,
    ) -> Result<(Requests<C>, Answers<C>), Fault> {
        let (sender, receiver) = mpsc::channel(WAITING_MESSAGES_MAX);
        let sending = Box::pin(self.send(self.token(), Outgoing::many(framed(first), receiver)));
        let late = |_late| Err(Fault::Silent { endpoint: self.url.clone() });
        let answers = timeout_at(until, sending).await.unwrap_or_else(late)?;
        Ok((Requests { sender, call: PhantomData }, answers))
    }

    async fn send<C: Call>(&self, token: Option<HeaderValue>, body: Outgoing) -> Result<Answers<C>, Fault> {
        let request = self.request(C::PATH, token, body)?;
        let unreachable =
            |error: hyper::Error| Fault::Unreachable { endpoint: self.url.clone(), reason: reason_of(&error) };
        let answer = self.sender.clone().send_request(request).await.map_err(unreachable)?;
        Answers::new(self.url.clone(), answer)
    }

    fn request(
        &self,
        path: &'static str,
        token: Option<HeaderValue>,
        body: Outgoing,
    ) -> Result<Request<Outgoing>, Fault> {
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static(path));
        let unusable = |reason: String| Fault::Unreachable { endpoint: self.url.clone(), reason };
        let uri = Uri::from_parts(parts).map_err(|error| unusable(error.to_string()))?;
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        // With the header, a member without a leader answers so at once, and ends streams, in place of a wait for a
        // leader.
        headers.insert(HeaderName::from_static("hasleader"), HeaderValue::from_static("true"));
        if let Some(token) = token {
            headers.insert(HeaderName::from_static("token"), token);
        }
        Ok(request)
    }
}

/// Begins HTTP/2 on a stream. The task of the connection runs until `ended`, and cancels `broken` at its own end.
async fn speak<I>(
    io: TokioIo<I>,
    ended: &CancellationToken,
    broken: &CancellationToken,
) -> Result<http2::SendRequest<Outgoing>, hyper::Error>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIME_MAX)
        .handshake(io)
        .await?;
    let (ended, broken) = (ended.clone(), broken.clone());
    tokio::spawn(async move {
        tokio::select! {
            outcome = connection => {
                if let Err(error) = outcome {
                    tracing::debug!(error = %reason_of(&error), "a connection to etcd broke");
                }
            }
            () = ended.cancelled() => {}
        }
        broken.cancel();
    });
    Ok(sender)
}

/// Formats an error with its causes: the text of hyper's error alone is not enough.
fn reason_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The requests of a stream. Dropping the value ends the stream.
pub(super) struct Requests<C> {
    sender: mpsc::Sender<bytes::Bytes>,
    call: PhantomData<fn(C)>,
}

impl<C: Call> Requests<C> {
    /// Sends a further request, unless the queue is full.
    pub(super) fn send(&self, request: &C::Request) {
        // Queued requests do the same, and the end of the stream shows in its answers.
        drop(self.sender.try_send(framed(request)));
    }
}

/// The answers of a call.
pub(super) struct Answers<C> {
    url: String,
    body: Incoming,
    frames: Frames,
    /// Set once the status has arrived; an end without a status is an error.
    is_done: bool,
    call: PhantomData<fn() -> C>,
}

impl<C: Call> Answers<C> {
    fn new(url: String, answer: Response<Incoming>) -> Result<Self, Fault> {
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::OK {
            let reason = format!("HTTP status {}", head.status);
            return Err(Fault::Malformed { endpoint: url, reason });
        }
        // A call refused at once has its status in the head.
        let is_done = head.headers.contains_key(STATUS);
        if is_done {
            check(&url, &head.headers)?;
        }
        Ok(Self { url, body, frames: Frames::default(), is_done, call: PhantomData })
    }

    /// Returns the next answer; `None` at a good end. Cancel-safe: no answer is lost.
    pub(super) async fn next(&mut self) -> Result<Option<C::Answer>, Fault> {
        loop {
            let message = self.frames.next().map_err(|error| Fault::of_frame(&self.url, error))?;
            if message.is_some() {
                return Ok(message);
            }
            let unreachable = |reason| Fault::Unreachable { endpoint: self.url.clone(), reason };
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.frames.push(&data),
                    Err(frame) => {
                        if let Some(trailers) = frame.trailers_ref() {
                            check(&self.url, trailers)?;
                            self.is_done = true;
                        }
                    }
                },
                Some(Err(error)) => return Err(unreachable(reason_of(&error))),
                None if self.is_done && self.frames.is_empty() => return Ok(None),
                None => return Err(unreachable("the answer was cut off".to_owned())),
            }
        }
    }
}

/// The field with gRPC's code.
const STATUS: &str = "grpc-status";
/// The header of the status text, percent-encoded.
const STATUS_MESSAGE: &str = "grpc-message";

/// Checks the final status of a call.
fn check(url: &str, headers: &HeaderMap) -> Result<(), Fault> {
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let code = text(STATUS).and_then(|code| code.parse::<u16>().ok());
    let Some(code) = code else {
        return Err(Fault::Malformed { endpoint: url.to_owned(), reason: "no gRPC status".to_owned() });
    };
    if code == 0 {
        return Ok(());
    }
    let message = text(STATUS_MESSAGE).unwrap_or_default();
    let message: String =
        percent_decode_str(&message).decode_utf8_lossy().chars().take(MESSAGE_CHARACTERS_MAX).collect();
    Err(Fault::of_status(url, code, &message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(fields: &[(&'static str, &str)]) -> Result<(), Fault> {
        let fields =
            fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
        check("http://a", &fields.collect())
    }

    #[test]
    fn a_status_is_a_type_of_its_own() {
        assert!(status(&[("grpc-status", "0")]).is_ok());
        let fault = |code, message| status(&[("grpc-status", code), ("grpc-message", message)]).unwrap_err();
        assert!(matches!(fault("16", "etcdserver: invalid auth token"), Fault::ExpiredToken));
        assert!(matches!(fault("14", "etcdserver: no leader"), Fault::NoLeader { .. }));
        assert!(matches!(fault("8", "etcdserver: mvcc: database space exceeded"), Fault::NoSpace));
        assert!(matches!(fault("3", "etcdserver: request is too large"), Fault::TooLarge));
        let other = fault("14", "etcdserver: request%20timed out");
        assert!(
            matches!(&other, Fault::Status { message, .. } if message == "etcdserver: request timed out"),
            "{other}"
        );
    }

    #[test]
    fn what_has_no_status_is_no_answer() {
        assert!(matches!(status(&[]), Err(Fault::Malformed { .. })));
        assert!(matches!(status(&[("grpc-status", "many")]), Err(Fault::Malformed { .. })));
    }
}
