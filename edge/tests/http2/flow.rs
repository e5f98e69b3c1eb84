//! Flow control in both directions: RFC 9113 sections 5.2 and 6.9 to 6.9.2.

use crate::http2::table::*;
use crate::http2::wire::{Conn, Script, flag, kind, request, setting};
use crate::http2::world::{BIG_BYTES, World};

const MOST: u32 = (1 << 31) - 1;

/// GET request for the large file with an initial window for every stream.
fn big(window: u32) -> Script {
    Script::default().settings(&[(setting::INITIAL_WINDOW_SIZE, window)]).headers(
        1,
        flag::WHOLE,
        request("GET", "/big.bin", &[]),
    )
}

/// Reads until `total` bytes arrived on `stream`, and checks that no further bytes follow.
async fn exactly(c: &mut Conn, stream: u32, total: usize) {
    while c.so_far(stream).body.len() < total {
        let frame = c.next().await.expect("a part of the body");
        assert!(!matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY), "{:?}", c.seen);
        c.collect(&frame);
    }
    c.fence().await;
    c.fence().await;
    assert_eq!(c.so_far(stream).body.len(), total);
}

/// Sends `total` bytes in DATA frames of `payload` bytes and `pad` bytes of padding, within the windows.
async fn upload(c: &mut Conn, stream: u32, total: usize, payload: usize, pad: usize) {
    let settings = c.settings_of_edge().await;
    let initial = settings.iter().find(|(id, _)| *id == setting::INITIAL_WINDOW_SIZE).map_or(65_535, |(_, size)| *size);
    let (mut of_stream, mut of_connection) = (i64::from(initial), 65_535_i64);
    // The edge may use the windows of the settings once acknowledged.
    c.send(&Script::default().frame(kind::SETTINGS, flag::ACK, 0, [])).await;
    let mut sent = 0;
    while sent < total {
        let part = payload.min(total - sent);
        let length = if pad == 0 { part } else { part + pad + 1 };
        if i64::try_from(length).unwrap() <= of_stream.min(of_connection) {
            let flags = if sent + part == total { flag::END_STREAM } else { 0 };
            let script = match u8::try_from(pad).unwrap() {
                0 => Script::default().data(stream, flags, vec![b'u'; part]),
                pad => Script::default().data(
                    stream,
                    flags | flag::PADDED,
                    [vec![pad], vec![b'u'; part], vec![0; usize::from(pad)]].concat(),
                ),
            };
            c.send(&script).await;
            (sent, of_stream, of_connection) = (sent + part, of_stream - length as i64, of_connection - length as i64);
            continue;
        }
        let frame = c.next().await.expect("the edge goes on");
        assert!(!matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY), "{:?}", c.seen);
        match (frame.kind, frame.stream) {
            (kind::WINDOW_UPDATE, 0) => of_connection += i64::from(frame.number(0)),
            (kind::WINDOW_UPDATE, other) if other == stream => of_stream += i64::from(frame.number(0)),
            _ => {
                c.collect(&frame);
            }
        }
    }
}

pub(crate) fn cases() -> Vec<Case> {
    [sending(), updates(), changes(), receiving()].into_iter().flatten().collect()
}

