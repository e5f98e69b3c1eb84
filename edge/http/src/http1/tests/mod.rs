//! Requests without sockets: in any pieces, with any room, and to the end of their connection.

mod awaited;

use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, ETAG, HOST};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, StreamBody as Frames};
use hyper::body::Frame;
use proptest::prelude::*;

use super::*;
use crate::{
    Answer, AnswerBody, AnswerHead, Answering, BodyError, Inbound, Outcome, PreparedHead, RequestHead, Scratch,
    SharedField,
};

/// Answers only `/bytes/N`, `/stream/N`, `/chunks/N`, `/map`, `/not-modified`, `/short`, `/broken` and `/other/N/…`:
/// the last announces N bytes and sends the sum of the following parts, from memory if a `b` follows.
#[derive(Default)]
struct Site {
    /// Requests to the service, and the outcome of answers: bytes, and true if complete.
    requested: Rc<RefCell<Vec<String>>>,
    sent: Rc<RefCell<Vec<(usize, bool)>>>,
    /// Requests looked up since the last end of a batch.
    held: Rc<Cell<usize>>,
    /// Interim responses to send.
    interims: Rc<RefCell<Vec<Vec<u8>>>>,
}

/// Outcome of one answer.
struct Counted(Rc<RefCell<Vec<(usize, bool)>>>, usize);

impl Outcome for Counted {
    fn sent(&mut self, bytes: usize) {
        self.0.borrow_mut()[self.1].0 += bytes;
    }

    fn complete(&mut self, _now: Instant) {
        self.0.borrow_mut()[self.1].1 = true;
    }
}

fn numbered(count: usize) -> Bytes {
    (0..count).map(|index| b'a' + u8::try_from(index % 26).unwrap()).collect()
}

