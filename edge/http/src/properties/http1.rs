//! Requests of HTTP/1.1: in whatever pieces they come, and whatever room there is, the answers are the same, and every
//! byte is of a request that is answered, or of none that is whole.

use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};

use super::chunks::{self, End};
use super::engine::http1::{Connection, State};
use super::engine::{Answer, Answered, Answering, Inbound, Limits, RequestHead, Scratch, Service, Turn, stream_body};
use super::site::{DATE, Pipe, Site, cut, reference};

/// Site that reads the whole body of each request: an early answer would end the connection depending on the split.
struct Patient;

impl Service for Patient {
    type Outcome = <Site as Service>::Outcome;
    type Pending = ();

    fn answer<R>(
        &self,
        request: &RequestHead<'_>,
        now: Instant,
        put: impl FnOnce(Answer<Self::Outcome>) -> R,
    ) -> Answered<R, ()> {
        Site.answer(request, now, put)
    }

    fn end_of_batch(&self) {}

    fn begin(&self, request: http::Request<Inbound>, _: Option<()>) -> Answering {
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let (mut body, mut sent) = (request.into_body(), Vec::new());
            let is_whole = loop {
                match body.frame().await {
                    Some(Ok(frame)) => sent.extend(frame.into_data().unwrap_or_default()),
                    Some(Err(_)) => break false,
                    None => break true,
                }
            };
            // The number of bytes read before an error depends on the split.
            let (status, text) =
                if is_whole { reference(&path, &sent) } else { (StatusCode::BAD_REQUEST, Bytes::new()) };
            let mut response = Response::new(stream_body(Full::new(text)));
            *response.status_mut() = status;
            response
        })
    }
}

/// The limits of a connection, which ends with so many requests.
fn limits() -> Limits {
    Limits {
        streams: 8,
        header_bytes: 4_000,
        header_fields: 20,
        target_bytes: 200,
        stream_window: 65_536,
        connection_window: 65_536,
        requests: 12,
        resets_per_second: 100,
        control_frames_per_second: 1_000,
        response_bytes: 65_536,
        header: Duration::from_secs(15),
        write: Duration::from_secs(10),
        body: Duration::from_secs(10),
        linger: Duration::from_secs(2),
        linger_bytes: 1 << 24,
    }
}

/// Result of a connection.
#[derive(Debug, PartialEq, Eq)]
struct Went {
    /// Output.
    put: Vec<u8>,
    /// The connection ended.
    is_over: bool,
    requests: u64,
}

/// Passes `pieces` to a connection on demand, with `room` in each turn.
fn run(pieces: &[&[u8]], room: usize) -> Went {
    let mut connection = Connection::new(Rc::new(limits()), Patient);
    let (mut scratch, now) = (Scratch::default(), Instant::now());
    let mut turn = Turn { now, date: &DATE, scratch: &mut scratch };
    let mut cx = Context::from_waker(Waker::noop());
    let mut pipe = Pipe::default();
    let mut pieces = pieces.iter();
    let mut idle_turns = 0;
    let is_over = loop {
        let mut came = false;
        if connection.wants_input() {
            match pieces.next() {
                Some(piece) => {
                    connection.receive(piece, &mut turn);
                    came = true;
                }
                // The rest of a body does not come.
                None if connection.in_flight() > 0 && idle_turns > 2 => break false,
                None if connection.in_flight() > 0 => {}
                None => break false,
            }
        }
        let before = pipe.put.len();
        pipe.room = room;
        match connection.produce(&mut pipe, &mut turn, &mut cx) {
            State::Open => {}
            State::Upgraded(_) => panic!("nobody switches"),
            State::Broken | State::Over => break true,
        }
        // A body may be awaited once before each piece; otherwise the connection proceeds or wants input.
        idle_turns = if pipe.put.len() > before || came { 0 } else { idle_turns + 1 };
        assert!(idle_turns < 4, "the connection stands still");
    };
    Went { put: without_asking(pipe.put), is_over, requests: connection.requests() }
}

/// Runs the bytes in one piece with unlimited room, byte by byte with hardly any, and in pieces of `sizes`.
pub(super) fn cuts_change_nothing(bytes: &[u8], sizes: &[u8], room: u16) {
    // A long head that has begun is looked at again with the end of a line.
    let bytes = &[bytes, b"\n"].concat();
    let whole = run(&[bytes], usize::MAX);
    for (sizes, room) in [(&[1][..], usize::from(room).max(1)), (sizes, usize::MAX), (sizes, usize::from(room).max(1))]
    {
        let went = run(&cut(bytes, sizes), room);
        assert!(went == whole, "{} {} {}", whole.requests, went.requests, went.put.len());
    }
    if whole.is_over {
        return;
    }
    // What was answered is so many whole heads, and the rest is no whole one.
    let mut rest = bytes.as_slice();
    for _ in 0..whole.requests {
        rest = &rest[request_length(rest)..];
    }
    let mut fields = [httparse::EMPTY_HEADER; 20];
    assert_eq!(httparse::Request::new(&mut fields).parse(rest).map(|status| status.is_partial()), Ok(true));
}

/// Returns the length of the request at the beginning of `bytes`, with a possibly truncated body.
fn request_length(bytes: &[u8]) -> usize {
    let mut fields = [httparse::EMPTY_HEADER; 20];
    let mut request = httparse::Request::new(&mut fields);
    let head = request.parse(bytes).unwrap().unwrap();
    let field = |name: &str| request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    let (coding, length) = (field("transfer-encoding"), field("content-length"));
    assert!(coding.is_none() || length.is_none(), "one of them is for another reader");
    if coding.is_none() {
        let body = length.map_or(0, |field| str::from_utf8(field.value).unwrap().parse().unwrap());
        return bytes.len().min(head.saturating_add(body));
    }
    match chunks::reference(&bytes[head..], limits().header_fields).end {
        End::After(body) => head + body,
        End::Open => bytes.len(),
        End::Refused => panic!("what is no body is the end of its connection"),
    }
}

/// Returns the output without `100 Continue`, which depends on the arrival of the body.
fn without_asking(mut put: Vec<u8>) -> Vec<u8> {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    while let Some(at) = put.windows(CONTINUE.len()).position(|part| part == CONTINUE) {
        drop(put.drain(at..at + CONTINUE.len()));
    }
    put
}
