//! One request for both engines, and one response type.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use devanture_http::{
    Answer, AnswerBody, AnswerHead, BodyError, Fields, Lines, Outcome as _, RequestHead, Service as _,
};
use devanture_serve::handler::{Counted, EngineService, Handler};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body::Body;
use http_body_util::{BodyExt as _, Empty};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Request without a body, by default over HTTP/2.
#[derive(Debug, Clone)]
pub(crate) struct TestRequest<'a> {
    method: Method,
    authority: &'a str,
    target: &'a str,
    fields: Vec<(&'a str, &'a str)>,
    covered: bool,
    version: Version,
}

impl<'a> TestRequest<'a> {
    /// GET request.
    pub(crate) fn new(authority: &'a str, target: &'a str) -> Self {
        let fields = vec![("user-agent", "test")];
        Self { method: Method::GET, authority, target, fields, covered: true, version: Version::HTTP_2 }
    }

    pub(crate) fn with(mut self, name: &'a str, value: &'a str) -> Self {
        self.fields.push((name, value));
        self
    }

    pub(crate) fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    pub(crate) fn over(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// Marks the connection's certificate as another host's.
    pub(crate) fn misdirected(self) -> Self {
        Self { covered: false, ..self }
    }
}

/// Response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) fields: BTreeSet<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Calls the handler like the HTTP library; the body of a response to HEAD stays unread, as in the library.
pub(crate) async fn by_handle(handler: &Handler, request: &TestRequest<'_>) -> Got {
    let (is_head, covered) = (request.method == Method::HEAD, request.covered);
    let response = handler.handle(built(request, Empty::<Bytes>::new()), PEER, None, |_| covered).await;
    let (parts, body) = response.into_parts();
    let body = if is_head { Vec::new() } else { read(Box::pin(body)).await };
    Got { status: parts.status, fields: of_map(&parts.headers), body }
}

/// Requests an immediate response.
pub(crate) fn ask(handler: &Rc<Handler>, request: &TestRequest<'_>) -> Option<Answer<Counted>> {
    ask_on(&lane(handler, request), request)
}

/// Requests an immediate response on a connection with or without earlier requests.
pub(crate) fn ask_on(lane: &EngineService, request: &TestRequest<'_>) -> Option<Answer<Counted>> {
    let mut lines = Lines::default();
    for (name, value) in &request.fields {
        lines.push(name.as_bytes(), value.as_bytes());
    }
    let (path, query) = match request.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (request.target, None),
    };
    let head = RequestHead {
        version: request.version,
        method: &request.method,
        scheme: Some("https"),
        authority: Some(request.authority),
        path,
        query,
        fields: Fields::Lines(&lines),
    };
    lane.answer(&head, Instant::now(), |answer| answer).now()
}

/// Requests an immediate response and reads the whole response like the engine.
pub(crate) async fn by_lane(handler: &Rc<Handler>, request: &TestRequest<'_>) -> Option<Got> {
    by_lane_on(&lane(handler, request), request).await
}

/// Requests and reads an immediate response on a connection with or without earlier requests.
pub(crate) async fn by_lane_on(lane: &EngineService, request: &TestRequest<'_>) -> Option<Got> {
    let Answer { status, head, body, mut outcome } = ask_on(lane, request)?;
    let fields = match head {
        AnswerHead::Map(map) => of_map(&map),
        AnswerHead::Prepared(head, more) => {
            let more = more.iter().flatten().flat_map(|field| field.line());
            of_lines(&head.lines().concat().iter().chain(more).copied().collect::<Vec<u8>>())
        }
    };
    let body = match body {
        AnswerBody::Bytes(bytes) => bytes.to_vec(),
        AnswerBody::Stream(body) => read(body).await,
    };
    outcome.sent(body.len());
    outcome.complete(Instant::now());
    Some(Got { status, fields, body })
}

/// Requests a deferred response.
pub(crate) async fn begun(handler: &Rc<Handler>, request: &TestRequest<'_>) -> Got {
    let (parts, body) = handler.handle(built(request, Empty::<Bytes>::new()), PEER, None, |_| true).await.into_parts();
    Got { status: parts.status, fields: of_map(&parts.headers), body: read(Box::pin(body)).await }
}

/// Connection.
pub(crate) fn lane(handler: &Rc<Handler>, request: &TestRequest<'_>) -> EngineService {
    let covered = request.covered;
    EngineService::new(Rc::clone(handler), PEER, move |_| covered)
}

fn built<B>(request: &TestRequest<'_>, body: B) -> Request<B> {
    let target = match request.target {
        // With the library, `*` has no authority.
        "*" => "*".to_owned(),
        path => format!("https://{}{path}", request.authority),
    };
    let mut built = Request::builder().version(request.version).method(request.method.clone()).uri(target);
    if request.target == "*" {
        built = built.header("host", request.authority);
    }
    for (name, value) in &request.fields {
        built = built.header(*name, *value);
    }
    built.body(body).unwrap()
}

async fn read<E: Into<BodyError>>(body: Pin<Box<dyn Body<Data = Bytes, Error = E> + '_>>) -> Vec<u8> {
    let read = body.map_err(Into::into).collect().await;
    read.unwrap_or_else(|error: BodyError| panic!("{error}")).to_bytes().to_vec()
}

fn of_map(map: &HeaderMap) -> BTreeSet<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let fields: BTreeSet<_> = map.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect();
    assert_eq!(fields.len(), map.len());
    fields
}

fn of_lines(lines: &[u8]) -> BTreeSet<(String, String)> {
    let lines: Vec<&str> = std::str::from_utf8(lines).unwrap().split_terminator("\r\n").collect();
    let field = |line: &&str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap();
    let fields: BTreeSet<_> = lines.iter().map(field).collect();
    assert_eq!(fields.len(), lines.len());
    fields
}
