//! MUSTs of RFC 9114 and RFC 9204 as raw frames over QUIC.
//!
//! The engine's unit tests run the whole table without a transport; the tests here show that each code, and each kind
//! of step, reaches a client.

use crate::http3::wire::{
    RawConnection, StreamOutcome, control, frame, headers, kind, number, request, section, stream_type,
};
use crate::relay::{Relay, Weather};
use crate::support::{RunningEdge, edge, eventually};
use StreamOutcome::{Closed, Reset, Status};

/// Error codes (RFC 9114 §8.1, RFC 9204 §6).
mod code {
    pub(super) const NO_ERROR: u64 = 0x100;
    pub(super) const STREAM_CREATION: u64 = 0x103;
    pub(super) const CLOSED_CRITICAL_STREAM: u64 = 0x104;
    pub(super) const FRAME_UNEXPECTED: u64 = 0x105;
    pub(super) const FRAME: u64 = 0x106;
    pub(super) const EXCESSIVE_LOAD: u64 = 0x107;
    pub(super) const ID: u64 = 0x108;
    pub(super) const SETTINGS: u64 = 0x109;
    pub(super) const MISSING_SETTINGS: u64 = 0x10a;
    pub(super) const REQUEST_REJECTED: u64 = 0x10b;
    pub(super) const REQUEST_INCOMPLETE: u64 = 0x10d;
    pub(super) const MESSAGE: u64 = 0x10e;
    pub(super) const QPACK_DECOMPRESSION_FAILED: u64 = 0x200;
    pub(super) const QPACK_ENCODER_STREAM: u64 = 0x201;
    pub(super) const QPACK_DECODER_STREAM: u64 = 0x202;
}

