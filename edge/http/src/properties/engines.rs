//! HTTP/2 by the engine and by hyper: equal input has equal answers and an equal end.
//!
//! Permitted differences, with reasons:
//! * An answer may be missing or cut off on either side: after a reset, a refusal or the end of the connection, the
//!   output depends on earlier timing. Answers sent whole by both are equal.
//! * Input after the client's GOAWAY is no request: the bytes are cut off before the GOAWAY.
//! * A second acknowledgement of SETTINGS is an error for hyper only: the bytes are cut off there.
//! * Frames on a stream reset by the client may end the connection (RFC 9113 §5.1). hyper ends the connection for an
//!   empty WINDOW_UPDATE and the engine ignores the frame: the bytes are cut off before.
//! * hyper rejects invalid values of `SETTINGS_ENABLE_CONNECT_PROTOCOL` (RFC 8441); the engine ignores unknown settings
//!   (RFC 9113 §6.5.2): the bytes are cut off before.
//! * The engine resets a stream answered before the end of the request (RFC 9113 §8.1), skips further bytes regardless
//!   of the stream's window, and returns the bytes to the window of the connection. hyper goes on counting.
//! * A block with more than two table size updates is invalid for the engine (RFC 7541 §4.2) and accepted by hyper: the
//!   bytes are cut off before.
//! * A PUSH_PROMISE is an error for both, but hyper waits for the end of the frame: the bytes are cut off there.
//! * The engine refuses an invalid head, such as a head on an even stream, at the first frame, and hyper at the last:
//!   an incomplete head at the end of the bytes is cut off.
//! * The same holds for a frame: the engine refuses an unexpected CONTINUATION before the payload arrives.
//! * Either may end the connection with `ENHANCE_YOUR_CALM`, since floods are counted differently.
//! * RFC 9113 leaves a choice between a reset and the end of the connection. So the engine may end a connection only if
//!   hyper does, or has reset a stream, or refused a request; and vice versa. A stream reset by the client before the
//!   complete answer need not be reset in return.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::LocalSet;

use super::connection::{Frame, frames, limits, number, run_at_once};
use super::engine::hpack::Decoder;
use super::script;
use super::site::reference;

/// Runtime turns without output after which no more output is expected.
const IDLE_TURNS: usize = 40;

/// Window assumed by hyper before the acknowledgement of its SETTINGS, for each stream and for the connection.
const WINDOW: usize = 65_535;

/// `FLOW_CONTROL_ERROR` (RFC 9113 §7).
const FLOW_CONTROL: u32 = 3;
/// `ENHANCE_YOUR_CALM`.
const CALM: u32 = 11;

/// Output of a stream.
#[derive(Default)]
struct Answer {
    status: String,
    body: Vec<u8>,
    has_ended: bool,
    reset: Option<u32>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, body, has_ended, reset } = self;
        write!(f, "{status}, {} bytes, ended: {has_ended}, reset: {reset:?}", body.len())
    }
}

/// Output of a connection.
#[derive(Debug, Default)]
struct Answers {
    streams: BTreeMap<u32, Answer>,
    /// Error code at the end of the connection.
    end: Option<u32>,
}

impl Answers {
    fn of(sent: &[u8]) -> Self {
        let mut answers = Self::default();
        let mut decoder = Decoder::new(4_096);
        for Frame { kind, flags, stream, payload } in frames(sent).0 {
            match kind {
                0 | 1 => {
                    let answer = answers.streams.entry(stream).or_default();
                    answer.has_ended |= flags & 1 != 0;
                    if kind == 0 {
                        answer.body.extend_from_slice(payload);
                        continue;
                    }
                    let each = |field: super::engine::field_coding::Field<'_>| {
                        if field.name == b":status" {
                            answer.status = String::from_utf8_lossy(field.value).into_owned();
                        }
                    };
                    decoder.decode(payload, usize::MAX, each).unwrap();
                }
                3 => answers.streams.entry(stream).or_default().reset = Some(number(payload)),
                7 if number(&payload[4..]) != 0 => answers.end = Some(number(&payload[4..])),
                _ => {}
            }
        }
        answers
    }

    /// Returns true if a stream was reset for a mistake of the client, or the request was refused, or possibly so: for
    /// a stream `reset` by the client, no reply is required.
    fn has_fault(&self, reset: &BTreeSet<u32>) -> bool {
        let is_fault = |answer: &Answer| answer.reset.is_some_and(|code| code != 0) || answer.status == "400";
        let is_open = |id: &u32| self.streams.get(id).is_none_or(|answer| !answer.has_ended);
        self.streams.values().any(is_fault)
            || self.streams.values().any(|answer| answer.status == "431")
            || reset.iter().any(is_open)
    }
}

