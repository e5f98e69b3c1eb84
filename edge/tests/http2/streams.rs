//! Stream states: RFC 9113 sections 5.1 to 5.1.2 and 5.4.

use crate::http2::table::*;
use crate::http2::wire::{Script, flag, kind, request};
use crate::http2::world::World;

pub(crate) fn cases() -> Vec<Case> {
    [idle(), half_closed(), closed(), numbers(), errors()].into_iter().flatten().collect()
}

fn idle() -> Vec<Case> {
    vec![
        case("5.1", "idle: DATA is an error", |s| s.data(1, 0, "x"), connection_error(PROTOCOL_ERROR)),
        case("5.1", "idle: RST_STREAM is an error", |s| s.reset(1, 8), connection_error(PROTOCOL_ERROR)),
        case("5.1", "idle: WINDOW_UPDATE is an error", |s| s.window(1, 9), connection_error(PROTOCOL_ERROR)),
        case(
            "5.1",
            "idle: DATA on a number that the edge would begin is an error",
            |s| s.get(1).data(2, 0, "x").watch(0),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "5.1",
            "open: DATA, WINDOW_UPDATE and the end are taken",
            |s| s.open(1).window(1, 5).data(1, 0, "a").data(1, 0, "").window(1, 5).data(1, flag::END_STREAM, ""),
            status(200),
        ),
        case(
            "5.1",
            "open: a second head without END_STREAM is malformed",
            |s| {
                s.open(1).headers(1, flag::END_HEADERS, crate::http2::fields::literal("x", "y")).data(
                    1,
                    flag::END_STREAM,
                    "x",
                )
            },
            malformed(),
        ),
    ]
}

fn half_closed() -> Vec<Case> {
    vec![
        case(
            "5.1",
            "half-closed (remote): DATA is STREAM_CLOSED",
            |s| s.held(1).data(1, flag::END_STREAM, "x"),
            stream_error(STREAM_CLOSED),
        ),
        case(
            "5.1",
            "half-closed (remote): HEADERS are STREAM_CLOSED",
            |s| s.held(1).headers(1, flag::WHOLE, crate::http2::fields::literal("x", "y")),
            stream_error(STREAM_CLOSED),
        ),
        case(
            "5.1",
            "half-closed (remote): CONTINUATION is an error",
            |s| s.held(1).continuation(1, flag::END_HEADERS, []),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "5.1",
            "half-closed (remote) after a body: DATA is STREAM_CLOSED",
            |s| {
                s.headers(1, flag::END_HEADERS, request("POST", "/api/wait", &[]))
                    .data(1, flag::END_STREAM, "x")
                    .data(1, 0, "y")
            },
            stream_error(STREAM_CLOSED),
        ),
        talk(
            "5.1",
            "half-closed (remote): WINDOW_UPDATE, PRIORITY and RST_STREAM are taken",
            talking!(|c, _w| {
                c.send(&Script::default().held(1).window(1, 3).frame(kind::PRIORITY, 0, 1, [0, 0, 0, 0, 1])).await;
                assert_eq!(c.expect(kind::HEADERS).await.status(), 200);
                assert_eq!(c.expect(kind::DATA).await.payload.len(), 3);
                c.send(&Script::default().reset(1, 8)).await;
                c.fence().await;
                Outcome::Holds
            }),
            holds(),
        ),
    ]
}

fn closed() -> Vec<Case> {
    let closed_or = |more: Vec<Outcome>| or(stream_error(STREAM_CLOSED), more);
    vec![
        case(
            "5.1",
            "closed by RST_STREAM: DATA is STREAM_CLOSED, or given up",
            |s| s.open(1).reset(1, 8).data(1, 0, "x"),
            closed_or(vec![Outcome::Ignored]),
        ),
        case(
            "5.1",
            "closed by RST_STREAM: HEADERS are STREAM_CLOSED",
            |s| s.open(1).reset(1, 8).open(1),
            closed_or(vec![]),
        ),
        case(
            "5.1",
            "closed by RST_STREAM: CONTINUATION is an error",
            |s| s.open(1).reset(1, 8).continuation(1, flag::END_HEADERS, []),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "5.1",
            "closed by RST_STREAM: WINDOW_UPDATE, RST_STREAM and PRIORITY are no trouble",
            |s| s.open(1).reset(1, 8).window(1, 1).reset(1, 8).frame(kind::PRIORITY, 0, 1, [0, 0, 0, 0, 1]).get(3),
            or(closed_or(vec![]), [Outcome::Answer(200)]),
        ),
        talk(
            "5.1",
            "closed by its answer: DATA is STREAM_CLOSED, or given up",
            talking!(|c, _w| {
                c.still_serves(1).await;
                c.send(&Script::default().data(1, 0, "x")).await;
                c.verdict(1, true).await
            }),
            closed_or(vec![Outcome::Ignored]),
        ),
        talk(
            "5.1",
            "closed by its answer: HEADERS are STREAM_CLOSED",
            talking!(|c, _w| {
                c.still_serves(1).await;
                c.send(&Script::default().get(1)).await;
                c.verdict(1, true).await
            }),
            connection_error(STREAM_CLOSED),
        ),
        talk(
            "5.1",
            "closed by its answer: CONTINUATION is an error",
            talking!(|c, _w| {
                c.still_serves(1).await;
                c.send(&Script::default().continuation(1, flag::END_HEADERS, [])).await;
                c.verdict(1, true).await
            }),
            connection_error(PROTOCOL_ERROR),
        ),
        talk(
            "5.1",
            "closed by its answer: WINDOW_UPDATE, RST_STREAM and PRIORITY that were under way are no trouble",
            talking!(|c, _w| {
                c.still_serves(1).await;
                c.send(&Script::default().window(1, 1).reset(1, 8).frame(kind::PRIORITY, 0, 1, [0, 0, 0, 0, 1])).await;
                c.still_serves(3).await
            }),
            holds(),
        ),
    ]
}