/// Subject, the bytes of each stream, and the error code if the connection ends.
type StreamCase = (&'static str, Vec<Vec<u8>>, Option<u64>);

/// Reserved frame, setting or stream type (RFC 9114 §7.2.8).
const RESERVED: u64 = 0x1f * 3 + 0x21;

async fn shop() -> RunningEdge {
    edge().with_app("shop", &[("index.html", b"home")]).start().await
}

fn settings() -> Vec<u8> {
    frame(kind::SETTINGS, [])
}

fn get() -> Vec<u8> {
    request("GET", "/", &[])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_wrong_are_ended_with_their_codes_and_right_ones_answered() {
    let edge = shop().await;
    let post = |more: &[(&str, &str)]| request("POST", "/", more);
    let reserved = frame(RESERVED, [7; 9]);
    let (method, scheme, path) = ((":method", "GET"), (":scheme", "https"), (":path", "/"));
    let authority = (":authority", "shop.localhost");
    let large = "&".repeat(300_000);
    #[rustfmt::skip]
    let cases: Vec<(&str, Vec<u8>, StreamOutcome)> = vec![
        ("4.1 a request",                    get(),                                                   Status(200)),
        ("4.1 DATA first",                   frame(kind::DATA, "x"),                                  Closed(code::FRAME_UNEXPECTED)),
        ("4.1 DATA after trailers",          [post(&[]), headers(&[("x", "y")]), frame(kind::DATA, "x")].concat(), Closed(code::FRAME_UNEXPECTED)),
        ("4.1 nothing at all",               vec![],                                                  Reset(code::REQUEST_INCOMPLETE)),
        ("4.1.2 no pseudo-fields",           headers(&[("a", "b")]),                                  Reset(code::MESSAGE)),
        ("4.1.2 less than its length",       [post(&[("content-length", "2")]), frame(kind::DATA, "x")].concat(), Reset(code::MESSAGE)),
        ("4.2 a field in capitals",          request("GET", "/", &[("X-Upper", "1")]),                Reset(code::MESSAGE)),
        ("4.2 Connection",                   request("GET", "/", &[("connection", "close")]),         Reset(code::MESSAGE)),
        ("4.2 te: trailers",                 request("GET", "/", &[("te", "trailers")]),              Status(200)),
        ("4.2.2 a huge section",             request("GET", "/", &[("x", large.as_str())]),                   Status(431)),
        ("4.3 an unknown pseudo-field",      request("GET", "/", &[(":colour", "red")]),              Reset(code::MESSAGE)),
        ("4.3 a pseudo-field after others",  headers(&[method, scheme, authority, ("a", "b"), path]), Reset(code::MESSAGE)),
        ("4.3.1 two paths",                  headers(&[method, scheme, authority, path, path]),       Reset(code::MESSAGE)),
        ("4.3.1 no authority",               headers(&[method, scheme, path]),                        Reset(code::MESSAGE)),
        ("4.3.1 Host in its place",          headers(&[method, scheme, path, ("host", "shop.localhost")]), Status(200)),
        ("4.3.1 Host of another",            request("GET", "/", &[("host", "game.localhost")]),      Reset(code::MESSAGE)),
        ("4.4 CONNECT",                      headers(&[(":method", "CONNECT"), (":authority", "shop.localhost:443")]), Status(405)),
        ("7.1 a cut frame",                  get()[..9].to_vec(),                                     Closed(code::FRAME)),
        ("7.2.3 CANCEL_PUSH",                frame(kind::CANCEL_PUSH, [0]),                           Closed(code::FRAME_UNEXPECTED)),
        ("7.2.4 SETTINGS",                   settings(),                                              Closed(code::FRAME_UNEXPECTED)),
        ("7.2.5 PUSH_PROMISE",               frame(kind::PUSH_PROMISE, [0, 0, 0]),                    Closed(code::FRAME_UNEXPECTED)),
        ("7.2.8 WINDOW_UPDATE of HTTP/2",    frame(8, [0; 4]),                                        Closed(code::FRAME_UNEXPECTED)),
        ("9 reserved frames anywhere",       [reserved.clone(), get(), reserved].concat(),            Status(200)),
        ("9204 2.2 an entry that is not",    frame(kind::HEADERS, [0, 0, 0xff, 0x7f]),                Closed(code::QPACK_DECOMPRESSION_FAILED)),
        ("9204 2.2 an entry of no table",    frame(kind::HEADERS, [2, 0, 0x80]),                      Closed(code::QPACK_DECOMPRESSION_FAILED)),
        ("9204 2.2 an empty section",        frame(kind::HEADERS, []),                                Closed(code::QPACK_DECOMPRESSION_FAILED)),
        ("9220 3 extended CONNECT",          request("CONNECT", "/", &[(":protocol", "websocket")]),  Reset(code::MESSAGE)),
    ];
    for (name, bytes, expected) in cases {
        let mut raw = RawConnection::connect(&edge).await;
        raw.open(&control(&[settings()])).await;
        assert_eq!(raw.ask(&bytes, true).await, expected, "{name}");
        if !matches!(expected, Closed(_)) {
            assert_eq!(raw.ask(&get(), true).await, Status(200), "{name}: the connection goes on");
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_behind_the_last_answer_is_rejected_also_where_that_answer_has_not_come() {
    let edge = shop().await;
    // If GOAWAY arrives later than the request, the request is answered, too.
    for _ in 0..20 {
        let relay = Relay::start(edge.http3().unwrap(), Weather::default()).await;
        let mut raw = RawConnection::connect_at(&edge, relay.address).await;
        let own = raw.open(&control(&[settings()])).await;
        assert_eq!(raw.ask(&get(), true).await, Status(200));
        relay.lose_answers(true);
        let (_, lost) = relay.counts();
        let (_first, answer) = raw.begin(&get(), true).await.unwrap();
        raw.more(own, &frame(kind::GOAWAY, [0])).await;
        eventually("an answer is lost", async || relay.counts().1 > lost).await;
        let (_second, late) = raw.begin(&get(), true).await.unwrap();
        relay.lose_answers(false);
        assert_eq!(raw.answered(answer).await, Status(200));
        match raw.answered(late).await {
            Status(200) => {}
            other => {
                assert_eq!(other, Reset(code::REQUEST_REJECTED));
                assert_eq!(raw.closed().await, code::NO_ERROR);
                return edge.stop().await;
            }
        }
    }
    panic!("no request came behind the last answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_beside_requests_are_checked() {
    let edge = shop().await;
    let with_settings = |frames: Vec<u8>| control(&[settings(), frames]);
    let id = |kind: u64, ids: &[u64]| -> Vec<u8> { ids.iter().flat_map(|id| frame(kind, number(*id))).collect() };
    let pair = |id: u64, value: u64| [number(id), number(value)].concat();
    #[rustfmt::skip]
    let cases: Vec<StreamCase> = vec![
        ("6.2 reserved streams",             vec![control(&[settings()]), [number(RESERVED), vec![1, 2, 3]].concat()], None),
        ("6.2.1 no SETTINGS",                vec![control(&[frame(kind::GOAWAY, [0])])],      Some(code::MISSING_SETTINGS)),
        ("6.2.1 DATA in their place",        vec![control(&[frame(kind::DATA, "x")])],        Some(code::MISSING_SETTINGS)),
        ("6.2.1 two control streams",        vec![control(&[settings()]); 2],                 Some(code::STREAM_CREATION)),
        ("6.2.2 a push stream",              vec![[number(stream_type::PUSH), vec![0]].concat()], Some(code::STREAM_CREATION)),
        ("7.2.3 CANCEL_PUSH of no push",     vec![with_settings(id(kind::CANCEL_PUSH, &[0]))], Some(code::ID)),
        ("7.2.4 SETTINGS twice",             vec![with_settings(settings())],                 Some(code::FRAME_UNEXPECTED)),
        ("7.2.4 reserved settings",          vec![control(&[frame(kind::SETTINGS, pair(RESERVED, 5))])], None),
        ("7.2.4.1 a setting of HTTP/2",      vec![control(&[frame(kind::SETTINGS, pair(2, 0))])], Some(code::SETTINGS)),
        ("7.2.4 a setting twice",            vec![control(&[frame(kind::SETTINGS, [pair(6, 1), pair(6, 1)].concat())])], Some(code::SETTINGS)),
        ("7.2.4 half a setting",             vec![control(&[frame(kind::SETTINGS, [6])])],    Some(code::FRAME)),
        ("7.2.4 settings without an end",    vec![control(&[frame(kind::SETTINGS, vec![0; 5_000])])], Some(code::EXCESSIVE_LOAD)),
        ("7.2.6 GOAWAY that grows",          vec![with_settings(id(kind::GOAWAY, &[2, 9]))],  Some(code::ID)),
        ("7.2.7 MAX_PUSH_ID",                vec![with_settings(id(kind::MAX_PUSH_ID, &[1, 7]))], None),
        ("7.2.7 MAX_PUSH_ID that shrinks",   vec![with_settings(id(kind::MAX_PUSH_ID, &[7, 1]))], Some(code::ID)),
        ("7.2.8 PING of HTTP/2",             vec![with_settings(frame(6, [0; 8]))],           Some(code::FRAME_UNEXPECTED)),
        ("9 reserved frames",                vec![with_settings(frame(RESERVED, [1; 100]))],  None),
        ("9204 4.2 two encoder streams",     vec![number(stream_type::ENCODER); 2],           Some(code::STREAM_CREATION)),
        ("9204 4.2 two decoder streams",     vec![number(stream_type::DECODER); 2],           Some(code::STREAM_CREATION)),
        ("9204 4.3 a capacity beyond ours",  vec![[number(stream_type::ENCODER), vec![0x21]].concat()], Some(code::QPACK_ENCODER_STREAM)),
        ("9204 4.4 an increment of nothing", vec![[number(stream_type::DECODER), vec![0]].concat()], Some(code::QPACK_DECODER_STREAM)),
        ("9204 4.4 a section that is none",  vec![[number(stream_type::DECODER), vec![0x80]].concat()], Some(code::QPACK_DECODER_STREAM)),
    ];
    for (name, streams, expected) in cases {
        let mut raw = RawConnection::connect(&edge).await;
        for bytes in &streams {
            raw.open(bytes).await;
        }
        match expected {
            Some(code) => assert_eq!(raw.closed().await, code, "{name}"),
            None => assert_eq!(raw.ask(&get(), true).await, Status(200), "{name}"),
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_must_last_do_not_end_alone() {
    // RFC 9114 §6.2.1, RFC 9204 §4.2.
    let edge = shop().await;
    for first in [control(&[settings()]), number(stream_type::ENCODER), number(stream_type::DECODER)] {
        for is_reset in [false, true] {
            let mut raw = RawConnection::connect(&edge).await;
            let stream = raw.open(&first).await;
            // Data sent before a reset may be lost; this response proves that the edge has read the data.
            assert_eq!(raw.ask(&get(), true).await, Status(200));
            if is_reset {
                raw.reset(stream);
            } else {
                raw.finish(stream);
            }
            assert_eq!(raw.closed().await, code::CLOSED_CRITICAL_STREAM, "{first:?} {is_reset}");
        }
    }
    // Reset of the edge's own stream, as requested by the client.
    let mut raw = RawConnection::connect(&edge).await;
    let mut stream = raw.connection.accept_uni().await.unwrap();
    stream.read(&mut [0; 8]).await.unwrap();
    stream.stop(0_u32.into()).unwrap();
    raw.open(&control(&[settings()])).await;
    assert_eq!(raw.closed().await, code::CLOSED_CRITICAL_STREAM);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_edge_begins_with_its_settings_and_has_no_dynamic_table() {
    let edge = shop().await;
    let raw = RawConnection::connect(&edge).await;
    // The client has sent no frame.
    let (_stream, bytes) = raw.control_of_edge().await;
    assert_eq!(bytes[..2], [stream_type::CONTROL as u8, kind::SETTINGS as u8], "{bytes:x?}");
    // QPACK_MAX_TABLE_CAPACITY is 0 (RFC 9204 §5).
    assert_eq!(bytes[3..5], [1, 0], "{bytes:x?}");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_come_byte_by_byte_are_one_request() {
    let edge = shop().await;
    let mut raw = RawConnection::connect(&edge).await;
    let stream = raw.open(&[]).await;
    for byte in control(&[settings(), frame(RESERVED, [3; 70])]) {
        raw.more(stream, &[byte]).await;
    }
    let bytes = [frame(RESERVED, [3; 70]), frame(kind::HEADERS, section(&WHOLE))].concat();
    let (mut sending, mut receiving) = raw.connection.open_bi().await.unwrap();
    for byte in bytes {
        sending.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    sending.finish().unwrap();
    let answer = receiving.read_to_end(10_000).await.unwrap();
    assert!(answer.ends_with(b"home"), "{answer:x?}");
    edge.stop().await;
}

/// Complete request.
const WHOLE: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "shop.localhost"), (":path", "/")];
