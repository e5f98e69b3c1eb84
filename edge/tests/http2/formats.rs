//! Format of each frame type: RFC 9113 sections 6.1 to 6.4, 6.6 to 6.8 and 6.10.

use crate::http2::table::*;
use crate::http2::wire::{Script, flag, kind, request};
use crate::http2::world::World;

fn padded(pad: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    [&[pad], payload.as_ref(), &vec![0; usize::from(pad)]].concat()
}

pub(crate) fn cases() -> Vec<Case> {
    [data(), headers(), priority(), reset(), ping(), goaway(), continuation()].into_iter().flatten().collect()
}

fn data() -> Vec<Case> {
    vec![
        case("6.1", "DATA on stream 0 is an error", |s| s.data(0, 0, "x"), connection_error(PROTOCOL_ERROR)),
        talk(
            "6.1",
            "padding of DATA is no part of the body",
            talking!(|c, _w| {
                c.send(&Script::default().open(1).data(1, flag::PADDED, padded(255, "one ")).data(
                    1,
                    flag::PADDED | flag::END_STREAM,
                    padded(0, "two"),
                ))
                .await;
                assert_eq!(c.answer(1).await.body, b"one two");
                Outcome::Holds
            }),
            holds(),
        ),
        case(
            "6.1",
            "DATA that is all padding is an empty part",
            |s| s.open(1).data(1, flag::PADDED, padded(9, "")).data(1, flag::END_STREAM, ""),
            status(200),
        ),
        case(
            "6.1",
            "padding as long as the payload is an error",
            |s| s.open(1).data(1, flag::PADDED, [5, 0, 0, 0, 0]),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.1",
            "padding longer than the payload is an error",
            |s| s.open(1).data(1, flag::PADDED | flag::END_STREAM, [255, 0]),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.1",
            "padded DATA without its length of padding is an error",
            |s| s.open(1).data(1, flag::PADDED, []),
            stream_error(FRAME_SIZE_ERROR),
        ),
    ]
}

fn headers() -> Vec<Case> {
    vec![
        case("6.2", "HEADERS on stream 0 are an error", |s| s.get(0), connection_error(PROTOCOL_ERROR)),
        case(
            "6.2",
            "padded HEADERS are taken",
            |s| s.headers(1, flag::WHOLE | flag::PADDED, padded(77, request("GET", "/", &[]))),
            status(200),
        ),
        case(
            "6.2",
            "HEADERS with a priority are taken",
            |s| {
                s.headers(
                    1,
                    flag::WHOLE | flag::PRIORITY,
                    [&[0x80, 0, 0, 0, 255][..], &request("GET", "/", &[])].concat(),
                )
            },
            status(200),
        ),
        case(
            "6.2",
            "padded HEADERS with a priority are taken",
            |s| {
                let block = [&[0, 0, 0, 3, 1][..], &request("GET", "/", &[])].concat();
                s.headers(1, flag::WHOLE | flag::PRIORITY | flag::PADDED, padded(3, block))
            },
            status(200),
        ),
        case(
            "6.2",
            "padding longer than the field block is an error",
            |s| {
                let block = request("GET", "/", &[]);
                s.headers(1, flag::WHOLE | flag::PADDED, [&[255][..], &block[..20]].concat())
            },
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.2",
            "padding that leaves no room for the priority is an error",
            |s| s.headers(1, flag::WHOLE | flag::PADDED | flag::PRIORITY, [4, 0, 0, 0, 0, 0, 0]),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.2",
            "HEADERS too short for their priority are FRAME_SIZE_ERROR",
            |s| s.headers(1, flag::WHOLE | flag::PRIORITY, [0, 0, 0]),
            connection_error(FRAME_SIZE_ERROR),
        ),
        case(
            "6.2",
            "padded HEADERS without their length of padding are FRAME_SIZE_ERROR",
            |s| s.headers(1, flag::WHOLE | flag::PADDED, []),
            connection_error(FRAME_SIZE_ERROR),
        ),
    ]
}