fn numbers() -> Vec<Case> {
    vec![
        case(
            "5.1.1",
            "a client does not begin streams of even numbers",
            |s| s.get(2),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "5.1.1",
            "the number of a stream does not go down",
            |s| s.get(5).get(3).watch(0),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "5.1.1",
            "the number of a stream is not used again",
            |s| s.get(1).get(1).watch(0),
            connection_error(STREAM_CLOSED),
        ),
        case("5.1.1", "numbers may be left out", |s| s.get(1).get(9).get(1_001), status(200)),
        case(
            "5.1.1",
            "a number that was left out is closed: DATA",
            |s| s.held(5).data(3, 0, "x").watch(3),
            stream_error(STREAM_CLOSED),
        ),
        case(
            "5.1.1",
            "a number that was left out is closed: HEADERS",
            |s| s.held(5).get(3),
            stream_error(STREAM_CLOSED),
        ),
        case("5.1.1", "the greatest number is a stream's like any other", |s| s.get(0x7fff_ffff), status(200)),
        case(
            "5.1.2",
            "a stream beyond SETTINGS_MAX_CONCURRENT_STREAMS is refused",
            |s| (0..129).fold(s, |s, number| s.held(number * 2 + 1)),
            stream_error(REFUSED_STREAM),
        ),
        talk(
            "5.1.2",
            "a refused stream does not disturb the others, and gives room when one ends",
            talking!(|c, _w| {
                c.send(&(0..129).fold(Script::default(), |s, number| s.held(number * 2 + 1))).await;
                assert_eq!(c.verdict(257, true).await, Outcome::Reset(REFUSED_STREAM));
                c.send(&Script::default().reset(1, 8).get(259).window(259, 1_000)).await;
                assert_eq!(c.answer(259).await.status, 200);
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "5.1.2",
            "a stream that has ended does not count",
            talking!(|c, _w| {
                for first in (0..400).step_by(100) {
                    let streams = (first..first + 100).map(|number| number * 2 + 1);
                    c.send(&streams.fold(Script::default(), Script::get)).await;
                    let last = first * 2 + 199;
                    while c.unanswered((0..=last).filter(|stream| stream % 2 == 1)) > 0 {
                        let frame = c.next().await.unwrap();
                        assert!(!matches!(frame.kind, kind::GOAWAY | kind::RST_STREAM), "{:?}", c.seen);
                        c.collect(&frame);
                    }
                }
                Outcome::Holds
            }),
            holds(),
        ),
    ]
}

fn errors() -> Vec<Case> {
    vec![
        talk(
            "5.4.1",
            "GOAWAY names the last stream that was begun",
            talking!(|c, _w| {
                c.still_serves(1).await;
                c.still_serves(7).await;
                c.send(&Script::default().data(11, 0, "x")).await;
                let goaway = c.expect(kind::GOAWAY).await;
                assert_eq!((goaway.stream, goaway.number(0), goaway.number(4)), (0, 7, 1));
                while c.next().await.is_some() {}
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "5.4.2",
            "an error of one stream leaves the others alone",
            talking!(|c, _w| {
                c.send(&Script::default().held(1).get_with(3, &[("transfer-encoding", "chunked")])).await;
                assert!(matches!(c.verdict(3, true).await, Outcome::Reset(_) | Outcome::Answer(400)));
                c.send(&Script::default().window(1, 1 << 20).window(0, 1 << 20)).await;
                loop {
                    let frame = c.next().await.unwrap();
                    if c.collect(&frame) {
                        break;
                    }
                }
                assert_eq!(c.so_far(1).body.len(), crate::http2::world::BIG_BYTES);
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "5.4.2",
            "frames that were under way to a stream that the edge has reset are no trouble",
            talking!(|c, _w| {
                c.send(&Script::default().open_with(1, &[("content-length", "1")]).data(1, 0, "xx")).await;
                assert!(matches!(c.verdict(1, true).await, Outcome::Reset(_) | Outcome::Answer(400)));
                c.send(&Script::default().data(1, 0, vec![0; 10_000]).window(1, 9).reset(1, 8)).await;
                c.still_serves(3).await
            }),
            holds(),
        ),
    ]
}