/// Returns a body of frames of up to 1,000 bytes, pending before each frame.
fn frames(bytes: Bytes, fails: bool) -> crate::StreamBody {
    let mut frames: Vec<Result<Frame<Bytes>, BodyError>> =
        bytes.chunks(1_000).map(|part| Ok(Frame::data(Bytes::copy_from_slice(part)))).collect();
    if fails {
        frames.push(Err("the disk is gone".into()));
    }
    let mut frames = frames.into_iter();
    let mut pauses = true;
    let stream = futures_util::stream::poll_fn(move |cx| {
        pauses = !pauses;
        if pauses {
            return Poll::Ready(frames.next());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    Box::pin(Frames::new(stream).boxed_unsync())
}

/// Returns the answer to `/other/`.
fn announced_and_body(lengths: &str) -> (AnswerHead, AnswerBody) {
    let mut parts = lengths.split('/');
    let head = prepared(parts.next().unwrap().parse().unwrap());
    let is_at_hand = lengths.ends_with('b');
    let parts: Vec<Bytes> = parts.filter(|part| *part != "b").map(|part| numbered(part.parse().unwrap())).collect();
    if is_at_hand {
        return (head, AnswerBody::Bytes(parts.concat().into()));
    }
    let frames = parts.into_iter().map(|part| Ok::<_, BodyError>(Frame::data(part)));
    (head, AnswerBody::Stream(Box::pin(Frames::new(futures_util::stream::iter(frames)))))
}

fn prepared(length: usize) -> AnswerHead {
    let length = length.to_string();
    let fields = [("content-length", length.as_bytes()), ("etag", &b"\"1\""[..])];
    let head = PreparedHead::new(fields, vec![SharedField::new("cache-control", b"no-cache").into()]);
    AnswerHead::Prepared(head.into(), [Some(SharedField::new("x-more", b"1").into()), None, None])
}

impl Site {
    /// Returns an answer in memory, if available.
    fn at_once<R>(&self, request: &RequestHead<'_>, put: impl FnOnce(Answer<Counted>) -> R) -> Option<R> {
        self.held.set(self.held.get() + 1);
        let host = String::from_utf8_lossy(request.fields.get(&HOST).unwrap_or_default()).into_owned();
        let query = request.query.unwrap_or("-");
        let path = request.path.strip_prefix('/').unwrap_or_default();
        let (kind, count) = path.split_once('/').unwrap_or((path, "0"));
        if kind == "other" {
            let (head, body) = announced_and_body(count);
            let mut sent = self.sent.borrow_mut();
            sent.push((0, false));
            let outcome = Counted(Rc::clone(&self.sent), sent.len() - 1);
            return Some(put(Answer { status: StatusCode::OK, head, body, outcome }));
        }
        let count: usize = count.parse().ok()?;
        let mut map = HeaderMap::new();
        map.insert(ETAG, "\"2\"".parse().unwrap());
        let (head, body) = match kind {
            "bytes" => (prepared(count), AnswerBody::Bytes(numbered(count))),
            "map" => (AnswerHead::Map(map.into()), AnswerBody::Bytes(numbered(count))),
            "empty" => (AnswerHead::Map(map.into()), AnswerBody::EMPTY),
            "stream" => (prepared(count), AnswerBody::Stream(frames(numbered(count), false))),
            "chunks" => (AnswerHead::Map(map.into()), AnswerBody::Stream(frames(numbered(count), false))),
            "short" => (prepared(count + 1), AnswerBody::Stream(frames(numbered(count), false))),
            "broken" => (prepared(count + 1), AnswerBody::Stream(frames(numbered(count), true))),
            "not-modified" => {
                map.insert(CONTENT_LENGTH, 5.into());
                (AnswerHead::Map(map.into()), AnswerBody::EMPTY)
            }
            _ => return None,
        };
        self.requested.borrow_mut().push(format!("{} {} {query} {host}", request.method, request.path));
        let status = if kind == "not-modified" { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        let mut sent = self.sent.borrow_mut();
        sent.push((0, false));
        Some(put(Answer { status, head, body, outcome: Counted(Rc::clone(&self.sent), sent.len() - 1) }))
    }
}

impl Service for Site {
    type Outcome = Counted;
    type Pending = ();

    fn answer<R>(
        &self,
        request: &RequestHead<'_>,
        _now: Instant,
        put: impl FnOnce(Answer<Counted>) -> R,
    ) -> Answered<R, ()> {
        self.at_once(request, put).into()
    }

    fn end_of_batch(&self) {
        self.held.set(0);
    }

    fn begin(&self, request: http::Request<Inbound>, _: Option<()>) -> Answering {
        self.requested.borrow_mut().push(format!("{} {} begun", request.method(), request.uri()));
        Box::pin(awaited::respond(request))
    }

    fn note_refusal(&self, _version: Version, status: StatusCode) {
        self.requested.borrow_mut().push(format!("refused {}", status.as_u16()));
    }

    fn interim(&self, _waker: &Waker) -> Option<Vec<u8>> {
        self.interims.borrow_mut().pop()
    }
}

/// Sink with limited room, as in one turn.
struct Room {
    put: Vec<u8>,
    left: usize,
}

impl Sink for Room {
    fn room(&self) -> usize {
        self.left
    }

    fn put(&mut self, bytes: &[u8]) {
        self.put.extend_from_slice(bytes);
        self.left = self.left.saturating_sub(bytes.len());
    }

    fn put_body(&mut self, bytes: Bytes) {
        self.put(&bytes);
    }
}

fn limits() -> Limits {
    Limits {
        streams: 1,
        header_bytes: 65_536,
        header_fields: 100,
        target_bytes: 8_000,
        stream_window: 65_535,
        connection_window: 65_535,
        requests: 1_000,
        resets_per_second: 1,
        control_frames_per_second: 1,
        response_bytes: 262_144,
        header: Duration::from_secs(15),
        write: Duration::from_secs(1),
        body: Duration::from_secs(1),
        linger: Duration::from_secs(2),
        linger_bytes: 1 << 24,
    }
}

/// Result of a connection.
struct Done {
    put: Vec<u8>,
    state: State,
    requests: u64,
    requested: Vec<String>,
    sent: Vec<(usize, bool)>,
}

impl Done {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.put).into_owned()
    }
}

/// Passes `pieces` to a connection with `rooms` in the first turns, and unlimited room later.
fn serve(limits: &Limits, pieces: &[&[u8]], rooms: &[usize]) -> Done {
    let site = Site::default();
    let (requested, sent, held) = (Rc::clone(&site.requested), Rc::clone(&site.sent), Rc::clone(&site.held));
    let mut connection = Connection::new(Rc::new(limits.clone()), site);
    let (date, mut scratch) = (SharedField::new("date", b"Sun, 06 Nov 1994 08:49:37 GMT"), Scratch::default());
    let now = Instant::now();
    let cx = &mut Context::from_waker(Waker::noop());
    let mut put = Vec::new();
    let mut rooms = rooms.iter();
    let mut produce = |connection: &mut Connection<Site>, scratch: &mut Scratch| {
        // Bodies pause: a turn without output may be followed by a turn with output.
        let mut idle = 0;
        while idle < 4 {
            let room = rooms.next().copied().unwrap_or(1_000_000);
            let mut sink = Room { put: Vec::new(), left: room };
            let state = connection.produce(&mut sink, &mut Turn { now, date: &date, scratch }, cx);
            idle = match sink.put.is_empty() {
                // Without room no output is possible.
                true => idle + usize::from(room > 0),
                false => 0,
            };
            put.extend_from_slice(&sink.put);
            if state != State::Open {
                return Some(state);
            }
        }
        None
    };
    let mut ended = None;
    let mut pieces = pieces.iter();
    while ended.is_none()
        && let Some(piece) = pieces.next()
    {
        connection.receive(piece, &mut Turn { now, date: &date, scratch: &mut scratch });
        ended = produce(&mut connection, &mut scratch);
    }
    let state = ended.unwrap_or(State::Open);
    assert_eq!(held.get(), 0, "what was found out for requests is let go of");
    let (requested, sent) = (requested.take(), sent.borrow().clone());
    Done { put, state, requests: connection.requests(), requested, sent }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop.localhost\r\nAccept-Encoding: gzip, br\r\n\r\n")
}

#[test]
fn a_plain_request_is_answered_with_its_fields_the_date_and_its_body() {
    let done = serve(&limits(), &[get("/bytes/10?a=b").as_bytes()], &[]);
    assert_eq!(
        done.text(),
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\netag: \"1\"\r\ncache-control: no-cache\r\nx-more: 1\r\n\
         date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nabcdefghij"
    );
    assert_eq!(done.requested, ["GET /bytes/10 a=b shop.localhost"]);
    assert_eq!((done.state, done.requests, done.sent), (State::Open, 1, vec![(10, true)]));
}

#[test]
fn a_head_made_for_one_request_says_how_long_the_body_is() {
    for (path, end) in [
        ("/map/3", "date: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 3\r\n\r\nabc"),
        ("/empty", "date: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 0\r\n\r\n"),
        ("/chunks/3", "date: Sun, 06 Nov 1994 08:49:37 GMT\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        ("/chunks/0", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("/not-modified", "content-length: 5\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"),
    ] {
        let done = serve(&limits(), &[get(path).as_bytes()], &[]);
        assert!(done.text().ends_with(end), "{path}: {}", done.text());
        assert!(done.sent.iter().all(|(_, is_complete)| *is_complete), "{path}");
    }
}

#[test]
fn an_answer_to_head_has_no_body() {
    for path in ["/bytes/5", "/map/5", "/stream/5", "/chunks/5"] {
        let text = get(path).replace("GET", "HEAD");
        let done = serve(&limits(), &[text.as_bytes(), get("/bytes/1").as_bytes()], &[]);
        assert_eq!(done.text().matches("\r\n\r\nHTTP/1.1 200 OK\r\n").count(), 1, "{path}: {}", done.text());
        assert!(done.text().ends_with("\r\n\r\na"), "{path}: {}", done.text());
        assert_eq!(done.sent, [(0, true), (1, true)]);
    }
}

#[test]
fn a_body_that_is_shorter_than_announced_ends_the_connection() {
    for path in ["/short/1500", "/broken/1500"] {
        let done = serve(&limits(), &[(get(path) + &get("/bytes/1")).as_bytes()], &[]);
        assert_eq!((done.state, done.sent), (State::Broken, vec![(1500, false)]), "{path}");
    }
}

#[test]
fn a_body_of_another_length_than_announced_ends_the_connection() {
    for lengths in ["6600/2200/b", "6600/2200", "10/b", "10", "0/1/b", "0/1", "5/5/1", "5/5/1/b", "6/5/0"] {
        let done = serve(&limits(), &[(get(&format!("/other/{lengths}")) + &get("/bytes/1")).as_bytes()], &[]);
        assert_eq!((done.state, done.requests), (State::Broken, 1), "{lengths}");
        assert!(!done.sent[0].1, "{lengths}");
    }
}

#[test]
fn what_is_no_request_is_refused_and_ends_the_connection() {
    let many = format!("GET /bytes/1 HTTP/1.1\r\nhost: a\r\n{}\r\n", "x-more: 1\r\n".repeat(100));
    let large = format!("GET /bytes/1 HTTP/1.1\r\nhost: a\r\nx-large: {}\r\n\r\n", "1".repeat(65_600));
    let endless = format!("GET /bytes/1 HTTP/1.1\r\nhost: a\r\nx-large: {}", "1".repeat(80_000));
    let target = format!("GET /{}", "1".repeat(80_000));
    let long_target = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "1".repeat(65_534));
    let upload = |fields: &str| format!("POST /echo HTTP/1.1\r\nhost: a\r\n{fields}\r\n0\r\n\r\n");
    let coded = |coding: &str| upload(&format!("transfer-encoding: {coding}\r\n"));
    #[rustfmt::skip]
    let cases = [
        (400, upload("content-length: 3\r\ncontent-length: 4\r\n")),
        (400, upload("content-length: 3, 3\r\n")),
        (400, upload("content-length: +3\r\n")),
        (400, upload("transfer-encoding: chunked\r\ncontent-length: x\r\n")),
        (400, coded("chunked, chunked")),
        (400, coded("chunked\r\ntransfer-encoding: chunked")),
        (501, coded("gzip, chunked")),
        (400, coded("xchunked")),
        (400, coded("")),
        (400, coded("chunked").replace("HTTP/1.1", "HTTP/1.0")),
        (400, "GET /bytes/1 HTTP/1.1\r\nhost: a\r\nbad name: 1\r\n\r\n".to_owned()),
        (400, "GET /bytes/1 HTTP/1.1\r\nhost: a\r\nfolded: 1\r\n 2\r\n\r\n".to_owned()),
        (400, "GET bytes/1/ HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        (400, "GET /bytes/1 HTTP/2.0\r\n".to_owned()),
        (400, "\u{1}\u{2}\u{3}".to_owned()),
        (431, many), (431, large), (431, endless), (414, target), (414, long_target),
    ];
    for (status, text) in cases {
        let whole = get("/bytes/7") + &get("/map/2") + &text + &get("/bytes/1");
        for pieces in [vec![whole.as_bytes()], whole.as_bytes().chunks(1_000).collect()] {
            let done = serve(&limits(), &pieces, &[]);
            assert_eq!((done.state, done.requests), (State::Over, 3), "{text:?}");
            assert_eq!(done.sent, [(7, true), (2, true)], "{text:?}");
            assert_eq!(done.requested.last().unwrap(), &format!("refused {status}"), "{text:?}");
            let put = String::from_utf8_lossy(&done.put);
            let (_, refusal) = put.rsplit_once("\r\n\r\nab").unwrap();
            assert!(refusal.starts_with(&format!("HTTP/1.1 {status} ")), "{text:?}: {refusal}");
            assert!(refusal.contains("\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"), "{text:?}: {refusal}");
        }
    }
}

#[test]
fn the_preface_of_http_2_is_not_answered() {
    let done = serve(&limits(), &[get("/bytes/1").as_bytes(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], &[]);
    assert_eq!((&done.state, done.requests), (&State::Over, 1));
    assert!(done.text().ends_with("\r\n\r\na"));
}

#[test]
fn requests_of_any_form_are_answered_and_the_next_one_is_too() {
    let many = format!("GET /bytes/1 HTTP/1.1\r\nhost: a\r\n{}\r\n", "x-more: 1\r\n".repeat(99));
    let large = format!("GET /bytes/1 HTTP/1.1\r\nhost: a\r\nx-large: {}\r\n\r\n", "1".repeat(65_000));
    #[rustfmt::skip]
    let requests = [
        "BREW /bytes/1 HTTP/1.1\r\nhost: a\r\n\r\n",
        "\r\n\n\r\nGET /bytes/1 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /bytes/1 HTTP/1.1\nhost: a\n\n",
        "GET /bytes/1 HTTP/1.1\r\nhost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
        "GET /bytes/1 HTTP/1.1\r\nhost: a\r\nconnection: closed\r\n\r\n",
        "GET /bytes/1 HTTP/1.1\r\nhost: a\r\nexpect: 200-ok\r\n\r\n",
        "GET /bytes/1 HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n",
        "GET /bytes/1 HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        "GET /bytes/1 HTTP/1.1\r\nhost: a/b\r\n\r\n",
        "GET /bytes/1 HTTP/1.1\r\n\r\n",
        "GET /bytes/1#there HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET https://a/bytes/1 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /bytes/1?{1} HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /bytes/1 HTTP/1.0\r\nhost: a\r\nconnection: x, Keep-Alive\r\n\r\n",
        many.as_str(), large.as_str(),
    ];
    for request in requests {
        let whole = request.to_owned() + &get("/bytes/2");
        for pieces in [vec![whole.as_bytes()], whole.as_bytes().chunks(1).collect()] {
            let done = serve(&limits(), &pieces, &[]);
            assert_eq!((done.state, done.requests), (State::Open, 2), "{request:?}");
            assert_eq!(done.sent, [(1, true), (2, true)], "{request:?}");
        }
    }
}

#[test]
fn a_request_that_is_the_last_learns_it() {
    let body = "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    #[rustfmt::skip]
    let requests = [
        "GET /bytes/1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_owned(),
        "GET /later HTTP/1.1\r\nhost: a\r\nConnection: x, Close\r\nconnection: keep-alive\r\n\r\n".to_owned(),
        "GET /bytes/1 HTTP/1.0\r\nhost: a\r\n\r\n".to_owned(),
        format!("POST /echo HTTP/1.1\r\nhost: a\r\n{body}"),
    ];
    for request in requests {
        let done = serve(&limits(), &[(request.clone() + &get("/bytes/2")).as_bytes()], &[]);
        assert_eq!((&done.state, done.requests), (&State::Over, 1), "{request:?}");
        assert_eq!(done.text().matches("\r\nconnection: close\r\n").count(), 1, "{request:?}");
    }
}

#[test]
fn a_body_of_unknown_length_ends_with_the_connection_of_a_client_that_knows_no_chunks() {
    let keep_alive = "connection: keep-alive\r\n";
    for (path, is_last) in [("/chunks/2500", true), ("/stream/2500", false), ("/bytes/2500", false)] {
        let text = format!("GET {path} HTTP/1.0\r\nhost: a\r\n{keep_alive}\r\n");
        let done = serve(&limits(), &[text.as_bytes()], &[100, 7]);
        let put = done.text();
        let (head, body) = put.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n") && !head.contains("chunked"), "{head}");
        assert_eq!(body.as_bytes(), numbered(2_500), "{path}");
        assert_eq!((done.state == State::Over, head.contains("connection: close")), (is_last, is_last), "{path}");
        assert_eq!(format!("{head}\r\n").contains(keep_alive), !is_last, "{path}");
    }
}

#[test]
fn the_last_request_that_is_allowed_learns_it() {
    let limits = Limits { requests: 3, ..limits() };
    let done = serve(&limits, &[get("/bytes/1").repeat(4).as_bytes()], &[]);
    assert_eq!((&done.state, done.requests), (&State::Over, 3));
    let (before, last) = done.text().rsplit_once("HTTP/1.1").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(!before.contains("connection") && last.contains("\r\nconnection: close\r\n"));
}

#[test]
fn when_it_drains_the_next_request_is_the_last() {
    for has_begun in [0, 20] {
        let mut connection = Connection::new(Rc::new(limits()), Site::default());
        let (date, mut scratch) = (SharedField::new("date", b"now"), Scratch::default());
        let mut turn = Turn { now: Instant::now(), date: &date, scratch: &mut scratch };
        let cx = &mut Context::from_waker(Waker::noop());
        let mut sink = Room { put: Vec::new(), left: 1_000 };
        let (request, next) = (get("/bytes/1"), get("/bytes/2"));
        let (first, rest) = request.split_at(has_begun);
        connection.receive(first.as_bytes(), &mut turn);
        connection.drain();
        assert_eq!(connection.produce(&mut sink, &mut turn, cx), State::Open);
        assert!(connection.is_idle() == (has_begun == 0) && connection.wants_input());
        connection.receive((rest.to_owned() + &next).as_bytes(), &mut turn);
        assert_eq!(connection.produce(&mut sink, &mut turn, cx), State::Over);
        assert!(String::from_utf8_lossy(&sink.put).contains("\r\nconnection: close\r\n"));
        assert_eq!(connection.requests(), 1);
    }
}

#[test]
fn a_connection_that_rests_holds_no_bytes() {
    let mut connection = Connection::new(Rc::new(limits()), Site::default());
    let (date, mut scratch) = (SharedField::new("date", b"now"), Scratch::default());
    let mut turn = Turn { now: Instant::now(), date: &date, scratch: &mut scratch };
    let cx = &mut Context::from_waker(Waker::noop());
    for piece in
        [get("/bytes/1").repeat(3).as_bytes(), &get("/bytes/1").as_bytes()[..30], &get("/bytes/1").as_bytes()[30..]]
    {
        connection.receive(piece, &mut turn);
        let mut sink = Room { put: Vec::new(), left: 10_000 };
        assert_eq!(connection.produce(&mut sink, &mut turn, cx), State::Open);
        assert!(connection.wants_input());
    }
    assert_eq!((connection.requests(), connection.unread.capacity()), (4, 0));
}

proptest! {
    #[test]
    fn in_any_pieces_and_with_any_room_the_same_bytes_are_put(
        paths in prop::collection::vec(prop_oneof![
            (0..5_000_usize).prop_map(|count| format!("/bytes/{count}")),
            (0..5_000_usize).prop_map(|count| format!("/stream/{count}")),
            (0..50_usize).prop_map(|count| format!("/map/{count}")),
            Just("/not-modified".to_owned()),
        ], 1..8),
        last in prop::option::of(Just("GET /bytes/1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")),
        cuts in prop::collection::vec(1..200_usize, 0..40),
        rooms in prop::collection::vec(prop_oneof![0..3_usize, 1..2_000_usize], 0..40),
    ) {
        let whole = paths.iter().map(|path| get(path)).collect::<String>() + last.unwrap_or_default();
        let expected = serve(&limits(), &[whole.as_bytes()], &[]);
        let (mut pieces, mut rest) = (Vec::new(), whole.as_bytes());
        for cut in cuts {
            let (piece, others) = rest.split_at(cut.min(rest.len()));
            pieces.extend((!piece.is_empty()).then_some(piece));
            rest = others;
        }
        pieces.push(rest);
        let done = serve(&limits(), &pieces, &rooms);
        prop_assert!(done.put == expected.put);
        prop_assert_eq!(&done.requested, &expected.requested);
        prop_assert_eq!(&done.sent, &expected.sent);
        prop_assert_eq!(done.requests, u64::try_from(paths.len() + usize::from(last.is_some())).unwrap());
        prop_assert_eq!(&done.state, &expected.state);
        prop_assert_eq!(done.state, if last.is_some() { State::Over } else { State::Open });
    }

    /// The next answer begins after the announced bytes, or does not exist.
    #[test]
    fn a_body_has_the_announced_length_or_the_connection_ends(
        announced in 0..60_usize,
        parts in prop::collection::vec(0..30_usize, 0..4),
        is_exact: bool,
        is_at_hand: bool,
        rooms in prop::collection::vec(0..50_usize, 0..20),
    ) {
        let total: usize = parts.iter().sum();
        let announced = if is_exact { total } else { announced };
        let lengths: String = parts.iter().map(|part| format!("/{part}")).collect();
        let path = format!("/other/{announced}{lengths}{}", if is_at_hand { "/b" } else { "" });
        let done = serve(&limits(), &[(get(&path) + &get("/map/3")).as_bytes()], &rooms);
        let text = done.text();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if total == announced {
            prop_assert_eq!((done.state, done.sent), (State::Open, vec![(total, true), (3, true)]));
            prop_assert!(body[announced..].starts_with("HTTP/1.1 200 OK\r\n"), "{}", text);
        } else {
            prop_assert_eq!((done.state, done.requests, done.sent[0].1), (State::Broken, 1, false));
            prop_assert!(body.len() <= announced, "{}", text);
        }
    }
}
