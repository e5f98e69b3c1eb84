//! Settings of both ends: RFC 9113 sections 6.5 to 6.5.3, and the effects of the settings.

use crate::http2::table::*;
use crate::http2::wire::{Conn, Script, flag, kind, request, setting};
use crate::http2::world::World;

/// Body bytes received for a GET of the large file, without any window update.
async fn bytes_within(c: &mut Conn, stream: u32, expected: usize) -> Outcome {
    while c.so_far(stream).body.len() < expected {
        let frame = c.next().await.expect("a part of the body");
        assert_ne!(frame.kind, kind::RST_STREAM);
        c.collect(&frame);
    }
    // Excess bytes would arrive now.
    c.fence().await;
    c.fence().await;
    assert_eq!(c.so_far(stream).body.len(), expected);
    Outcome::Holds
}

fn big(s: Script, stream: u32) -> Script {
    s.headers(stream, flag::WHOLE, request("GET", "/big.bin", &[]))
}

pub(crate) fn cases() -> Vec<Case> {
    [frames(), values(), followed(), own()].into_iter().flatten().collect()
}

fn frames() -> Vec<Case> {
    vec![
        talk(
            "6.5",
            "every SETTINGS is acknowledged once, with an empty one",
            talking!(|c, _w| {
                c.send(&Script::default().settings(&[]).settings(&[(setting::ENABLE_PUSH, 0)])).await;
                let (mut acknowledged, mut own) = (0, 0);
                // Including the acknowledgement of the preface's settings.
                while acknowledged < 3 || own < 1 {
                    let frame = c.expect(kind::SETTINGS).await;
                    assert_eq!(frame.stream, 0);
                    if frame.flags & flag::ACK == 0 {
                        own += 1;
                    } else {
                        assert!(frame.payload.is_empty());
                        acknowledged += 1;
                    }
                }
                Outcome::Holds
            }),
            holds(),
        ),
        case(
            "6.5",
            "an acknowledgement with a payload is FRAME_SIZE_ERROR",
            |s| s.frame(kind::SETTINGS, flag::ACK, 0, [0; 6]),
            connection_error(FRAME_SIZE_ERROR),
        ),
        case(
            "6.5",
            "SETTINGS on a stream are an error",
            |s| s.frame(kind::SETTINGS, 0, 1, []),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.5",
            "SETTINGS of 5 bytes are FRAME_SIZE_ERROR",
            |s| s.frame(kind::SETTINGS, 0, 0, [0; 5]),
            connection_error(FRAME_SIZE_ERROR),
        ),
        case(
            "6.5",
            "SETTINGS of 13 bytes are FRAME_SIZE_ERROR",
            |s| s.frame(kind::SETTINGS, 0, 0, [0; 13]),
            connection_error(FRAME_SIZE_ERROR),
        ),
        case(
            "6.5",
            "the acknowledgement of the edge's settings is taken",
            |s| s.frame(kind::SETTINGS, flag::ACK, 0, []).get(1),
            status(200),
        ),
        case(
            "6.5.3",
            "an acknowledgement of nothing is no reason to answer",
            |s| s.frame(kind::SETTINGS, flag::ACK, 0, []).frame(kind::SETTINGS, flag::ACK, 0, []),
            or(connection_error(PROTOCOL_ERROR), [Outcome::Ignored]),
        ),
    ]
}

fn values() -> Vec<Case> {
    vec![
        case(
            "6.5.2",
            "ENABLE_PUSH of 2 is an error",
            |s| s.settings(&[(setting::ENABLE_PUSH, 2)]),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.5.2",
            "ENABLE_PUSH of 0 and of 1 are taken, and nothing is pushed",
            |s| s.settings(&[(setting::ENABLE_PUSH, 1)]).settings(&[(setting::ENABLE_PUSH, 0)]).get(1),
            status(200),
        ),
        case(
            "6.5.2",
            "INITIAL_WINDOW_SIZE beyond 2^31-1 is FLOW_CONTROL_ERROR",
            |s| s.settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 31)]),
            connection_error(FLOW_CONTROL_ERROR),
        ),
        case(
            "6.5.2",
            "INITIAL_WINDOW_SIZE of 2^31-1 is taken",
            |s| s.settings(&[(setting::INITIAL_WINDOW_SIZE, (1 << 31) - 1)]).get(1),
            status(200),
        ),
        case(
            "6.5.2",
            "MAX_FRAME_SIZE below 16,384 is an error",
            |s| s.settings(&[(setting::MAX_FRAME_SIZE, 16_383)]),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.5.2",
            "MAX_FRAME_SIZE beyond 2^24-1 is an error",
            |s| s.settings(&[(setting::MAX_FRAME_SIZE, 1 << 24)]),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.5.2",
            "MAX_FRAME_SIZE of 16,384 and of 2^24-1 are taken",
            |s| {
                s.settings(&[(setting::MAX_FRAME_SIZE, 16_384)])
                    .settings(&[(setting::MAX_FRAME_SIZE, (1 << 24) - 1)])
                    .get(1)
            },
            status(200),
        ),
        case(
            "6.5.2",
            "MAX_CONCURRENT_STREAMS of 0 is about pushes, not about requests",
            |s| s.settings(&[(setting::MAX_CONCURRENT_STREAMS, 0)]).get(1),
            status(200),
        ),
        case(
            "6.5.2",
            "MAX_HEADER_LIST_SIZE of the client is advice",
            |s| s.settings(&[(setting::MAX_HEADER_LIST_SIZE, 100_000)]).get(1),
            status(200),
        ),
        case(
            "6.5.2",
            "HEADER_TABLE_SIZE of 2^32-1 is taken",
            |s| s.settings(&[(setting::HEADER_TABLE_SIZE, u32::MAX)]).get(1),
            status(200),
        ),
        case(
            "6.5.2",
            "the greatest number of settings that a frame can hold is taken",
            |s| s.settings(&vec![(0xfa, 1); 2_730]).get(1),
            status(200),
        ),
    ]
}

