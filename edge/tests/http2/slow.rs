//! Slow or stalled clients: heads, bodies, responses, handshakes, and idle connections. The cases check that each ends,
//! not when.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http2::table::*;
use crate::http2::wire::{Conn, PATIENCE, Script, flag, kind, request, setting};
use crate::http2::world::World;
use crate::support::{Setup, edge};

/// Maximum requests of one connection.
const REQUESTS_MAX: u32 = 10;

/// Edge with short timeouts.
pub(crate) fn setup() -> Setup {
    edge()
        .with_limit("header_ms_max", 300)
        .with_limit("body_ms_max", 300)
        .with_limit("write_ms_max", 400)
        .with_limit("idle_ms_max", 500)
        .with_limit("handshake_ms_max", 1_000)
        .with_limit("requests_per_connection_max", REQUESTS_MAX.into())
}

/// Reads to the end of the connection and checks that no request is answered.
async fn unanswered(c: &mut Conn) -> Outcome {
    while let Some(frame) = c.next().await {
        assert_ne!(frame.kind, kind::HEADERS, "{:?}", c.seen);
    }
    Outcome::Closed
}

/// Reads a socket to the end.
async fn until_closed(stream: &mut TcpStream) -> usize {
    let mut all = Vec::new();
    // A reset counts as the end, too.
    timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("the edge closes").ok();
    all.len()
}

/// Cases for both engines.
pub(crate) fn cases() -> Vec<Case> {
    [heads(), rests(), handshakes()].into_iter().flatten().collect()
}

fn heads() -> Vec<Case> {
    vec![
        bare_talk(
            "10.5",
            "a preface that does not come is not waited for",
            talking!(|c, _w| { unanswered(c).await }),
            vec![Outcome::Closed],
        ),
        bare_talk(
            "10.5",
            "half a preface is not waited for",
            talking!(|c, _w| {
                c.send(&Script::default().raw(&crate::http2::wire::MAGIC[..11])).await;
                unanswered(c).await
            }),
            vec![Outcome::Closed],
        ),
        talk(
            "10.5",
            "a head that does not end is not waited for",
            talking!(|c, _w| {
                c.send(&Script::default().headers(1, flag::END_STREAM, request("GET", "/", &[]))).await;
                unanswered(c).await
            }),
            vec![Outcome::Closed],
        ),
        talk(
            "10.5",
            "half a frame of a head is not waited for",
            talking!(|c, _w| {
                let whole = Script::default().get(1).bytes;
                c.send(&Script::default().raw(&whole[..whole.len() / 2])).await;
                unanswered(c).await
            }),
            vec![Outcome::Closed],
        ),
        talk(
            "10.5",
            "a second head that does not end is not waited for",
            talking!(|c, _w| {
                c.still_serves(1).await;
                c.send(&Script::default().headers(3, flag::END_STREAM, request("GET", "/", &[]))).await;
                unanswered(c).await
            }),
            vec![Outcome::Closed],
        ),
        talk(
            "10.5",
            "a head may come byte by byte, each in a record of its own",
            talking!(|c, _w| {
                c.drip(&Script::default().get(1).bytes).await;
                assert_eq!(c.answer(1).await.status, 200);
                Outcome::Holds
            }),
            holds(),
        ),
    ]
}

