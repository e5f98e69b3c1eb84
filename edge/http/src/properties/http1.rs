//! Plain requests of HTTP/1.1: for any split and any room, the answers are equal, and no byte for the other engine is
//! lost.

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

/// Returns the limits of a connection; further requests belong to another engine.
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
    /// Input for the other engine.
    rest: Vec<u8>,
    /// True if an answer broke off.
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
    let mut has_ended = false;
    let mut idle_turns = 0;
    let handed = loop {
        let mut came = false;
        if connection.wants_input() {
            match pieces.next() {
                Some(piece) => {
                    connection.receive(piece, &mut turn);
                    came = true;
                }
                // The rest of a body does not arrive.
                None if connection.in_flight() > 0 && idle_turns > 2 => break Vec::new(),
                None if connection.in_flight() > 0 => {}
                None if has_ended => break Vec::new(),
                None => {
                    // The rest belongs to another engine.
                    connection.drain();
                    has_ended = true;
                }
            }
        }
        let before = pipe.put.len();
        pipe.room = room;
        match connection.produce(&mut pipe, &mut turn, &mut cx) {
            State::Open => {}
            State::HandOver(bytes) => break bytes,
            State::Upgraded(_) => panic!("nobody switches"),
            State::Broken | State::Over => {
                let requests = connection.requests();
                return Went { put: without_asking(pipe.put), rest: Vec::new(), is_over: true, requests };
            }
        }
        // A body may be awaited once before each piece; otherwise the connection proceeds or wants input.
        idle_turns = if pipe.put.len() > before || came { 0 } else { idle_turns + 1 };
        assert!(idle_turns < 4, "the connection stands still");
    };
    let rest = handed.into_iter().chain(pieces.flat_map(|piece| piece.iter().copied())).collect();
    Went { put: without_asking(pipe.put), rest, is_over: false, requests: connection.requests() }
}

/// Runs the bytes in one piece with unlimited room, byte by byte with hardly any, and in pieces of `sizes`.
pub(super) fn cuts_change_nothing(bytes: &[u8], sizes: &[u8], room: u16) {
    let whole = run(&[bytes], usize::MAX);
    for (sizes, room) in [(&[1][..], usize::from(room).max(1)), (sizes, usize::MAX), (sizes, usize::from(room).max(1))]
    {
        let went = run(&cut(bytes, sizes), room);
        assert!(went == whole, "{} {} {}", whole.requests, went.requests, went.put.len());
    }
    if whole.is_over {
        return;
    }
    // The answered bytes are whole requests, and the rest is all later input.
    assert!(bytes.ends_with(&whole.rest));
    let mut answered = &bytes[..bytes.len() - whole.rest.len()];
    for _ in 0..whole.requests {
        answered = &answered[request_length(answered)..];
    }
    assert_eq!(answered, b"");
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
