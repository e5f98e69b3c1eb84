//! Requests and responses as messages: RFC 9113 sections 8.1 to 8.2.3, 8.6 and 8.7.

use crate::http2::fields::{block, literal};
use crate::http2::table::*;
use crate::http2::wire::{Script, flag, kind, request};
use crate::http2::world::World;

/// GET request with an additional field of arbitrary bytes.
fn with(s: Script, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Script {
    s.headers(1, flag::WHOLE, [request("GET", "/", &[]), literal(name, value)].concat())
}

pub(crate) fn cases() -> Vec<Case> {
    [lengths(), trailers(), names(), field_values(), of_connections(), answers()].into_iter().flatten().collect()
}

fn lengths() -> Vec<Case> {
    vec![
        case(
            "8.1.1",
            "a body shorter than its Content-Length is malformed",
            |s| s.open_with(1, &[("content-length", "5")]).data(1, flag::END_STREAM, "four"),
            malformed(),
        ),
        case(
            "8.1.1",
            "a body longer than its Content-Length is malformed",
            |s| s.open_with(1, &[("content-length", "3")]).data(1, flag::END_STREAM, "four"),
            malformed(),
        ),
        case(
            "8.1.1",
            "a body longer than its Content-Length in several DATA is malformed",
            |s| {
                s.open_with(1, &[("content-length", "3")]).data(1, 0, "fo").data(1, 0, "ur").data(
                    1,
                    flag::END_STREAM,
                    "",
                )
            },
            malformed(),
        ),
        case(
            "8.1.1",
            "no body where Content-Length says one is malformed",
            |s| s.headers(1, flag::WHOLE, request("POST", "/api/echo", &[("content-length", "1")])),
            malformed(),
        ),
        case(
            "8.1.1",
            "a body shorter than its Content-Length before trailers is malformed",
            |s| {
                s.open_with(1, &[("content-length", "5")]).data(1, 0, "four").headers(1, flag::WHOLE, literal("x", "y"))
            },
            malformed(),
        ),
        case(
            "8.1.1",
            "a Content-Length in several DATA, with padding, is met",
            |s| {
                s.open_with(1, &[("content-length", "4")]).data(1, flag::PADDED, b"\x02fo\0\0").data(1, 0, "").data(
                    1,
                    flag::END_STREAM,
                    "ur",
                )
            },
            status(200),
        ),
        case(
            "8.1.1",
            "Content-Length of 0 and no body is fine",
            |s| s.get_with(1, &[("content-length", "0")]),
            status(200),
        ),
        case(
            "8.1.1",
            "two different Content-Length are malformed",
            |s| s.open_with(1, &[("content-length", "4"), ("content-length", "5")]).data(1, flag::END_STREAM, "four"),
            malformed(),
        ),
        case(
            "8.1.1",
            "a Content-Length that is no number is malformed",
            |s| s.open_with(1, &[("content-length", "4x")]).data(1, flag::END_STREAM, "four"),
            malformed(),
        ),
        case(
            "8.1.1",
            "a Content-Length with a sign is malformed",
            |s| s.open_with(1, &[("content-length", "+4")]).data(1, flag::END_STREAM, "four"),
            malformed(),
        ),
        case(
            "8.1.1",
            "a Content-Length beyond 64 bits is malformed",
            |s| s.open_with(1, &[("content-length", "18446744073709551620")]).data(1, flag::END_STREAM, "four"),
            malformed(),
        ),
    ]
}

fn trailers() -> Vec<Case> {
    vec![
        case(
            "8.1",
            "trailers are taken",
            |s| s.open(1).data(1, 0, "body").headers(1, flag::WHOLE, literal("x-sum", "1")),
            status(200),
        ),
        case(
            "8.1",
            "trailers are taken in several frames",
            |s| {
                s.open(1).data(1, 0, "body").headers(1, flag::END_STREAM, literal("x-sum", "1")).continuation(
                    1,
                    flag::END_HEADERS,
                    literal("x-more", "2"),
                )
            },
            status(200),
        ),
        case(
            "8.1",
            "trailers without END_STREAM are malformed",
            |s| s.open(1).data(1, 0, "body").headers(1, flag::END_HEADERS, literal("x-sum", "1")),
            malformed(),
        ),
        case(
            "8.1",
            "DATA after trailers is an error",
            |s| {
                s.headers(1, flag::END_HEADERS, request("POST", "/api/wait", &[]))
                    .data(1, 0, "body")
                    .headers(1, flag::WHOLE, literal("x-sum", "1"))
                    .data(1, flag::END_STREAM, "more")
            },
            stream_error(STREAM_CLOSED),
        ),
        case(
            "8.2.1",
            "upper case in trailers is malformed",
            |s| s.open(1).data(1, 0, "body").headers(1, flag::WHOLE, literal("X-Sum", "1")),
            malformed(),
        ),
        case(
            "8.2.2",
            "a field of the connection in trailers is malformed",
            |s| s.open(1).data(1, 0, "body").headers(1, flag::WHOLE, literal("connection", "x")),
            malformed(),
        ),
    ]
}

fn names() -> Vec<Case> {
    vec![
        case("8.2.1", "a name in upper case is malformed", |s| with(s, "X-Upper", "1"), malformed()),
        case("8.2.1", "a name with one letter in upper case is malformed", |s| with(s, "x-uppeR", "1"), malformed()),
        case("8.2.1", "an empty name is malformed", |s| with(s, "", "1"), malformed()),
        case("8.2.1", "a name with a space is malformed", |s| with(s, "x y", "1"), malformed()),
        case("8.2.1", "a name with a colon is malformed", |s| with(s, "x:y", "1"), malformed()),
        case("8.2.1", "a name with a control character is malformed", |s| with(s, "x\r\ny", "1"), malformed()),
        case("8.2.1", "a name with DEL is malformed", |s| with(s, "x\x7f", "1"), malformed()),
        case("8.2.1", "a name beyond ASCII is malformed", |s| with(s, [b'x', 0xe4], "1"), malformed()),
        case(
            "8.2.1",
            "a name of every character that a token may have is taken",
            |s| with(s, "!#$%&'*+-.^_`|~0129abyz", "1"),
            status(200),
        ),
    ]
}

fn field_values() -> Vec<Case> {
    vec![
        case("8.2.1", "NUL in a value is malformed", |s| with(s, "x", "a\0b"), malformed()),
        case("8.2.1", "a line feed in a value is malformed", |s| with(s, "x", "a\nhost: b"), malformed()),
        case("8.2.1", "a carriage return in a value is malformed", |s| with(s, "x", "a\rb"), malformed()),
        case("8.2.1", "a value that begins with a space is malformed", |s| with(s, "x", " a"), malformed()),
        case("8.2.1", "a value that ends with a space is malformed", |s| with(s, "x", "a "), malformed()),
        case("8.2.1", "a value that begins with a tab is malformed", |s| with(s, "x", "\ta"), malformed()),
        case("8.2.1", "a value that ends with a tab is malformed", |s| with(s, "x", "a\t"), malformed()),
        case("8.2.1", "a value that is a space is malformed", |s| with(s, "x", " "), malformed()),
        case("8.2.1", "an empty value is taken", |s| with(s, "x", ""), status(200)),
        case("8.2.1", "spaces and tabs within a value are taken", |s| with(s, "x", "a \t b"), status(200)),
        case("8.2.1", "bytes beyond ASCII in a value are taken", |s| with(s, "x", [0x80, 0xff, b'a']), status(200)),
    ]
}

fn of_connections() -> Vec<Case> {
    vec![
        case("8.2.2", "Connection is malformed", |s| with(s, "connection", "keep-alive"), malformed()),
        case("8.2.2", "Keep-Alive is malformed", |s| with(s, "keep-alive", "timeout=1"), malformed()),
        case("8.2.2", "Proxy-Connection is malformed", |s| with(s, "proxy-connection", "close"), malformed()),
        case("8.2.2", "Transfer-Encoding is malformed", |s| with(s, "transfer-encoding", "chunked"), malformed()),
        case(
            "8.2.2",
            "Transfer-Encoding is malformed with a body",
            |s| s.open_with(1, &[("transfer-encoding", "chunked")]).data(1, flag::END_STREAM, "0\r\n\r\n"),
            malformed(),
        ),
        case("8.6", "Upgrade is malformed", |s| with(s, "upgrade", "websocket"), malformed()),
        case("8.2.2", "TE other than trailers is malformed", |s| with(s, "te", "gzip"), malformed()),
        case("8.2.2", "TE with more than trailers is malformed", |s| with(s, "te", "trailers, gzip"), malformed()),
        case("8.2.2", "TE of trailers is taken", |s| with(s, "te", "trailers"), status(200)),
        talk(
            "8.2.2",
            "fields of a backend's connection do not come through",
            talking!(|c, _w| {
                c.send(&Script::default().headers(1, flag::WHOLE, request("GET", "/api/old", &[]))).await;
                // Every response head is checked for the fields that RFC 9113 prohibits.
                let answer = c.answer(1).await;
                assert_eq!((answer.status, answer.field("x-hop"), answer.field("x-end")), (200, "", "1"));
                assert_eq!(answer.body, b"old");
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "8.2.3",
            "crumbs of a cookie are one field for a backend of HTTP/1.1",
            talking!(|c, _w| {
                let crumbs = [("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2; c=3"), ("cookie", "d=4")];
                c.send(&Script::default().headers(1, flag::WHOLE, request("GET", "/api/fields", &crumbs))).await;
                let text = String::from_utf8(c.answer(1).await.body).unwrap();
                let cookies: Vec<&str> = text.lines().filter(|line| line.starts_with("cookie")).collect();
                assert_eq!(cookies, ["cookie: a=1; b=2; c=3; d=4"]);
                Outcome::Holds
            }),
            holds(),
        ),
    ]
}

fn answers() -> Vec<Case> {
    vec![
        talk(
            "8.1",
            "an answer to HEAD has no DATA but an empty one",
            talking!(|c, _w| {
                c.send(&Script::default().headers(1, flag::WHOLE, request("HEAD", "/", &[])).get(3)).await;
                let (head, get) = (c.answer(1).await, c.answer(3).await);
                assert_eq!((head.status, head.body.len()), (200, 0));
                assert_eq!(head.field("content-length"), get.field("content-length"));
                assert_eq!(get.body, crate::http2::world::FRONT_PAGE);
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "8.1",
            "an answer of 304 has no DATA but an empty one",
            talking!(|c, _w| {
                c.send(&Script::default().get(1)).await;
                let etag = c.answer(1).await.field("etag").to_owned();
                c.send(&Script::default().get_with(3, &[("if-none-match", &etag)])).await;
                let answer = c.answer(3).await;
                assert_eq!((answer.status, answer.body.len()), (304, 0));
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "8.1",
            "an answer before the end of the request stands, whatever of the request follows",
            talking!(|c, _w| {
                c.send(&Script::default().headers(1, flag::END_HEADERS, request("POST", "/", &[]))).await;
                assert_eq!(c.answer(1).await.status, 405);
                c.send(&Script::default().data(1, 0, "late").headers(1, flag::WHOLE, literal("x", "y"))).await;
                c.still_serves(3).await
            }),
            holds(),
        ),
        talk(
            "8.1",
            "a request is asked not to go on by RST_STREAM with NO_ERROR after the answer, if by anything",
            talking!(|c, _w| {
                c.send(&Script::default().headers(1, flag::END_HEADERS, request("POST", "/", &[]))).await;
                assert_eq!(c.answer(1).await.status, 405);
                c.send(&Script::default().ping([4; 8])).await;
                loop {
                    let frame = c.next().await.unwrap();
                    match frame.kind {
                        kind::RST_STREAM => assert_eq!((frame.stream, Code(frame.number(0))), (1, NO_ERROR)),
                        kind::PING => break,
                        _ => {}
                    }
                }
                Outcome::Holds
            }),
            holds(),
        ),
        talk(
            "8.1",
            "a request that is taken back does not reach its end at the backend",
            talking!(|c, w| {
                c.send(&Script::default().headers(1, flag::WHOLE, request("GET", "/api/wait", &[]))).await;
                w.waiting.acquire().await.unwrap().forget();
                c.send(&Script::default().reset(1, 8)).await;
                c.fence().await;
                c.still_serves(3).await
            }),
            holds(),
        ),
        case(
            "8.7",
            "a hundred requests at once are all answered",
            |s| (0..100).fold(s, |s, number| s.get(number * 2 + 1)),
            status(200),
        ),
        case(
            "8.1",
            "fields of one name come in any number of lines",
            |s| {
                let fields = [
                    ("accept", "text/html"),
                    ("accept", "*/*"),
                    ("accept-encoding", "br"),
                    ("accept-encoding", "gzip"),
                ];
                s.headers(1, flag::WHOLE, [request("GET", "/", &[]), block(fields)].concat())
            },
            status(200),
        ),
    ]
}
