//! Client of podman's service: HTTP over a Unix socket, one connection per request.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Either, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::error::Error;

/// API version of podman 4.
const API: &str = "/v4.0.0/libpod";
/// Maximum length of an answer in bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Maximum length of an error message in characters.
const REASON_CHARACTERS_MAX: usize = 400;
/// Time limit of a request that moves no image and does not wait.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Time limit of a list of containers, for which podman waits for each container. An edge begins to serve after a list.
const LIST_TIME_MAX: Duration = Duration::from_secs(10);

/// Body of a request.
type Body = Either<Full<Bytes>, StreamBody<BodyStream>>;
/// Bytes sent as a stream.
pub(super) type BodyStream = futures_util::stream::BoxStream<'static, io::Result<Frame<Bytes>>>;

/// Request to the service.
pub(super) struct Ask {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Body,
    time_max: Option<Duration>,
}

impl Ask {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        let body = Either::Left(Full::default());
        Self { method, path: path.into(), headers: Vec::new(), body, time_max: Some(ANSWER_TIME_MAX) }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    pub(super) fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn json(mut self, value: &Value) -> Self {
        self.body = Either::Left(Full::from(value.to_string()));
        self.header("content-type", "application/json".to_owned())
    }

    pub(super) fn stream(mut self, stream: BodyStream) -> Self {
        self.body = Either::Right(StreamBody::new(stream));
        self
    }

    /// Returns the time limit.
    pub(super) const fn time_max(&self) -> Option<Duration> {
        self.time_max
    }

    /// Creates a request for a list of containers.
    pub(super) fn list_containers(filters: &Value) -> Self {
        let path = format!("/containers/json?all=true&filters={}", encoded(&filters.to_string()));
        Self { time_max: Some(LIST_TIME_MAX), ..Self::get(path) }
    }

    /// Removes the time limit: the caller has a separate limit.
    pub(super) fn unlimited(mut self) -> Self {
        self.time_max = None;
        self
    }
}

/// Answer of the service.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) bytes: Bytes,
}

impl Answered {
    pub(super) fn value(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    /// Returns the answer if the service succeeded.
    pub(super) fn done(self, what: &'static str) -> Result<Self, Error> {
        match self.status.is_success() {
            true => Ok(self),
            false => Err(Error::Refused { what, why: self.reason() }),
        }
    }

    fn reason(&self) -> String {
        let value = self.value();
        let text = value.get("message").and_then(Value::as_str).map(str::to_owned);
        shortened(&text.unwrap_or_else(|| format!("it answered {}", self.status.as_u16())))
    }
}

/// Converts a message of the service to a single short line.
pub(super) fn shortened(text: &str) -> String {
    let plain = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(REASON_CHARACTERS_MAX).collect()
}

/// Client of podman's service.
#[derive(Debug, Clone)]
pub struct Podman {
    socket: PathBuf,
}

impl Podman {
    /// Creates a client for the socket; no connection is made yet.
    #[must_use]
    pub fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Returns the path of the socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn unreachable(&self, error: &impl ToString) -> Error {
        Error::Unreachable { socket: self.socket.display().to_string(), why: error.to_string() }
    }

    /// Sends a request, and returns the whole answer with any status.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Answered, Error> {
        self.in_time(ask.time_max, async {
            let answer = self.send(ask).await?;
            self.read(answer).await
        })
        .await
    }

    /// Returns the result of `asked` within the time limit.
    pub(super) async fn in_time<T>(
        &self,
        time_max: Option<Duration>,
        asked: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        // Boxed: several requests follow in the same future.
        let asked = Box::pin(asked);
        let Some(time_max) = time_max else { return asked.await };
        let slow = |_elapsed| self.unreachable(&"it gave no answer in time");
        tokio::time::timeout(time_max, asked).await.map_err(slow)?
    }

    /// Requests a connection upgrade.
    pub(super) async fn upgrade(&self, ask: Ask, what: &'static str) -> Result<TokioIo<Upgraded>, Error> {
        let ask = ask.header("connection", "Upgrade".to_owned()).header("upgrade", "tcp".to_owned());
        let answer = self.send(ask).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::Refused { what, why: self.read(answer).await?.reason() });
        }
        let upgraded = hyper::upgrade::on(answer).await.map_err(|error| self.unreachable(&error))?;
        Ok(TokioIo::new(upgraded))
    }

    pub(super) async fn read(&self, answer: http::Response<Incoming>) -> Result<Answered, Error> {
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| self.unreachable(&error))?.to_bytes();
        Ok(Answered { status, bytes })
    }

    pub(super) async fn send(&self, ask: Ask) -> Result<http::Response<Incoming>, Error> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let handshake = http1::handshake::<_, Body>(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.unreachable(&error))?;
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::builder().method(ask.method).uri(format!("{API}{}", ask.path));
        request = request.header("host", "podman");
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        let request = request.body(ask.body).map_err(|error| self.unreachable(&error))?;
        sender.send_request(request).await.map_err(|error| self.unreachable(&error))
    }

    /// Removes a container and kills its processes; a missing container counts as removed.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unreachable`].
    pub async fn remove_container(&self, name: &str) -> Result<(), Error> {
        let path = format!("/containers/{}?force=true&timeout=0&v=true", encoded(name));
        let answered = self.ask(Ask::delete(path)).await?;
        if answered.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        answered.done("remove a container").map(drop)
    }

    /// Removes all containers of an edge, left by an earlier run.
    ///
    /// # Errors
    /// Errors of [`Self::remove_container`]; the first error, after all removals were tried.
    pub async fn remove_containers_of(&self, edge_id: &str) -> Result<usize, Error> {
        let filters = serde_json::json!({ "label": [format!("{EDGE_LABEL}={edge_id}")] });
        let (mut count, mut failed) = (0, None);
        for id in self.container_ids(&filters).await? {
            match self.remove_container(&id).await {
                Ok(()) => count += 1,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(count), Err)
    }
}

/// Label of the containers of an edge.
pub(super) const EDGE_LABEL: &str = "devanture.edge";

/// Returns the path of a request about a container, such as `start`, with the query.
pub(super) fn container_path(name: &str, what: &str) -> String {
    format!("/containers/{}/{what}", encoded(name))
}

/// Encodes text as a part of a path or a query.
pub(super) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Checks that a server listens on the socket of the service.
///
/// # Errors
/// [`Error::Unreachable`].
pub fn check_socket(socket: &Path) -> Result<(), Error> {
    std::os::unix::net::UnixStream::connect(socket)
        .map(drop)
        .map_err(|error| Podman::at(socket.to_owned()).unreachable(&error))
}