/// Runs hyper's tasks on the thread of the connection.
#[derive(Clone)]
struct Here;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(future));
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let is_echo = parts.uri.path() == "/echo";
    let sent =
        if is_echo { body.collect().await.map(|body| body.to_bytes()).unwrap_or_default() } else { Bytes::new() };
    let (status, body) = reference(parts.uri.path(), &sent);
    let body = if parts.method == Method::HEAD { Bytes::new() } else { body };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    Ok(response)
}

/// Returns hyper's output for the input `bytes`.
fn by_hyper(bytes: &[u8]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let tasks = LocalSet::new();
    let sent = tasks.block_on(&runtime, async {
        let (mut client, server) = tokio::io::duplex(1 << 24);
        let limits = limits();
        let mut builder = http2::Builder::new(Here);
        builder
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap())
            .initial_stream_window_size(limits.stream_window)
            .initial_connection_window_size(limits.connection_window);
        let connection = builder.serve_connection(TokioIo::new(server), service_fn(answer));
        drop(tokio::task::spawn_local(connection));
        client.write_all(bytes).await.unwrap();
        let (mut sent, mut idle_turns) = (Vec::new(), 0);
        while idle_turns < IDLE_TURNS {
            tokio::task::yield_now().await;
            idle_turns += 1;
            let read = std::future::poll_fn(|cx| {
                let mut read = std::pin::pin!(client.read_buf(&mut sent));
                std::task::Poll::Ready(read.as_mut().poll(cx))
            });
            match read.await {
                std::task::Poll::Ready(Ok(1..)) => idle_turns = 0,
                std::task::Poll::Ready(_) => break,
                std::task::Poll::Pending => {}
            }
        }
        sent
    });
    if cfg!(debug_assertions) {
        // An h2 connection dropped with open streams fails an internal assertion.
        std::mem::forget((tasks, runtime));
    }
    sent
}

/// Returns true if a block begins with more than the two permitted table size updates (RFC 7541 §4.2).
fn resizes_often(block: &[u8]) -> bool {
    let (mut rest, mut sizes) = (block, 0);
    while let [first @ 0x20..0x40, after @ ..] = rest {
        let continued = after.iter().take_while(|byte| **byte >= 0x80).count() + 1;
        rest = if *first == 0x3f { after.get(continued..).unwrap_or_default() } else { after };
        sizes += 1;
    }
    sizes > 2
}