fn sending() -> Vec<Case> {
    vec![
        talk(
            "6.9.1",
            "no more comes than the window of the stream",
            talking!(|c, _w| {
                c.send(&big(10)).await;
                exactly(c, 1, 10).await;
                c.send(&Script::default().window(1, 5)).await;
                exactly(c, 1, 15).await;
                c.send(&Script::default().window(1, 1).window(1, 1)).await;
                exactly(c, 1, 17).await;
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "6.9.1",
            "no more comes than the window of the connection, on all streams together",
            talking!(|c, _w| {
                let other = request("GET", "/big.bin", &[]);
                c.send(&big(1 << 20).headers(3, flag::WHOLE, other)).await;
                while c.so_far(1).body.len() + c.so_far(3).body.len() < 65_535 {
                    let frame = c.next().await.unwrap();
                    c.collect(&frame);
                }
                c.fence().await;
                c.fence().await;
                assert_eq!(c.so_far(1).body.len() + c.so_far(3).body.len(), 65_535);
                c.send(&Script::default().window(0, 1 << 20)).await;
                assert_eq!(c.answer(1).await.body.len(), BIG_BYTES);
                if c.so_far(3).body.len() < BIG_BYTES {
                    c.answer(3).await;
                }
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "6.9.1",
            "a head comes while the window is 0, and so does the end of an empty body",
            talking!(|c, _w| {
                c.send(&Script::default().held(1).headers(3, flag::WHOLE, request("HEAD", "/big.bin", &[]))).await;
                let head = c.answer(3).await;
                assert_eq!((head.status, head.field("content-length"), head.body.len()), (200, "300000", 0));
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "5.2",
            "a stream without a window does not hold up another",
            talking!(|c, _w| {
                c.send(&Script::default().held(1).get(3).window(3, 1_000)).await;
                assert_eq!(c.answer(3).await.status, 200);
                c.send(&Script::default().window(1, 1 << 20).window(0, 1 << 20)).await;
                assert_eq!(c.answer(1).await.body, crate::http2::world::big());
                Outcome::Holds
            }),
            holds(),
        ),
    ]
}

fn updates() -> Vec<Case> {
    vec![
        case(
            "6.9",
            "an increment of 0 on a stream is an error",
            |s| s.held(1).window(1, 0),
            stream_error(PROTOCOL_ERROR),
        ),
        case(
            "6.9",
            "an increment of 0 on the connection is an error",
            |s| s.window(0, 0),
            connection_error(PROTOCOL_ERROR),
        ),
        case(
            "6.9",
            "WINDOW_UPDATE of 3 bytes is FRAME_SIZE_ERROR",
            |s| s.held(1).frame(kind::WINDOW_UPDATE, 0, 1, [0, 0, 1]),
            connection_error(FRAME_SIZE_ERROR),
        ),
        case(
            "6.9",
            "WINDOW_UPDATE of 5 bytes is FRAME_SIZE_ERROR",
            |s| s.frame(kind::WINDOW_UPDATE, 0, 0, [0, 0, 0, 1, 0]),
            connection_error(FRAME_SIZE_ERROR),
        ),
        talk(
            "6.9",
            "the reserved bit of an increment is ignored",
            talking!(|c, _w| {
                c.send(&Script::default().held(1).window(1, 1 << 31 | 5)).await;
                exactly(c, 1, 5).await;
                Outcome::Holds
            }),
            holds(),
        ),
        case(
            "6.9.1",
            "a window of a stream beyond 2^31-1 is FLOW_CONTROL_ERROR",
            |s| s.held(1).window(1, MOST).window(1, 1),
            stream_error(FLOW_CONTROL_ERROR),
        ),
        case(
            "6.9.1",
            "a window of the connection beyond 2^31-1 is FLOW_CONTROL_ERROR",
            |s| s.window(0, MOST - 65_535).window(0, 1),
            connection_error(FLOW_CONTROL_ERROR),
        ),
        case(
            "6.9.1",
            "windows of exactly 2^31-1 are taken",
            |s| s.window(0, MOST - 65_535).held(1).window(1, MOST),
            status(200),
        ),
    ]
}

fn changes() -> Vec<Case> {
    vec![
        talk(
            "6.9.2",
            "a larger INITIAL_WINDOW_SIZE lets streams go on that have begun",
            talking!(|c, _w| {
                c.send(&big(0)).await;
                exactly(c, 1, 0).await;
                c.send(&Script::default().settings(&[(setting::INITIAL_WINDOW_SIZE, 100)])).await;
                exactly(c, 1, 100).await;
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "6.9.2",
            "a smaller INITIAL_WINDOW_SIZE can make a window negative, which is kept account of",
            talking!(|c, _w| {
                c.send(&big(1_000)).await;
                exactly(c, 1, 1_000).await;
                // The window is now -1,000, then 0, then 1.
                c.send(&Script::default().settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]).window(1, 1_000)).await;
                exactly(c, 1, 1_000).await;
                c.send(&Script::default().window(1, 1)).await;
                exactly(c, 1, 1_001).await;
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "6.9.2",
            "SETTINGS do not change the window of the connection",
            talking!(|c, _w| {
                c.send(&big(1 << 30)).await;
                exactly(c, 1, 65_535).await;
                c.send(&Script::default().settings(&[(setting::INITIAL_WINDOW_SIZE, MOST)])).await;
                exactly(c, 1, 65_535).await;
                Outcome::Holds
            }),
            holds(),
        ),
        case(
            "6.9.2",
            "an INITIAL_WINDOW_SIZE that makes a window overflow is FLOW_CONTROL_ERROR",
            |s| s.held(1).window(1, MOST).settings(&[(setting::INITIAL_WINDOW_SIZE, 1)]).watch(0),
            connection_error(FLOW_CONTROL_ERROR),
        ),
    ]
}

fn receiving() -> Vec<Case> {
    vec![
        talk(
            "6.9.1",
            "an upload larger than every window goes through",
            talking!(|c, _w| {
                let windows = Script::default().settings(&[(setting::INITIAL_WINDOW_SIZE, MOST)]).window(0, 1 << 30);
                c.send(&windows.open(1)).await;
                upload(c, 1, 3_000_000, 16_384, 0).await;
                assert_eq!(c.answer(1).await.body.len(), 3_000_000);
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "6.9.1",
            "padding counts, and is given back",
            talking!(|c, _w| {
                let windows = Script::default().settings(&[(setting::INITIAL_WINDOW_SIZE, MOST)]).window(0, 1 << 30);
                c.send(&windows.open(1)).await;
                upload(c, 1, 1_500_000, 1_000, 255).await;
                assert_eq!(c.answer(1).await.body.len(), 1_500_000);
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "6.9.1",
            "an upload that nobody reads costs the connection no window for ever",
            talking!(|c, _w| {
                // Each request is answered with 405 while the body stays unread; all bodies exceed the connection's
                // window several times.
                let mut stream = 1;
                for _ in 0..100 {
                    c.send(&Script::default().headers(stream, flag::END_HEADERS, request("POST", "/", &[]))).await;
                    assert_eq!(c.answer(stream).await.status, 405);
                    let body = Script::default().data(stream, 0, vec![0; 16_384]).data(
                        stream,
                        flag::END_STREAM,
                        vec![0; 16_384],
                    );
                    c.send(&body).await;
                    c.fence().await;
                    stream += 2;
                }
                c.still_serves(stream).await
            }),
            holds(),
        ),
        talk(
            "6.9.1",
            "DATA beyond the window of a stream or of the connection is FLOW_CONTROL_ERROR",
            talking!(|c, _w| {
                c.send(&Script::default().headers(1, flag::END_HEADERS, request("POST", "/deaf", &[]))).await;
                // The backend does not read: buffers fill up, and the windows are not extended.
                let script = Script::default().data(1, 0, vec![0; 16_384]);
                for _ in 0..2_000 {
                    if c.try_send(&script).await.is_err() {
                        break;
                    }
                }
                // Data sent before the client received the first error may exceed the connection's window, too: the
                // first error decides.
                loop {
                    let Some(frame) = c.next().await else { return Outcome::Closed };
                    match frame.kind {
                        kind::RST_STREAM if frame.stream == 1 => return Outcome::Reset(Code(frame.number(0))),
                        kind::GOAWAY => return Outcome::GoAway(Code(frame.number(4))),
                        _ => {}
                    }
                }
            }),
            stream_error(FLOW_CONTROL_ERROR),
        ),
    ]
}