fn priority() -> Vec<Case> {
    let ignored_or = |allowed: Allowed| or(allowed, [Outcome::Answer(200)]);
    vec![
        case(
            "6.3",
            "PRIORITY on stream 0 is an error",
            |s| s.frame(kind::PRIORITY, 0, 0, [0, 0, 0, 1, 1]),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.3",
            "PRIORITY of 4 bytes is FRAME_SIZE_ERROR",
            |s| s.open(1).frame(kind::PRIORITY, 0, 1, [0; 4]),
            stream_error(FRAME_SIZE_ERROR),
        ),
        case(
            "6.3",
            "PRIORITY of 6 bytes is FRAME_SIZE_ERROR",
            |s| s.open(1).frame(kind::PRIORITY, 0, 1, [0; 6]),
            stream_error(FRAME_SIZE_ERROR),
        ),
        case(
            "6.3",
            "PRIORITY in any state of a stream changes nothing",
            |s| {
                let priority = [0, 0, 0, 0, 200];
                s.frame(kind::PRIORITY, 0, 9, priority)
                    .open(1)
                    .frame(kind::PRIORITY, 0, 1, priority)
                    .data(1, flag::END_STREAM, "x")
                    .frame(kind::PRIORITY, 0, 1, priority)
                    .get(11)
                    .watch(1)
            },
            status(200),
        ),
        case(
            "5.3.2",
            "PRIORITY of a stream upon itself is ignored, or an error of that stream",
            |s| s.open(1).frame(kind::PRIORITY, 0, 1, [0, 0, 0, 1, 1]).data(1, flag::END_STREAM, "x"),
            ignored_or(stream_error(PROTOCOL_ERROR)),
        ),
        case(
            "5.3.2",
            "HEADERS that depend on themselves are taken, or an error of their stream",
            |s| s.headers(1, flag::WHOLE | flag::PRIORITY, [&[0, 0, 0, 1, 1][..], &request("GET", "/", &[])].concat()),
            ignored_or(stream_error(PROTOCOL_ERROR)),
        ),
        case(
            "5.3.2",
            "HEADERS that depend on themselves keep the table of fields in step",
            |s| {
                use crate::http2::fields::{indexed, indexed_literal};
                let fields = [indexed(2), indexed(7), indexed(4)].concat();
                let first =
                    [&[0, 0, 0, 1, 1][..], &fields, &indexed_literal(":authority", crate::http2::wire::HOST)].concat();
                s.headers(1, flag::WHOLE | flag::PRIORITY, first).headers(
                    3,
                    flag::WHOLE,
                    [fields, indexed(62)].concat(),
                )
            },
            ignored_or(vec![]),
        ),
    ]
}

fn reset() -> Vec<Case> {
    vec![
        case("6.4", "RST_STREAM on stream 0 is an error", |s| s.reset(0, 8), connection_error(PROTOCOL_ERROR)),
        case(
            "6.4",
            "RST_STREAM of 3 bytes is FRAME_SIZE_ERROR",
            |s| s.open(1).frame(kind::RST_STREAM, 0, 1, [0; 3]),
            connection_error(FRAME_SIZE_ERROR),
        ),
        case(
            "6.4",
            "RST_STREAM of 5 bytes is FRAME_SIZE_ERROR",
            |s| s.open(1).frame(kind::RST_STREAM, 0, 1, [0; 5]),
            connection_error(FRAME_SIZE_ERROR),
        ),
        talk(
            "6.4",
            "nothing comes on a stream after its RST_STREAM",
            talking!(|c, _w| {
                c.send(&Script::default().held(1)).await;
                assert_eq!(c.expect(kind::HEADERS).await.status(), 200);
                c.send(&Script::default().reset(1, 8).window(1, 1_000)).await;
                c.fence().await;
                c.fence().await;
                assert!(c.so_far(1).body.is_empty());
                Outcome::Holds
            }),
            holds(),
        ),
        case("5.4.2", "RST_STREAM is not answered with RST_STREAM", |s| s.open(1).reset(1, 2), vec![Outcome::Ignored]),
        case(
            "7",
            "RST_STREAM with an unknown code is like any other",
            |s| s.open(1).reset(1, 0xdead_beef).get(3),
            status(200),
        ),
        case(
            "6.6",
            "PUSH_PROMISE of a client is an error",
            |s| {
                s.open(1).frame(
                    kind::PUSH_PROMISE,
                    flag::END_HEADERS,
                    1,
                    [&[0, 0, 0, 2][..], &request("GET", "/", &[])].concat(),
                )
            },
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.6",
            "PUSH_PROMISE on stream 0 is an error",
            |s| s.frame(kind::PUSH_PROMISE, flag::END_HEADERS, 0, [0, 0, 0, 2]),
            connection_error(PROTOCOL_ERROR),
        ),
    ]
}

