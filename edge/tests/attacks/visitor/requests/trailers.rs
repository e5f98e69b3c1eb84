//! Request trailers cannot bypass the edge's changes to the head.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::net::TcpListener;

use crate::attacks::world::{Backend, ask_http2, fields, push};
use crate::http3_client::{Client, answer};
use crate::support::{RunningEdge, edge};
use crate::wire::{HOST, Protocol, connect, protocols, read_answers, write};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// Fields that are valid in the head alone, where the edge inspects them.
const UNFIT: [&str; 29] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-type",
    "cookie",
    "devanture-version",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "max-forwards",
    "origin",
    "proxy-authorization",
    "range",
    "sec-fetch-site",
    "set-cookie",
    "traceparent",
    "true-client-ip",
    "via",
    "x-debug",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-http-method-override",
    "x-internal",
    "x-original-url",
    "x-real-ip",
    "x-request-id",
    "x_forwarded_for",
];
/// Fields of the application.
const FIT: [(&str, &str); 3] = [("content-digest", "sha-256=:aa==:"), ("grpc-status", "0"), ("x-checksum", "17")];

fn trailers() -> Vec<(&'static str, &'static str)> {
    UNFIT.iter().map(|name| (*name, "evil")).chain([("x-listed", "evil"), ("x_internal", "evil")]).chain(FIT).collect()
}

async fn routed(to: &str, more: &str) -> RunningEdge {
    let edge = edge().start().await;
    let toml = format!(
        "[upstreams.api]\nto = [\"{to}\"]\n{more}[[routes]]\npath = \"/api/*\"\nto = \"api\"\n\
         [routes.request_headers]\nremove = [\"x-debug\"]\nset = {{ x-internal = \"edge\" }}\n"
    );
    push(&edge, "shop", &[("index.html", b"home")], &toml).await;
    edge
}

async fn send(edge: &RunningEdge, by: Protocol) {
    match by {
        Protocol::Http1 => send_http1(edge).await,
        Protocol::Http2 => send_http2(edge).await,
        Protocol::Http3 => send_http3(edge).await,
    }
}

/// Sends a body and the trailers over HTTP/1.1.
async fn send_http1(edge: &RunningEdge) {
    let lines: String = trailers().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "POST /api/x HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\nConnection: te, x-listed\r\nX-Listed: evil\r\n\
         Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{lines}\r\n"
    );
    let mut stream = connect(edge, HOST, "http/1.1").await;
    write(&mut stream, request.as_bytes()).await;
    let (answers, _) = read_answers(&mut stream, &[false]).await;
    assert_eq!((answers[0].status, answers[0].text().as_str()), (200, "ok"));
}

/// Sends a body and the trailers that HTTP/2 can express.
async fn send_http2(edge: &RunningEdge) {
    let frames = [Frame::data(Bytes::from_static(b"abc")), Frame::trailers(trailer_map())].map(Ok::<_, Infallible>);
    let request = Request::post(format!("https://{HOST}/api/x")).header("te", "trailers");
    let (status, _) = ask_http2(edge, request.body(StreamBody::new(stream::iter(frames))).unwrap()).await;
    assert_eq!(status, 200);
}

/// Sends a body and the trailers over HTTP/3.
async fn send_http3(edge: &RunningEdge) {
    let mut client = Client::connect(edge, HOST).await;
    let request = Request::post(format!("https://{HOST}/api/x")).header("te", "trailers");
    let mut stream = client.begin(request.body(()).unwrap()).await;
    stream.send_data(Bytes::from_static(b"abc")).await.unwrap();
    stream.send_trailers(trailer_map()).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(answer(&mut stream).await.unwrap().status, 200);
    client.close().await;
}

fn trailer_map() -> HeaderMap {
    let field = |(name, value): (&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    trailers().into_iter().map(field).collect()
}

/// Fields that reached the backend. `x-listed` is an application field unless `Connection` lists the name, which HTTP/2
/// has not.
fn check<'f>(found: impl IntoIterator<Item = (&'f str, &'f str)>, by: Protocol) {
    let mut found: Vec<_> =
        found.into_iter().filter(|(name, _)| *name != "x-listed" || by == Protocol::Http1).collect();
    found.sort_unstable();
    assert_eq!(found, FIT, "{by:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_that_a_backend_could_take_for_its_head_do_not_reach_it() {
    let backend = Backend::start(OK).await;
    let edge = routed(&backend.url(), "").await;
    for by in protocols(&edge) {
        send(&edge, by).await;
        let sent = backend.take();
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.split_once("0\r\n").map(|(data, _)| data), Some("3\r\nabc\r\n"), "{sent}");
        check(fields(body.split_once("\r\n0\r\n").unwrap().1), by);
        let internal: Vec<_> = fields(head).into_iter().filter(|(name, _)| name.starts_with("x-internal")).collect();
        assert_eq!(internal, [("x-internal", "edge")]);
        assert!(!head.contains("evil"), "{head}");
    }
    edge.stop().await;

    let (port, seen) = http2_backend().await;
    let edge = routed(&format!("http://127.0.0.1:{port}"), "protocol = \"http2\"\n").await;
    for by in protocols(&edge) {
        send(&edge, by).await;
        let trailers = seen.lock().unwrap().pop().expect("trailers came");
        check(trailers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())), by);
    }
    edge.stop().await;
}

/// HTTP/2 backend that records the trailers of each request.
async fn http2_backend() -> (u16, Arc<Mutex<Vec<HeaderMap>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::<Mutex<Vec<HeaderMap>>>::default();
    let remembered = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&remembered);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let seen = Arc::clone(&seen);
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        while let Some(data) = body.data().await {
                            body.flow_control().release_capacity(data.unwrap().len()).unwrap();
                        }
                        let answer = Response::builder().header("content-length", "2").body(()).unwrap();
                        let trailers = body.trailers().await.unwrap();
                        seen.lock().unwrap().extend(trailers);
                        let mut out = respond.send_response(answer, false).unwrap();
                        out.send_data(Bytes::from_static(b"ok"), true).unwrap();
                    });
                }
            });
        }
    });
    (port, seen)
}

/// Many servers treat `_` like `-`: a name in the other spelling would be the field that the route removed or set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_a_route_removes_does_not_come_back_in_other_letters() {
    let backend = Backend::start(OK).await;
    let edge = routed(&backend.url(), "").await;
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    let lines = "X_Internal: evil\r\nX_Debug: evil\r\nX-Debug: evil\r\nX_Other: fine\r\n";
    write(&mut stream, format!("GET /api/x HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n").as_bytes()).await;
    let (answers, _) = read_answers(&mut stream, &[false]).await;
    assert_eq!(answers[0].status, 200);
    let sent = backend.take();
    assert!(!sent.contains("evil") && sent.contains("\r\nx_other: fine\r\n"), "{sent}");
    drop(stream);
    edge.stop().await;
}
