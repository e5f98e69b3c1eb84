//! Resource limits per client: RFC 9113 sections 5.1.2 and 10.5, and the attacks known by name.

use crate::http2::fields::{indexed, indexed_literal, literal};
use crate::http2::table::*;
use crate::http2::wire::{HOST, Script, flag, kind, request, setting};
use crate::http2::world::World;
use crate::support::{Setup, edge};

/// The smallest limits that an edge accepts.
const HEADER_BYTES_MAX: u64 = 8_192;
const STREAMS_MAX: u64 = 10;

/// Edge with low limits.
pub(crate) fn setup() -> Setup {
    edge()
        .with_limit("header_bytes_max", HEADER_BYTES_MAX)
        .with_limit("streams_max", STREAMS_MAX)
        .with_limit("write_ms_max", 700)
}

pub(crate) fn cases() -> Vec<Case> {
    [heads(), floods(), holding()].into_iter().flatten().collect()
}

/// Ended with the code for floods, or fully accepted without retained memory.
fn calmed() -> Allowed {
    connection_error(ENHANCE_YOUR_CALM)
}

fn heads() -> Vec<Case> {
    let too_large = || or(status(431), stream_error(ENHANCE_YOUR_CALM));
    vec![
        talk(
            "10.5.1",
            "the limits are told in SETTINGS",
            talking!(|c, _w| {
                let settings = c.settings_of_edge().await;
                assert!(settings.contains(&(setting::MAX_HEADER_LIST_SIZE, 8_192)), "{settings:?}");
                assert!(settings.contains(&(setting::MAX_CONCURRENT_STREAMS, 10)), "{settings:?}");
                Outcome::Holds
            }),
            holds(),
        ),
        case(
            "10.5.1",
            "a head beyond the limit is answered 431",
            |s| s.get_with(1, &[("x-large", &"x".repeat(9_000))]),
            status(431),
        ),
        case(
            "10.5.1",
            "a head of many fields beyond the limit is answered 431",
            |s| s.get_with(1, &vec![("x", "y"); 400]),
            status(431),
        ),
        case(
            "10.5.1",
            "more fields than the limit are answered 431",
            |s| s.get_with(1, &vec![("x", "y"); 101]),
            status(431),
        ),
        case(
            "10.5.1",
            "a head within the limit is taken",
            |s| s.get_with(1, &[("x-large", &"x".repeat(7_000))]),
            status(200),
        ),
        talk(
            "10.5.1",
            "after a head beyond the limit, the connection goes on, and its table is in step",
            talking!(|c, _w| {
                let large = [
                    request("GET", "/", &[]),
                    literal("x-large", "x".repeat(9_000)),
                    indexed_literal(":authority", HOST),
                ];
                let large = [large.concat().as_slice()].concat();
                // The late pseudo-header also makes the head malformed; only the table state counts here.
                c.send(&Script::default().headers(1, flag::WHOLE, large)).await;
                assert!(matches!(c.verdict(1, true).await, Outcome::Reset(_) | Outcome::Answer(_) | Outcome::Ignored));
                let next = [indexed(2), indexed(7), indexed(4), indexed(62)].concat();
                c.send(&Script::default().headers(3, flag::WHOLE, next)).await;
                assert_eq!(c.answer(3).await.status, 200);
                Outcome::Holds
            }),
            holds(),
        ),
        case(
            "10.5.1",
            "a head of many times the limit is answered 431, or ends the connection",
            |s| {
                let value = "x".repeat(15_000);
                (0..4).fold(s.headers(1, flag::END_STREAM, request("GET", "/", &[])), |s, number| {
                    s.continuation(1, if number == 3 { flag::END_HEADERS } else { 0 }, literal("x-large", &value))
                })
            },
            too_large(),
        ),
        case(
            "10.5.1",
            "a head that grows in decoding is answered 431, or ends the connection (an HPACK bomb)",
            |s| {
                let bomb =
                    [request("GET", "/", &[]), indexed_literal("x", &"x".repeat(4_000)), vec![0xbe; 12_000]].concat();
                s.headers(1, flag::WHOLE, bomb)
            },
            too_large(),
        ),
        case(
            "10.5.1",
            "trailers beyond the limit do not pass",
            |s| s.open(1).data(1, 0, "x").headers(1, flag::WHOLE, literal("x-large", "x".repeat(9_000))),
            or(status(431), stream_error(ENHANCE_YOUR_CALM)),
        ),
    ]
}