fn rests() -> Vec<Case> {
    vec![
        talk(
            "9.1",
            "a connection that lies idle is told to go, without an error",
            talking!(|c, _w| {
                c.still_serves(1).await;
                let mut codes = Vec::new();
                while let Some(frame) = c.next().await {
                    if frame.kind == kind::GOAWAY {
                        codes.push(Code(frame.number(4)));
                    }
                }
                assert!(!codes.is_empty() && codes.iter().all(|code| *code == NO_ERROR), "{:?}", c.seen);
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "10.5",
            "a client that gives no window to any of many streams holds none of them for ever",
            talking!(|c, _w| {
                let s = Script::default().settings(&[(setting::INITIAL_WINDOW_SIZE, 1)]);
                let many =
                    (0..9).fold(s, |s, number| s.headers(number * 2 + 1, flag::WHOLE, request("GET", "/big.bin", &[])));
                c.send(&many).await;
                let mut over = 0;
                while let Some(frame) = c.next().await {
                    over += u32::from(frame.kind == kind::RST_STREAM);
                }
                // All streams were reset, or the connection was closed; only an open connection is a failure.
                assert!(over <= 9, "{:?}", c.seen);
                Outcome::Holds
            }),
            holds(),
        ),
    ]
}

fn handshakes() -> Vec<Case> {
    /// Type, version and length of a TLS record, and the first byte of an incomplete ClientHello.
    const BEGUN: [u8; 6] = [0x16, 3, 1, 0, 200, 1];
    vec![
        bare_talk(
            "9.2",
            "a handshake that is never begun is not waited for",
            talking!(|_c, w| {
                let mut stream = TcpStream::connect(w.edge.https()).await.unwrap();
                assert_eq!(until_closed(&mut stream).await, 0);
                Outcome::Holds
            }),
            holds(),
        ),
        bare_talk(
            "9.2",
            "a handshake that never ends is not waited for, however its bytes come",
            talking!(|_c, w| {
                let stream = TcpStream::connect(w.edge.https()).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (mut read, mut write) = stream.into_split();
                let drip = async {
                    write.write_all(&BEGUN).await.unwrap();
                    while write.write_all(&[0]).await.is_ok() {
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    }
                };
                let end = async {
                    let mut all = Vec::new();
                    read.read_to_end(&mut all).await.ok();
                };
                timeout(PATIENCE, async {
                    tokio::select! { () = drip => (), () = end => () }
                })
                .await
                .expect("it ends");
                Outcome::Holds
            }),
            holds(),
        ),
        bare_talk(
            "9.2",
            "what is no handshake ends at once",
            talking!(|_c, w| {
                let mut stream = TcpStream::connect(w.edge.https()).await.unwrap();
                stream.write_all(b"GET / HTTP/1.1\r\nhost: shop.localhost\r\n\r\n").await.unwrap();
                assert!(until_closed(&mut stream).await < 100, "an alert at most");
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "10.5",
            "a body that does not go on is not waited for",
            talking!(|c, _w| {
                c.send(&Script::default().open(1).data(1, 0, "some")).await;
                loop {
                    let Some(frame) = c.next().await else { return Outcome::Closed };
                    match frame.kind {
                        kind::RST_STREAM => return Outcome::Reset(Code(frame.number(0))),
                        _ if c.collect(&frame) => return Outcome::Answer(c.so_far(1).status),
                        _ => {}
                    }
                }
            }),
            vec![
                Outcome::Answer(408),
                Outcome::Reset(CANCEL),
                Outcome::Reset(PROTOCOL_ERROR),
                Outcome::Reset(ENHANCE_YOUR_CALM),
            ],
        ),
        talk(
            "6.8",
            "after its last request, a connection is told to go, and what was asked before is answered",
            talking!(|c, _w| {
                let script = (0..REQUESTS_MAX + 5).fold(Script::default(), |s, number| s.get(number * 2 + 1));
                c.send(&script).await;
                let (mut answered, mut last) = (Vec::new(), None);
                while let Some(frame) = c.next().await {
                    match frame.kind {
                        kind::GOAWAY => last = Some((frame.number(0), Code(frame.number(4)))),
                        kind::PING if frame.flags & flag::ACK == 0 => {
                            c.send(&Script::default().frame(kind::PING, flag::ACK, 0, &frame.payload)).await;
                        }
                        kind::RST_STREAM => assert_eq!(Code(frame.number(0)), REFUSED_STREAM),
                        _ if c.collect(&frame) => answered.push(frame.stream),
                        _ => {}
                    }
                }
                let (last, code) = last.expect("GOAWAY");
                assert_eq!(code, NO_ERROR);
                // Requests sent before the client could know are answered, and no stream above GOAWAY's last stream is.
                assert!(answered.len() >= 10 && answered.iter().all(|stream| *stream <= last), "{answered:?} {last}");
                Outcome::Holds
            }),
            holds(),
        ),
        bare_talk(
            "RFC 9112 9.6",
            "after its last request, a connection of HTTP/1.1 is closed, and says so",
            talking!(|_c, w| {
                let mut c = w.connect_as("shop.localhost", &[b"http/1.1"], rustls::DEFAULT_VERSIONS).await.unwrap();
                let script = "GET / HTTP/1.1\r\nhost: shop.localhost\r\n\r\n".repeat(REQUESTS_MAX as usize + 5);
                let text = c.text_for(&script).await;
                let answers = text.matches("HTTP/1.1 200 OK").count();
                let closes = text.to_ascii_lowercase().matches("\r\nconnection: close\r\n").count();
                assert_eq!((answers, closes), (REQUESTS_MAX as usize, 1), "{text}");
                Outcome::Holds
            }),
            holds(),
        ),
    ]
}