/// Returns the block that begins with the HEADERS at `place`, including padding.
fn block(all: &[Frame<'_>], place: usize) -> Vec<u8> {
    let flags = all[place].flags;
    let ahead = usize::from(flags & 8 != 0) + if flags & 0x20 == 0 { 0 } else { 5 };
    let first = all[place].payload.get(ahead..).unwrap_or_default();
    let others = all[place + 1..].iter().take_while(|frame| frame.kind == 9).map(|frame| frame.payload);
    std::iter::once(first).chain(others).collect::<Vec<_>>().concat()
}

/// Returns the number of leading bytes with comparable results. Both engines refuse the length of an incomplete frame;
/// hyper rejects a second acknowledgement of SETTINGS, which the standard leaves open, and an empty WINDOW_UPDATE on a
/// closed stream; a client sends no requests after GOAWAY.
fn comparable(bytes: &[u8]) -> usize {
    let (all, rest) = frames(bytes);
    let is_ack = |frame: &Frame<'_>| frame.kind == 4 && frame.flags & 1 != 0;
    let second_ack = all.iter().enumerate().filter(|(_, frame)| is_ack(frame)).map(|(place, _)| place).nth(1);
    let push_or_goaway = all.iter().position(|frame| matches!(frame.kind, 5 | 7));
    let goes_on = |frame: &Frame<'_>| matches!(frame.kind, 1 | 9) && frame.flags & 4 == 0;
    let resized = (0..all.len()).find(|place| all[*place].kind == 1 && resizes_often(&block(&all, *place)));
    let mut reset = BTreeSet::new();
    let update_of_reset = all.iter().position(|frame| {
        if frame.kind == 3 {
            reset.insert(frame.stream);
        }
        frame.kind == 8 && frame.payload == [0; 4] && reset.contains(&frame.stream)
    });
    let connects = |setting: &[u8]| matches!(setting, [0, 8, value @ ..] if number(value) > 1);
    let connecting = all.iter().position(|frame| frame.kind == 4 && frame.payload.chunks_exact(6).any(connects));
    let ends = [second_ack, push_or_goaway, resized, update_of_reset, connecting];
    let end = ends.into_iter().flatten().min();
    let judged = &all[..end.unwrap_or(all.len())];
    let head_without_end = judged.iter().rposition(|frame| !goes_on(frame)).map_or(0, |last| last + 1);
    let end = Some(head_without_end).filter(|place| *place < judged.len()).or(end);
    let whole = all.iter().take(end.unwrap_or(all.len())).map(|frame| 9 + frame.payload.len()).sum();
    let is_too_long = rest.len() >= 9 && number(rest) >> 8 > 16_384;
    if end.is_none() && is_too_long { bytes.len() } else { whole }
}

/// Passes a client's bytes to both engines, and compares the output.
pub(super) fn both_say_the_same(input: &[u8]) {
    let mut bytes = script::client(input);
    bytes.truncate(24 + comparable(&bytes[24..]));
    let (ours, theirs) = (Answers::of(&run_at_once(&[&bytes])), Answers::of(&by_hyper(&bytes)));
    for (id, our) in &ours.streams {
        let Some(their) = theirs.streams.get(id) else { continue };
        if our.has_ended && their.has_ended && our.reset.or(their.reset).is_none_or(|code| code == 0) {
            assert_eq!(our.status, their.status, "{id}");
            assert!(our.body == their.body, "{id} {} {}", our.body.len(), their.body.len());
        }
    }
    if ours.end == Some(CALM) || theirs.end == Some(CALM) {
        return;
    }
    let (mut opened, mut reset, mut data) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::<u32, usize>::new());
    for frame in frames(&bytes[24..]).0 {
        match frame.kind {
            0 => *data.entry(frame.stream).or_default() += frame.payload.len(),
            1 => drop(opened.insert(frame.stream)),
            3 if opened.contains(&frame.stream) => drop(reset.insert(frame.stream)),
            _ => {}
        }
    }
    let was_answered = |id: &u32| ours.streams.get(id).is_some_and(|answer| answer.reset == Some(0));
    let all: usize = data.values().sum();
    let counted: usize = data.iter().filter(|(id, _)| !was_answered(id)).map(|(_, bytes)| bytes).sum();
    let (own, all_own) = (limits().stream_window, limits().connection_window);
    let is_within = |bytes: usize, window: u32| u32::try_from(bytes).is_ok_and(|bytes| bytes <= window);
    let is_sound =
        is_within(counted, all_own) && data.iter().all(|(id, bytes)| was_answered(id) || is_within(*bytes, own));
    if theirs.end == Some(FLOW_CONTROL) && all > WINDOW && counted < all && is_sound {
        return;
    }
    assert!(ours.end.is_none() || theirs.end.is_some() || theirs.has_fault(&reset), "ours {:?} {theirs:?}", ours.end);
    assert!(theirs.end.is_none() || ours.end.is_some() || ours.has_fault(&reset), "theirs {:?} {ours:?}", theirs.end);
}
