//! Rules for all frames: RFC 9113 sections 4.1 to 4.3 and 5.5.

use crate::http2::fields::{indexed, indexed_literal, literal};
use crate::http2::table::*;
use crate::http2::wire::{HOST, Script, flag, kind, request};
use crate::http2::world::World;

const UNKNOWN: u8 = 0x16;

/// Request with `:authority` from the dynamic table.
fn by_table() -> Vec<u8> {
    [indexed(2), indexed(7), indexed(4), indexed(62)].concat()
}

/// Malformed request that adds `:authority` to the dynamic table.
fn malformed_insert() -> Vec<u8> {
    [indexed(2), indexed(7), indexed(4), indexed_literal(":authority", HOST), literal("connection", "close")].concat()
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("4.1", "a frame of an unknown type is ignored", |s| s.frame(UNKNOWN, 0xff, 0, [7; 9]).get(1), status(200)),
        case(
            "4.1",
            "a frame of an unknown type is ignored on a stream that is idle, open, or closed",
            |s| {
                s.frame(UNKNOWN, 0, 7, [])
                    .open(1)
                    .frame(UNKNOWN, 1, 1, [1])
                    .data(1, flag::END_STREAM, "x")
                    .frame(UNKNOWN, 0, 1, [2])
                    .watch(1)
            },
            status(200),
        ),
        case(
            "4.1",
            "flags without a meaning are ignored on PING",
            |s| s.frame(kind::PING, 0xfe, 0, [3; 8]).get(1),
            status(200),
        ),
        case(
            "4.1",
            "flags without a meaning are ignored on SETTINGS",
            |s| s.frame(kind::SETTINGS, 0xfe, 0, []).get(1),
            status(200),
        ),
        case(
            "4.1",
            "flags without a meaning are ignored on HEADERS and DATA",
            |s| {
                let others = 0x02 | 0x10 | 0x40 | 0x80;
                s.headers(1, flag::END_HEADERS | others, request("POST", "/api/echo", &[])).data(
                    1,
                    flag::END_STREAM | others | 0x04,
                    "x",
                )
            },
            status(200),
        ),
        case(
            "4.1",
            "flags without a meaning are ignored on RST_STREAM and WINDOW_UPDATE",
            |s| {
                s.held(1)
                    .frame(kind::WINDOW_UPDATE, 0xff, 1, 1_u32.to_be_bytes())
                    .frame(kind::RST_STREAM, 0xff, 1, 8_u32.to_be_bytes())
                    .get(3)
                    .window(3, 9_999)
            },
            status(200),
        ),
        case(
            "4.1",
            "the reserved bit of a stream's number is ignored",
            |s| s.headers(1 | 1 << 31, flag::WHOLE, request("GET", "/", &[])).watch(1),
            status(200),
        ),
        case(
            "4.2",
            "a frame of 16,384 bytes is taken",
            |s| s.open(1).data(1, flag::END_STREAM, vec![b'x'; 16_384]),
            status(200),
        ),
        case(
            "4.2",
            "DATA of more than 16,384 bytes is FRAME_SIZE_ERROR",
            |s| s.open(1).data(1, flag::END_STREAM, vec![b'x'; 16_385]),
            stream_error(FRAME_SIZE_ERROR),
        ),
        case(
            "4.2",
            "HEADERS of more than 16,384 bytes are FRAME_SIZE_ERROR",
            |s| s.headers(1, flag::WHOLE, request("GET", "/", &[("x", &"x".repeat(16_385))])),
            connection_error(FRAME_SIZE_ERROR),
        ),
        case(
            "4.2",
            "SETTINGS of more than 16,384 bytes are FRAME_SIZE_ERROR",
            |s| s.settings(&vec![(0xff, 1); 2_731]),
            connection_error(FRAME_SIZE_ERROR),
        ),
        case(
            "4.2",
            "an unknown frame of more than 16,384 bytes is FRAME_SIZE_ERROR",
            |s| s.frame(UNKNOWN, 0, 0, vec![0; 16_385]),
            connection_error(FRAME_SIZE_ERROR),
        ),
        case(
            "4.2",
            "a length of 16 MB is an error before its bytes have come",
            |s| s.open(1).raw([0xff, 0xff, 0xff, kind::DATA, 0, 0, 0, 0, 1]),
            stream_error(FRAME_SIZE_ERROR),
        ),
        case(
            "4.3",
            "a field block that cannot be decoded is COMPRESSION_ERROR",
            |s| s.headers(1, flag::WHOLE, [0x40, 0x7f]),
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "4.3",
            "a field block that ends within a field is COMPRESSION_ERROR",
            |s| {
                let block = request("GET", "/", &[]);
                s.headers(1, flag::WHOLE, &block[..block.len() - 1])
            },
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "4.3",
            "a field block that cannot be decoded is COMPRESSION_ERROR in trailers too",
            |s| s.open(1).headers(1, flag::WHOLE, [0x80]),
            connection_error(COMPRESSION_ERROR),
        ),
        case(
            "4.3",
            "a field block is not interrupted by DATA",
            |s| s.open(1).headers(3, flag::END_STREAM, request("GET", "/", &[])).data(1, 0, "x"),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "4.3",
            "a field block is not interrupted by PING",
            |s| s.headers(1, flag::END_STREAM, request("GET", "/", &[])).ping([0; 8]),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "4.3",
            "a field block is not interrupted by another one",
            |s| s.headers(1, flag::END_STREAM, request("GET", "/", &[])).get(3),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "4.3",
            "a field block is not interrupted by PRIORITY of its own stream",
            |s| s.headers(1, flag::END_STREAM, request("GET", "/", &[])).frame(kind::PRIORITY, 0, 1, [0, 0, 0, 0, 9]),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "4.3",
            "the table of fields is kept in step by a request that is malformed",
            |s| s.headers(1, flag::WHOLE, malformed_insert()).headers(3, flag::WHOLE, by_table()),
            status(200),
        ),
        talk(
            "4.3",
            "the table of fields is kept in step by trailers on a stream that was reset",
            talking!(|c, _w| {
                // The edge resets a stream whose body exceeds the content length.
                c.send(&Script::default().open_with(1, &[("content-length", "1")]).data(1, 0, "xx")).await;
                assert!(matches!(c.verdict(1, false).await, Outcome::Reset(_) | Outcome::Answer(400)));
                let trailers = indexed_literal(":authority", HOST);
                let script = Script::default().headers(1, flag::WHOLE, trailers).headers(3, flag::WHOLE, by_table());
                c.send(&script).await;
                assert_eq!(c.answer(3).await.status, 200);
                Outcome::Holds
            }),
            holds(),
        ),
        case(
            "5.5",
            "an unknown frame within a field block is an error",
            |s| {
                s.headers(1, flag::END_STREAM, request("GET", "/", &[])).frame(UNKNOWN, 0, 1, []).continuation(
                    1,
                    flag::END_HEADERS,
                    [],
                )
            },
            connection_error(PROTOCOL_ERROR),
        ),
        case("5.5", "an unknown setting is ignored", |s| s.settings(&[(0x7a7a, 0xffff_ffff)]).get(1), status(200)),
        case(
            "5.5",
            "the frames of ALTSVC and ORIGIN are ignored from a client",
            |s| s.frame(0xa, 0, 0, [0, 0]).frame(0xc, 0, 0, []).frame(0x10, 0, 0, [0, 0, 0, 1]).get(1),
            status(200),
        ),
    ]
}