fn followed() -> Vec<Case> {
    vec![
        talk(
            "6.5.3",
            "values are processed in the order in which they come",
            talking!(|c, _w| {
                let twice = [(setting::INITIAL_WINDOW_SIZE, 100), (setting::INITIAL_WINDOW_SIZE, 7)];
                c.send(&big(Script::default().settings(&twice), 1)).await;
                bytes_within(c, 1, 7).await
            }),
            holds(),
        ),
        talk(
            "6.5.3",
            "values count from their acknowledgement on",
            talking!(|c, _w| {
                c.send(&Script::default().settings(&[(setting::INITIAL_WINDOW_SIZE, 11)])).await;
                for _ in 0..3 {
                    c.expect(kind::SETTINGS).await;
                }
                c.send(&big(Script::default(), 1)).await;
                bytes_within(c, 1, 11).await
            }),
            holds(),
        ),
        talk(
            "6.5.2",
            "DATA are no longer than MAX_FRAME_SIZE",
            talking!(|c, _w| {
                let windows = Script::default().settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]).window(0, 1 << 20);
                c.send(&big(windows, 1)).await;
                loop {
                    let frame = c.next().await.unwrap();
                    assert!(frame.payload.len() <= 16_384);
                    if c.collect(&frame) {
                        break;
                    }
                }
                assert_eq!(c.so_far(1).body, crate::http2::world::big());
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "6.5.2",
            "HEADER_TABLE_SIZE of 0 keeps everything out of the table",
            talking!(|c, _w| {
                c.send(&Script::default().settings(&[(setting::HEADER_TABLE_SIZE, 0)])).await;
                for _ in 0..3 {
                    c.expect(kind::SETTINGS).await;
                }
                c.decoder.size_max = 0;
                for stream in [1, 3, 5] {
                    c.still_serves(stream).await;
                }
                // RFC 7541 section 4.2: the first block after the change begins with the size update.
                assert_eq!(c.decoder.sizes, [0]);
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "6.5.2",
            "of two changes of HEADER_TABLE_SIZE, the smaller is said as well",
            talking!(|c, _w| {
                c.still_serves(1).await;
                let (small, large) = ([(setting::HEADER_TABLE_SIZE, 0)], [(setting::HEADER_TABLE_SIZE, 4_096)]);
                c.send(&Script::default().settings(&small).settings(&large)).await;
                for _ in 0..2 {
                    c.expect(kind::SETTINGS).await;
                }
                c.still_serves(3).await;
                assert_eq!(c.decoder.sizes.first(), Some(&0), "RFC 7541 section 4.2: {:?}", c.decoder.sizes);
                c.still_serves(5).await
            }),
            holds(),
        ),
        talk(
            "6.5.2",
            "a table that is larger than the edge's own is not filled beyond",
            talking!(|c, _w| {
                c.send(&Script::default().settings(&[(setting::HEADER_TABLE_SIZE, 1 << 20)])).await;
                c.decoder.size_max = 1 << 20;
                for stream in 0..20 {
                    c.still_serves(stream * 2 + 1).await;
                }
                Outcome::Holds
            }),
            holds(),
        ),
    ]
}

fn own() -> Vec<Case> {
    vec![
        talk(
            "6.5.2",
            "the edge's own settings have values that are allowed, and bound what a connection may hold",
            talking!(|c, _w| {
                let settings = c.settings_of_edge().await;
                let value = |id: u16| settings.iter().find(|(other, _)| *other == id).map(|(_, value)| *value);
                assert!(value(setting::ENABLE_PUSH).is_none_or(|value| value == 0));
                assert!(value(setting::MAX_CONCURRENT_STREAMS).is_some_and(|value| (100..=1_000).contains(&value)));
                assert!(value(setting::INITIAL_WINDOW_SIZE).is_none_or(|value| (65_535..=1 << 20).contains(&value)));
                assert!(value(setting::MAX_FRAME_SIZE).is_none_or(|value| value == 16_384));
                assert!(value(setting::MAX_HEADER_LIST_SIZE).is_some_and(|value| (16_384..=1 << 20).contains(&value)));
                assert!(value(setting::HEADER_TABLE_SIZE).is_none_or(|value| value <= 65_536));
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "6.9.2",
            "the window of the connection is at most a few megabytes",
            talking!(|c, _w| {
                c.fence().await;
                c.send(&Script::default().ping([9; 8])).await;
                let mut window = 65_535;
                loop {
                    let frame = c.next().await.unwrap();
                    match (frame.kind, frame.stream) {
                        (kind::WINDOW_UPDATE, 0) => window += frame.number(0),
                        (kind::PING, _) => break,
                        _ => {}
                    }
                }
                assert!((65_535..=4 << 20).contains(&window), "{window}");
                Outcome::Holds
            }),
            holds(),
        ),
    ]
}
