//! Raw requests over HTTP/1.1, HTTP/2 and HTTP/3 to the same edge, with one request type and one response type.

#![allow(dead_code, reason = "every file of tests uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devanture_http::UpgradeSender;
use futures_util::TryFutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http3_client::{self as http3, Client};
use crate::support::RunningEdge;

/// Longest wait for a response or for the end of a connection.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Host of most tests.
pub(crate) const HOST: &str = "shop.localhost";

/// Has a request that hyper read promise its stream to who answers it, as the engine does.
pub(crate) fn promise_upgrade(request: &mut Request<Incoming>) {
    let upgraded = hyper::upgrade::on(&mut *request);
    let promise = UpgradeSender::of(request);
    tokio::task::spawn_local(upgraded.map_ok(|stream| promise.send(TokioIo::new(stream))));
}

/// What a request is sent by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    Http3,
}

/// Those that an edge speaks: every case is sent by each.
pub(crate) fn protocols(edge: &RunningEdge) -> impl Iterator<Item = Protocol> + use<> {
    let tries_http3 = edge.file().listen.tries_http3();
    assert_eq!(edge.http3().is_some(), tries_http3, "HTTP/3 is served where it is to be");
    let http3 = tries_http3.then_some(Protocol::Http3);
    [Protocol::Http1, Protocol::Http2].into_iter().chain(http3)
}

/// Request without the target edge.
#[derive(Debug, Clone)]
pub(crate) struct RequestSpec<'a> {
    pub(crate) method: &'a str,
    /// Scheme for HTTP/2 and HTTP/3.
    pub(crate) scheme: &'a str,
    pub(crate) target: &'a str,
    /// Sent in `Host` or `:authority`, and without the port in the TLS handshake.
    pub(crate) host: &'a str,
    pub(crate) headers: Vec<(&'a str, String)>,
}

/// GET request for a test to adjust.
pub(crate) fn ask(target: &str) -> RequestSpec<'_> {
    RequestSpec { method: "GET", scheme: "https", target, host: HOST, headers: Vec::new() }
}

impl<'a> RequestSpec<'a> {
    pub(crate) const fn method(mut self, method: &'a str) -> Self {
        self.method = method;
        self
    }

    pub(crate) const fn scheme(mut self, scheme: &'a str) -> Self {
        self.scheme = scheme;
        self
    }

    pub(crate) const fn host(mut self, host: &'a str) -> Self {
        self.host = host;
        self
    }

    pub(crate) fn with(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds header lines of the form `Name: value`.
    pub(crate) fn with_lines(mut self, lines: &[&'a str]) -> Self {
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            self.headers.push((name, value.trim().to_owned()));
        }
        self
    }

    /// Sends the request on a new connection.
    pub(crate) async fn send(&self, edge: &RunningEdge, protocol: Protocol) -> Answer {
        let sent = async {
            match protocol {
                Protocol::Http1 => self.send_http1(edge).await,
                Protocol::Http2 => self.send_http2(edge).await,
                Protocol::Http3 => self.send_http3(edge).await,
            }
        };
        timeout(PATIENCE, sent).await.unwrap_or_else(|_| panic!("no answer by {protocol:?} to {self:?}"))
    }

    fn name(&self) -> &'a str {
        self.host.split_once(':').map_or(self.host, |(name, _)| name)
    }

    async fn send_http1(&self, edge: &RunningEdge) -> Answer {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.host).into_bytes();
        for (name, value) in &self.headers {
            head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        head.extend_from_slice(b"Connection: close\r\n\r\n");
        let mut stream = connect(edge, self.name(), "http/1.1").await;
        stream.write_all(&head).await.unwrap();
        let mut read = Vec::new();
        // Some servers end a TLS connection without a close_notify; only a complete response matters.
        drop(stream.read_to_end(&mut read).await);
        let (mut answer, rest) =
            Answer::parse(&read, self.method == "HEAD").unwrap_or_else(|| panic!("{self:?}: {read:?}"));
        assert!(rest.is_empty(), "{self:?}: {} bytes after the answer", rest.len());
        assert_eq!(answer.header("connection"), "close", "{self:?}");
        answer.headers.remove("connection");
        answer
    }

