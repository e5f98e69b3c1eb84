//! Streams opened to be reset: by the client (CVE-2023-44487, rapid reset), or by the edge after a client's error
//! (CVE-2025-8671, MadeYouReset), with every kind of stream error.

use crate::http2::fields::literal;
use crate::http2::table::*;
use crate::http2::wire::{Script, flag, kind, request, setting};
use crate::support::{Setup, edge};

/// Streams of one case: more than the limit of either engine.
const STREAMS: u32 = 1_000;
const MOST: u32 = (1 << 31) - 1;

/// Edge with a low limit of resets, which a slow machine reaches, too.
pub(crate) fn setup() -> Setup {
    edge().with_limit("resets_per_second_max", 20)
}

/// Ended with the code for floods, or, as the error itself allows, with a connection error.
fn ended(code: Code) -> Allowed {
    or(connection_error(ENHANCE_YOUR_CALM), [Outcome::GoAway(code)])
}

/// Repeats an act for many streams, after a SETTINGS frame that blocks all response bodies.
fn each(s: Script, stream: impl Fn(Script, u32) -> Script) -> Script {
    let s = s.settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]);
    (0..STREAMS).fold(s, |s, number| stream(s, number * 2 + 1)).watch(0)
}

/// GET request whose response waits for a window: half-closed (remote) for the edge.
fn waiting(s: Script, stream: u32) -> Script {
    s.headers(stream, flag::WHOLE, request("GET", "/big.bin", &[]))
}

pub(crate) fn cases() -> Vec<Case> {
    [by_the_client(), by_the_edge()].into_iter().flatten().collect()
}

fn by_the_client() -> Vec<Case> {
    vec![
        case(
            "10.5",
            "files that are asked for and reset without an end are ended",
            |s| each(s, |s, stream| waiting(s, stream).reset(stream, CANCEL.0)),
            connection_error(ENHANCE_YOUR_CALM),
        ),
        case(
            "10.5",
            "requests for a backend that are reset without an end are ended",
            |s| {
                each(s, |s, stream| {
                    s.headers(stream, flag::WHOLE, request("GET", "/api/wait", &[])).reset(stream, CANCEL.0)
                })
            },
            connection_error(ENHANCE_YOUR_CALM),
        ),
        case(
            "10.5",
            "requests that are reset in the middle of their bodies without an end are ended",
            |s| each(s, |s, stream| s.open(stream).data(stream, 0, "x").reset(stream, CANCEL.0)),
            connection_error(ENHANCE_YOUR_CALM),
        ),
        case(
            "10.5",
            "a few resets are nobody's fault",
            |s| {
                let s = (0..15).fold(s, |s, number| waiting(s, number * 2 + 1).reset(number * 2 + 1, CANCEL.0));
                s.get(101).watch(101)
            },
            status(200),
        ),
    ]
}

fn by_the_edge() -> Vec<Case> {
    vec![
        case(
            "10.5",
            "increments of 0 without an end are ended",
            |s| each(s, |s, stream| waiting(s, stream).window(stream, 0)),
            ended(PROTOCOL_ERROR),
        ),
        case(
            "10.5",
            "windows that overflow without an end are ended",
            |s| each(s, |s, stream| waiting(s, stream).window(stream, MOST).window(stream, 1)),
            ended(FLOW_CONTROL_ERROR),
        ),
        case(
            "10.5",
            "DATA after the end of its stream without an end is ended",
            |s| each(s, |s, stream| waiting(s, stream).data(stream, 0, "x")),
            ended(STREAM_CLOSED),
        ),
        case(
            "10.5",
            "HEADERS after the end of their stream without an end are ended",
            |s| each(s, |s, stream| waiting(s, stream).headers(stream, flag::WHOLE, literal("x", "y"))),
            ended(STREAM_CLOSED),
        ),
        case(
            "10.5",
            "PRIORITY of a wrong length without an end is ended",
            |s| each(s, |s, stream| waiting(s, stream).frame(kind::PRIORITY, 0, stream, [0, 0, 0, 0])),
            ended(FRAME_SIZE_ERROR),
        ),
        case(
            "10.5",
            "PRIORITY of a stream on itself without an end is ended, or nothing (RFC 9113 section 5.3.2)",
            |s| {
                each(s, |s, stream| {
                    let itself = [&stream.to_be_bytes()[..], &[1]].concat();
                    s.get(stream).frame(kind::PRIORITY, 0, stream, itself)
                })
            },
            or(ended(PROTOCOL_ERROR), [Outcome::Ignored]),
        ),
        case(
            "10.5",
            "HEADERS of a stream that depends on itself without an end are ended, or nothing",
            |s| {
                each(s, |s, stream| {
                    let head = [&stream.to_be_bytes()[..], &[1], &request("GET", "/big.bin", &[])].concat();
                    s.headers(stream, flag::WHOLE | flag::PRIORITY, head)
                })
            },
            or(ended(PROTOCOL_ERROR), [Outcome::Ignored]),
        ),
        case(
            "10.5",
            "bodies longer than their Content-Length without an end are ended",
            |s| {
                each(s, |s, stream| {
                    s.open_with(stream, &[("content-length", "1")]).data(stream, flag::END_STREAM, "two")
                })
            },
            ended(PROTOCOL_ERROR),
        ),
        case(
            "10.5",
            "bodies shorter than their Content-Length without an end are ended",
            |s| {
                each(s, |s, stream| {
                    s.open_with(stream, &[("content-length", "9")]).data(stream, flag::END_STREAM, "two")
                })
            },
            ended(PROTOCOL_ERROR),
        ),
        case(
            "10.5",
            "trailers with pseudo fields without an end are ended",
            |s| each(s, |s, stream| s.open(stream).headers(stream, flag::WHOLE, literal(":path", "/"))),
            ended(PROTOCOL_ERROR),
        ),
        case(
            "10.5",
            "heads without a method without an end are ended",
            |s| each(s, |s, stream| s.exactly(stream, &[(":scheme", "https"), (":path", "/")])),
            ended(PROTOCOL_ERROR),
        ),
    ]
}
