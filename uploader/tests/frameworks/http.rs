//! A client with cookies, bodies verified by hash, and the comparison of answers with the backend's own.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;

use crate::frameworks::HOST;
use crate::support::edge::Edge;

/// A visitor with a cookie jar by name.
pub(crate) struct Visitor<'a> {
    edge: &'a Edge,
    client: Client,
    pub(crate) cookies: BTreeMap<String, String>,
}

impl<'a> Visitor<'a> {
    pub(crate) fn new(edge: &'a Edge, http2: bool) -> Self {
        Self { edge, client: edge.client(http2), cookies: BTreeMap::new() }
    }

    /// The origin of the shop in a browser's form.
    pub(crate) fn origin(&self) -> String {
        self.edge.url(HOST, "")
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let request = self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), self.edge.url(HOST, path));
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if cookies.is_empty() { request } else { request.header("cookie", cookies.join("; ")) }
    }

    /// Sends a request and keeps the cookies of the answer.
    pub(crate) async fn send(&mut self, request: RequestBuilder) -> Response {
        let answer = request.send().await.unwrap();
        for set in answer.headers().get_all("set-cookie") {
            let (name, value) = set.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    pub(crate) async fn json(&mut self, path: &str) -> Value {
        let answer = self.send(self.request("GET", path)).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }
}

/// Header fields of a connection or of the moment, and fields added by the edge.
const NOT_COMPARED: [&str; 6] =
    ["connection", "keep-alive", "transfer-encoding", "date", "devanture-version", "x-request-id"];

/// Returns status, header fields and body of an answer, without fields that always differ.
async fn whole(answer: Response) -> (u16, Vec<(String, HeaderValue)>, Bytes) {
    let mut fields: Vec<_> = answer
        .headers()
        .iter()
        .filter(|(name, _)| !NOT_COMPARED.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.clone()))
        .collect();
    // Only the order of fields with the same name counts.
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    (answer.status().as_u16(), fields, answer.bytes().await.unwrap())
}

/// Attempts to compare an answer that changes from one moment to the next.
const TRIES_MAX: usize = 5;

/// Requests an answer from the backend itself, in the edge's form, and from the edge over both protocols: all answers
/// must be equal.
pub(crate) async fn is_the_backends_own(
    edge: &Edge,
    backend: SocketAddr,
    method: &str,
    path: &str,
    fields: &HeaderMap,
) -> (u16, HeaderMap, Bytes) {
    let host = format!("{HOST}:{}", edge.https().port());
    let visitors = [true, false].map(|http2| (http2, Visitor::new(edge, http2)));
    let direct = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let own = async || {
        let request = direct
            .request(Method::from_bytes(method.as_bytes()).unwrap(), format!("http://{backend}{path}"))
            .headers(fields.clone())
            .header("host", &host)
            .header("x-forwarded-host", &host)
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-for", "127.0.0.1");
        whole(request.send().await.unwrap()).await
    };
    let mut before = own().await;
    for (http2, visitor) in visitors {
        let mut tries = 0;
        let answer = loop {
            let answer = visitor.request(method, path).headers(fields.clone()).send().await.unwrap();
            let is_once = |name| answer.headers().get_all(name).iter().count() == 1;
            assert!(["date", "devanture-version", "x-request-id"].into_iter().all(is_once), "{answer:?}");
            let (answer, after) = (whole(answer).await, own().await);
            // The expiry of a cookie is a second of the clock, which may tick between the two.
            let is_settled = after == before;
            before = after;
            tries += 1;
            if is_settled || tries == TRIES_MAX {
                break answer;
            }
        };
        assert_eq!(answer, before, "{method} {path} over HTTP/{}", if http2 { 2 } else { 1 });
    }
    let own = before;
    let fields = own.1.iter().map(|(name, value)| (name.parse().unwrap(), value.clone())).collect();
    (own.0, fields, own.2)
}

/// Returns incompressible bytes, always the same, in chunks.
pub(crate) fn noise(length: u64) -> impl Iterator<Item = Bytes> {
    let mut source = blake3::Hasher::new().finalize_xof();
    let mut left = length;
    std::iter::from_fn(move || {
        let mut chunk = vec![0; usize::try_from(left.min(65_536)).unwrap()];
        source.fill(&mut chunk);
        left -= u64::try_from(chunk.len()).unwrap();
        (!chunk.is_empty()).then(|| chunk.into())
    })
}

/// Returns a form with `fields` and a file of noise, streamed: `Content-Type`, length, and body.
pub(crate) fn form(fields: &[(&str, &str)], length: u64) -> (String, u64, reqwest::Body) {
    let boundary = "between-the-parts";
    let mut head = String::new();
    for (name, value) in fields {
        head += &format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    head += &format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"sheet\"; filename=\"sheet.bin\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let whole = u64::try_from(head.len() + tail.len()).unwrap() + length;
    let parts = std::iter::once(Bytes::from(head)).chain(noise(length)).chain(std::iter::once(Bytes::from(tail)));
    (format!("multipart/form-data; boundary={boundary}"), whole, streamed(parts))
}

/// Returns a body generated while sent.
pub(crate) fn streamed(parts: impl Iterator<Item = Bytes> + Send + 'static) -> reqwest::Body {
    reqwest::Body::wrap_stream(futures_util::stream::iter(parts.map(Ok::<_, std::io::Error>)))
}

/// Returns the hash and the length of a body, without holding the body in memory.
pub(crate) async fn digest(answer: Response) -> (blake3::Hash, u64) {
    let mut hasher = blake3::Hasher::new();
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        hasher.update(&chunk.unwrap());
    }
    (hasher.finalize(), hasher.count())
}

/// Returns the [`digest`] of [`noise`].
pub(crate) fn digest_of_noise(length: u64) -> (blake3::Hash, u64) {
    let mut hasher = blake3::Hasher::new();
    for chunk in noise(length) {
        hasher.update(&chunk);
    }
    (hasher.finalize(), hasher.count())
}