fn ping() -> Vec<Case> {
    vec![
        talk(
            "6.7",
            "PING comes back with its own bytes",
            talking!(|c, _w| {
                for payload in [[0; 8], [255; 8], *b"pingpong"] {
                    c.send(&Script::default().ping(payload)).await;
                    let pong = c.expect(kind::PING).await;
                    assert_eq!((pong.payload, pong.flags, pong.stream), (payload.to_vec(), flag::ACK, 0));
                }
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "6.7",
            "an acknowledged PING does not come back",
            talking!(|c, _w| {
                c.send(&Script::default().frame(kind::PING, flag::ACK, 0, [1; 8]).ping([2; 8])).await;
                assert_eq!(c.expect(kind::PING).await.payload, [2; 8]);
                Outcome::Holds
            }),
            holds(),
        ),
        case(
            "6.7",
            "PING on a stream is an error",
            |s| s.frame(kind::PING, 0, 1, [0; 8]),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.7",
            "PING of 7 bytes is FRAME_SIZE_ERROR",
            |s| s.frame(kind::PING, 0, 0, [0; 7]),
            connection_error(FRAME_SIZE_ERROR),
        ),
        case(
            "6.7",
            "PING of 9 bytes is FRAME_SIZE_ERROR",
            |s| s.frame(kind::PING, 0, 0, [0; 9]),
            connection_error(FRAME_SIZE_ERROR),
        ),
        case(
            "6.7",
            "an acknowledged PING of 0 bytes is FRAME_SIZE_ERROR",
            |s| s.frame(kind::PING, flag::ACK, 0, []),
            connection_error(FRAME_SIZE_ERROR),
        ),
    ]
}

fn goaway() -> Vec<Case> {
    vec![
        case(
            "6.8",
            "GOAWAY on a stream is an error",
            |s| s.open(1).frame(kind::GOAWAY, 0, 1, [0; 8]),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.8",
            "GOAWAY of 7 bytes is FRAME_SIZE_ERROR",
            |s| s.frame(kind::GOAWAY, 0, 0, [0; 7]),
            connection_error(FRAME_SIZE_ERROR),
        ),
        talk(
            "6.8",
            "a request that is under way when the client says GOAWAY is answered, and then it ends",
            talking!(|c, _w| {
                c.send(&Script::default().held(1).frame(kind::GOAWAY, 0, 0, [&[0; 8][..], b"good bye"].concat())).await;
                // The edge's own GOAWAY may precede or follow the response.
                let head = loop {
                    let frame = c.next().await.unwrap();
                    if frame.kind == kind::HEADERS {
                        break frame;
                    }
                };
                assert_eq!(head.status(), 200);
                c.send(&Script::default().window(1, 1 << 20).window(0, 1 << 20)).await;
                while let Some(frame) = c.next().await {
                    assert_ne!(frame.kind, kind::RST_STREAM);
                    c.collect(&frame);
                }
                assert_eq!(c.so_far(1).body.len(), crate::http2::world::BIG_BYTES);
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "7",
            "GOAWAY with an unknown code ends the connection like any other",
            talking!(|c, _w| {
                c.send(&Script::default().frame(kind::GOAWAY, 0, 0, [0, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef])).await;
                while c.next().await.is_some() {}
                Outcome::Holds
            }),
            holds(),
        ),
    ]
}

fn continuation() -> Vec<Case> {
    vec![
        case(
            "6.10",
            "CONTINUATION on stream 0 is an error",
            |s| s.continuation(0, flag::END_HEADERS, request("GET", "/", &[])),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.10",
            "CONTINUATION without HEADERS is an error",
            |s| s.continuation(1, flag::END_HEADERS, request("GET", "/", &[])),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.10",
            "CONTINUATION after END_HEADERS is an error",
            |s| s.open(1).continuation(1, flag::END_HEADERS, []),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.10",
            "CONTINUATION after CONTINUATION with END_HEADERS is an error",
            |s| {
                s.headers(1, 0, request("POST", "/api/echo", &[])).continuation(1, flag::END_HEADERS, []).continuation(
                    1,
                    flag::END_HEADERS,
                    [],
                )
            },
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.10",
            "CONTINUATION after DATA is an error",
            |s| s.open(1).data(1, 0, "x").continuation(1, flag::END_HEADERS, []),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.10",
            "CONTINUATION of another stream is an error",
            |s| s.headers(1, flag::END_STREAM, request("GET", "/", &[])).continuation(3, flag::END_HEADERS, []),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.10",
            "a field block in several frames is one, wherever it is cut",
            |s| {
                let block = request("GET", "/", &[("x-long", "0123456789")]);
                let (last, parts) = (block.len() / 30 * 30, block.chunks(30));
                parts.enumerate().fold(s, |s, (number, part)| match number {
                    0 => s.headers(1, flag::END_STREAM, part),
                    _ => s.continuation(1, if number * 30 >= last { flag::END_HEADERS } else { 0 }, part),
                })
            },
            status(200),
        ),
        case(
            "6.10",
            "an empty HEADERS and an empty CONTINUATION are parts of a block",
            |s| {
                s.headers(1, flag::END_STREAM, []).continuation(1, 0, request("GET", "/", &[])).continuation(
                    1,
                    flag::END_HEADERS,
                    [],
                )
            },
            status(200),
        ),
    ]
}