    async fn send_http2(&self, edge: &RunningEdge) -> Answer {
        let stream = connect(edge, self.name(), "h2").await;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        let response = sender.send_request(self.request().map(|()| Full::<Bytes>::default())).await;
        let response = response.unwrap_or_else(|error| panic!("{self:?}: {error:?}"));
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        driver.abort();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn send_http3(&self, edge: &RunningEdge) -> Answer {
        let mut client = Client::connect(edge, self.name()).await;
        let mut stream = client.begin(self.request()).await;
        // The response may arrive before the end of the request, and the edge then stops reading.
        drop(stream.finish().await);
        let answer = http3::answer(&mut stream).await.unwrap_or_else(|error| panic!("{self:?}: {error}"));
        client.close().await;
        answer
    }

    fn request(&self) -> Request<()> {
        let uri = Uri::builder().scheme(self.scheme).authority(self.host).path_and_query(self.target).build().unwrap();
        let mut request = Request::builder().method(self.method).uri(uri);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.body(()).unwrap()
    }
}

/// Fully read response.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// First response in bytes read from an HTTP/1.1 connection, and the remaining bytes; `None` if incomplete.
    pub(crate) fn parse(read: &[u8], of_head: bool) -> Option<(Self, &[u8])> {
        let end = read.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&read[..end]).expect("a head is ASCII");
        let mut rest = &read[end + 4..];
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap();
        let status: u16 = line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}"));
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        assert!(!headers.contains_key("transfer-encoding"), "the edge's own answers have a length: {head}");
        let has_body = !of_head && !matches!(status, 100..=199 | 204 | 304);
        let length: usize = match headers.get("content-length") {
            Some(length) if has_body => length.to_str().unwrap().parse().unwrap(),
            _ => 0,
        };
        let body = Bytes::copy_from_slice(rest.get(..length)?);
        rest = &rest[length..];
        Some((Self { status, headers, body }, rest))
    }

    /// Lines of a field, joined, or the empty string.
    pub(crate) fn header(&self, name: &str) -> String {
        let lines: Vec<&str> = self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        lines.join(", ")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Sorted names and values of all fields, without the date and the request id.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let mut fields: Vec<_> =
            self.headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
        fields.retain(|(name, _)| name != "date" && name != "x-request-id");
        fields.sort();
        fields
    }

    /// Sorted field names.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }
}

/// Connects to the visitors' address with the given host and protocol.
pub(crate) async fn connect(edge: &RunningEdge, host: &str, alpn: &str) -> TlsStream<TcpStream> {
    let pem = std::fs::read(edge.ca()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let tcp = TcpStream::connect(edge.https()).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}

/// Bytes read until the end of a connection or a silence of `rest`, and true if the connection ended.
pub(crate) async fn read_until_rest<S: AsyncRead + Unpin>(stream: &mut S, rest: Duration) -> (Vec<u8>, bool) {
    let mut read = Vec::new();
    loop {
        match timeout(rest, stream.read_buf(&mut read)).await {
            Err(_) => return (read, false),
            Ok(Ok(0) | Err(_)) => return (read, true),
            Ok(Ok(_)) => {}
        }
    }
}

/// Reads one whole response per entry of `of_head`, where true means a response without a body. Returns the remaining
/// bytes, too.
pub(crate) async fn read_answers<S: AsyncRead + Unpin>(stream: &mut S, of_head: &[bool]) -> (Vec<Answer>, Vec<u8>) {
    let mut read = Vec::new();
    let all = async {
        loop {
            let mut rest = read.as_slice();
            let mut answers = Vec::new();
            for &of_head in of_head {
                let Some((answer, after)) = Answer::parse(rest, of_head) else { break };
                answers.push(answer);
                rest = after;
            }
            if answers.len() == of_head.len() {
                let rest = rest.to_vec();
                return (answers, rest);
            }
            if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
                panic!("{} of {} answers: {:?}", answers.len(), of_head.len(), String::from_utf8_lossy(&read));
            }
        }
    };
    timeout(PATIENCE, all).await.expect("not all answers came")
}

/// Writes all bytes; ignores errors, since the peer may have closed already.
pub(crate) async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) {
    if stream.write_all(bytes).await.is_ok() {
        drop(stream.flush().await);
    }
}
