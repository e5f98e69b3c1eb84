//! Sites with a `devanture.toml`, and a backend whose requests and responses are known byte by byte.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use devanture_config::Manifest;
use devanture_config::api::{BeginDeploy, DeployOptions};
use devanture_config::site_toml::SiteFile;
use http::Request;
use http_body_util::{BodyExt as _, Collected};
use hyper::body::Body;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::support::{Files, RunningEdge, manifest};
use crate::wire::{HOST, PATIENCE, connect};

/// Manifest of files with the tables of a `devanture.toml`.
pub(crate) fn site(files: Files<'_>, toml: &str) -> Manifest {
    let site = SiteFile::parse("devanture.toml", toml).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let mut manifest = manifest(files);
    manifest.base = site.base;
    manifest.env = site.env;
    manifest
}

/// Pushes files with the tables of a `devanture.toml` to `prod`, as an admin.
pub(crate) async fn push(edge: &RunningEdge, app: &str, files: Files<'_>, toml: &str) {
    let options = DeployOptions { allow_warnings: true, ..DeployOptions::default() };
    let begin = BeginDeploy { manifest: site(files, toml), source: Default::default(), options };
    edge.try_push(app, "prod", begin, files).await.unwrap_or_else(|problem| panic!("{problem:#?}"));
}

/// Backend that gives every request the same response and records the requests.
pub(crate) struct Backend {
    pub(crate) port: u16,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Backend {
    /// Answers each request with the given bytes and closes the connection.
    pub(crate) async fn start(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::answering(move |_| answer.clone()).await
    }

    /// Answers each request with the result of `answer` for the head.
    pub(crate) async fn answering(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sent, answer) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::new(answer));
        let remembered = Arc::clone(&sent);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (sent, answer) = (Arc::clone(&remembered), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    while !is_whole(&bytes) {
                        let before = bytes.len();
                        if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                            return;
                        }
                        sent.lock().unwrap().extend_from_slice(&bytes[before..]);
                    }
                    drop(stream.write_all(&answer(&String::from_utf8_lossy(&bytes))).await);
                });
            }
        });
        Self { port, sent }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Requests since the last call, in lower case.
    pub(crate) fn take(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *self.sent.lock().unwrap())).to_ascii_lowercase()
    }
}

/// Returns true for a complete request.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) => body.len() >= length.parse().unwrap(),
        None if head.contains("transfer-encoding: chunked") => {
            (body.starts_with("0\r\n") || body.contains("\r\n0\r\n")) && body.ends_with("\r\n\r\n")
        }
        None => true,
    }
}

/// Sends a request to `shop` over HTTP/2; returns the status, and the body with the trailers.
pub(crate) async fn ask_http2<B>(edge: &RunningEdge, request: Request<B>) -> (u16, Collected<Bytes>)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let io = TokioIo::new(connect(edge, HOST, "h2").await);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driver = tokio::spawn(connection);
    let answered = async {
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        (head.status.as_u16(), body.collect().await.unwrap())
    };
    let answer = timeout(PATIENCE, answered).await.expect("an answer comes");
    driver.abort();
    answer
}

/// Lines of a request's head or trailers, as names and values in order.
pub(crate) fn fields(lines: &str) -> Vec<(&str, &str)> {
    lines.lines().filter_map(|line| line.split_once(": ")).collect()
}