fn floods() -> Vec<Case> {
    vec![
        case(
            "10.5",
            "CONTINUATION without an end is ended (CVE-2024-27316)",
            |s| {
                let s = s.headers(1, flag::END_STREAM, request("GET", "/", &[]));
                (0..2_000).fold(s, |s, _| s.continuation(1, 0, literal("x", "y")))
            },
            calmed(),
        ),
        case(
            "10.5",
            "empty CONTINUATION without an end is ended",
            |s| {
                let s = s.headers(1, flag::END_STREAM, request("GET", "/", &[]));
                (0..20_000).fold(s, |s, _| s.continuation(1, 0, []))
            },
            calmed(),
        ),
        case(
            "10.5",
            "one field in CONTINUATION without an end is ended",
            |s| {
                let s = s.headers(
                    1,
                    flag::END_STREAM,
                    [&[0, 1, b'x', 0x7f, 0x80, 0x80, 0x80, 0x01][..], &[b'x'; 100]].concat(),
                );
                (0..200).fold(s, |s, _| s.continuation(1, 0, [b'x'; 10_000]))
            },
            or(calmed(), [Outcome::GoAway(COMPRESSION_ERROR)]),
        ),
        case(
            "10.5",
            "streams that are begun and reset without an end are ended (CVE-2023-44487, rapid reset)",
            |s| (0..1_000).fold(s, |s, number| s.open(number * 2 + 1).reset(number * 2 + 1, 8)).watch(0),
            calmed(),
        ),
        case(
            "10.5",
            "streams that the edge is made to reset without an end are ended (CVE-2025-8671, MadeYouReset)",
            |s| {
                let most = (1 << 31) - 1;
                (0..1_000).fold(s, |s, n| s.held(n * 2 + 1).window(n * 2 + 1, most).window(n * 2 + 1, most)).watch(0)
            },
            calmed(),
        ),
        case(
            "10.5",
            "malformed requests without an end are ended",
            |s| (0..1_000).fold(s, |s, number| s.get_with(number * 2 + 1, &[("connection", "close")])).watch(0),
            calmed(),
        ),
        case(
            "10.5",
            "refused streams without an end are ended, or refused one by one",
            |s| (0..1_000).fold(s, |s, number| s.held(number * 2 + 1)).watch(1_999),
            or(calmed(), [Outcome::Reset(REFUSED_STREAM)]),
        ),
        case(
            "10.5",
            "empty DATA without an end is ended, or costs nothing",
            |s| (0..50_000).fold(s.open(1), |s, _| s.data(1, 0, [])).watch(0),
            or(calmed(), [Outcome::Ignored]),
        ),
        case(
            "10.5",
            "DATA of one byte without an end is ended, or costs no more than its window",
            |s| (0..50_000).fold(s.open(1), |s, _| s.data(1, 0, "x")).watch(0),
            or(calmed(), [Outcome::Ignored]),
        ),
        case(
            "10.5",
            "PRIORITY without an end is ended, or costs nothing",
            |s| (0..50_000).fold(s, |s, n| s.frame(kind::PRIORITY, 0, n % 999 + 1, [0, 0, 0, 0, 1])),
            or(calmed(), [Outcome::Ignored]),
        ),
        case(
            "10.5",
            "WINDOW_UPDATE without an end is ended, or costs nothing",
            |s| (0..50_000).fold(s, |s, _| s.window(0, 1)),
            or(calmed(), [Outcome::Ignored]),
        ),
        talk(
            "10.5",
            "SETTINGS of a client that reads nothing are not answered for ever",
            talking!(|c, _w| {
                let many = (0..1_000).fold(Script::default(), |s, _| s.settings(&[(setting::ENABLE_PUSH, 0)]));
                c.floods_until_closed(&many).await
            }),
            holds(),
        ),
        talk(
            "10.5",
            "PING of a client that reads nothing is not answered for ever",
            talking!(|c, _w| {
                let many = (0..1_000).fold(Script::default(), |s, _| s.ping([5; 8]));
                c.floods_until_closed(&many).await
            }),
            holds(),
        ),
    ]
}

fn holding() -> Vec<Case> {
    vec![
        case(
            "10.5",
            "a stream beyond the limit is refused",
            |s| (0..11).fold(s, |s, number| s.held(number * 2 + 1)),
            stream_error(REFUSED_STREAM),
        ),
        talk(
            "10.5",
            "a window that is never opened does not hold its stream for ever",
            talking!(|c, _w| {
                c.send(&Script::default().held(1)).await;
                assert_eq!(c.expect(kind::HEADERS).await.status(), 200);
                match c.next_of_stream().await {
                    None => Outcome::Closed,
                    Some(frame) if frame.kind == kind::RST_STREAM => Outcome::Reset(Code(frame.number(0))),
                    Some(frame) => panic!("{frame:?}"),
                }
            }),
            vec![Outcome::Closed, Outcome::Reset(CANCEL), Outcome::Reset(ENHANCE_YOUR_CALM)],
        ),
        talk(
            "10.5",
            "a window that opens byte by byte does not stop other streams",
            talking!(|c, _w| {
                c.send(&Script::default().held(1)).await;
                for number in 1..50 {
                    let stream = number * 2 + 1;
                    c.send(&Script::default().window(1, 1).get(stream).window(stream, 1_000)).await;
                    assert_eq!(c.answer(stream).await.status, 200);
                }
                Outcome::Holds
            }),
            holds(),
        ),
    ]
}
