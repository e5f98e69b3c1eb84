//! Requests and answers as messages (RFC 9114 §4.1 to §4.4).

use super::*;

/// Outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Status(u16),
    Reset(u64),
}
use Fate::{Reset, Status};

/// H3_MESSAGE_ERROR.
const MALFORMED: Fate = Reset(0x10e);

fn fate_of(bytes: &[u8], ends: bool) -> Fate {
    let mut rig = Rig::new();
    rig.receive(0, bytes, ends);
    rig.settle();
    assert_eq!(rig.state, State::Open);
    let came = rig.came(0);
    let fate = came.reset.map(Reset).or_else(|| came.status.map(Status)).expect("an answer");
    rig.ask(1_000, get("/"));
    assert_eq!(rig.came(1_000).status, Some(200), "the connection goes on");
    fate
}

fn fate(fields: &[(&str, &str)]) -> Fate {
    fate_of(&headers(fields), true)
}

fn with(name: &str, value: &[u8]) -> Fate {
    let section = [section(&whole("GET", "/")), qpack::literal(name, value)].concat();
    fate_of(&frame_of(kind::HEADERS, section), true)
}

#[test]
fn pseudo_fields_are_each_there_once_and_before_all_others() {
    let (method, scheme) = ((":method", "GET"), (":scheme", "https"));
    let (authority, path) = ((":authority", "shop.example"), (":path", "/"));
    #[rustfmt::skip]
    let cases: &[(&[(&str, &str)], Fate)] = &[
        (&[path, authority, method, scheme],                       Status(200)),
        (&[method, scheme, path, ("host", "shop.example")],        Status(200)),
        (&[],                                                      MALFORMED),
        (&[scheme, authority, path],                               MALFORMED),
        (&[method, authority, path],                               MALFORMED),
        (&[method, scheme, authority],                             MALFORMED),
        (&[method, method, scheme, authority, path],               MALFORMED),
        (&[method, scheme, authority, ("a", "b"), path],           MALFORMED),
        (&[method, scheme, authority, path, (":colour", "red")],   MALFORMED),
        (&[method, scheme, authority, path, (":status", "200")],   MALFORMED),
        (&[(":Method", "GET"), scheme, authority, path],           MALFORMED),
        (&[method, scheme, authority, (":path", "")],              MALFORMED),
        (&[method, scheme, authority, (":path", "index.html")],    MALFORMED),
        (&[method, scheme, authority, (":path", "/a b")],          MALFORMED),
        (&[method, scheme, authority, (":path", "*")],             MALFORMED),
        (&[(":method", "OPTIONS"), scheme, authority, (":path", "*")], Status(404)),
        (&[method, (":scheme", "ht tp"), authority, path],         MALFORMED),
        (&[method, scheme, (":authority", ""), path],              MALFORMED),
        (&[method, scheme, (":authority", "user@shop"), path],     MALFORMED),
        (&[method, scheme, (":authority", "[::1]:8443"), path],    Status(200)),
        (&[(":method", "CONNECT"), (":authority", "a:443")],       Status(404)),
        (&[(":method", "CONNECT"), scheme, authority, path],       MALFORMED),
        (&[(":method", "CONNECT")],                                MALFORMED),
        (&[method, scheme, authority, (":path", "/nowhere<>")],    Status(400)),
    ];
    for (fields, expected) in cases {
        assert_eq!(fate(fields), *expected, "{fields:?}");
    }
}

#[test]
fn a_request_names_its_authority_once_or_twice_the_same() {
    // §4.3.1.
    let (method, scheme, path) = ((":method", "GET"), (":scheme", "https"), (":path", "/"));
    let authority = (":authority", "Shop.example");
    #[rustfmt::skip]
    let cases: &[(&[(&str, &str)], Fate)] = &[
        (&[method, scheme, path],                                            MALFORMED),
        (&[method, (":scheme", "http"), path],                               MALFORMED),
        (&[method, (":scheme", "coap"), path],                               Status(200)),
        (&[method, scheme, path, ("host", "")],                              MALFORMED),
        (&[method, scheme, authority, path, ("host", "")],                   MALFORMED),
        (&[method, scheme, authority, path, ("host", "shop.Example")],       Status(200)),
        (&[method, scheme, authority, path, ("host", "other.example")],      MALFORMED),
        (&[method, scheme, authority, path, ("host", "shop.example:443")],   MALFORMED),
        (&[(":method", "CONNECT"), ("host", "a:443")],                       MALFORMED),
    ];
    for (fields, expected) in cases {
        assert_eq!(fate(fields), *expected, "{fields:?}");
    }
}

#[test]
fn fields_are_sound_and_none_is_of_a_connection() {
    for name in ["X-Upper", "", "x y", "x:y", "x\r\ny", "x\x7f"] {
        assert_eq!(with(name, b"1"), MALFORMED, "{name:?}");
    }
    for value in [&b"a\0b"[..], b"a\nb", b"a\rb", b" a", b"a ", b"\ta", b" "] {
        assert_eq!(with("x", value), MALFORMED, "{value:?}");
    }
    for value in [&b""[..], b"a \t b", b"\x80\xff"] {
        assert_eq!(with("x", value), Status(200), "{value:?}");
    }
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        assert_eq!(with(name, b"x"), MALFORMED, "{name}");
    }
    assert_eq!((with("te", b"gzip"), with("te", b"trailers")), (MALFORMED, Status(200)));
}

#[test]
fn a_body_is_as_long_as_its_content_length() {
    type Case<'c> = (&'c [&'c str], Vec<Vec<u8>>, Fate);
    let sum = headers(&[("x", "y")]);
    #[rustfmt::skip]
    let cases: Vec<Case<'_>> = vec![
        (&["5"],                    vec![data("four")],                                   MALFORMED),
        (&["3"],                    vec![data("four")],                                   MALFORMED),
        (&["3"],                    vec![data("fo"), data("ur")],                         MALFORMED),
        (&["4"],                    vec![data("fo"), data(""), data("ur")],               Status(200)),
        (&["5"],                    vec![data("four"), sum.clone()],                      MALFORMED),
        (&["4"],                    vec![data("four"), sum],                              Status(200)),
        (&["4", "4"],               vec![data("four")],                                   MALFORMED),
        (&["-4"],                   vec![data("four")],                                   MALFORMED),
        (&["0"],                    vec![],                                               Status(200)),
        (&["1"],                    vec![],                                               MALFORMED),
        (&[],                       vec![],                                               Status(200)),
    ];
    for (lengths, frames, expected) in cases {
        let lengths: Vec<(&str, &str)> = lengths.iter().map(|length| ("content-length", *length)).collect();
        let bytes = [post("/echo", &lengths), frames.concat()].concat();
        assert_eq!(fate_of(&bytes, true), expected, "{lengths:?}");
    }
    assert_eq!(fate(&[whole("GET", "/"), vec![("content-length", "1")]].concat()), MALFORMED);
    assert_eq!(fate(&[whole("GET", "/"), vec![("content-length", "0")]].concat()), Status(200));
}

#[test]
fn trailers_are_checked_like_heads_and_reach_the_reader() {
    let after =
        |trailers: &[(&str, &str)]| fate_of(&[post("/echo", &[]), data("body"), headers(trailers)].concat(), true);
    assert_eq!(after(&[("x-sum", "1")]), Status(200));
    assert_eq!(after(&[("X-Sum", "1")]), MALFORMED);
    assert_eq!(after(&[("connection", "x")]), MALFORMED);
    assert_eq!(after(&[(":path", "/else")]), MALFORMED);
    let mut rig = Rig::with(&Limits { header_bytes: 1_000, ..limits() });
    rig.ask(0, [post("/echo", &[]), headers(&[("x-large", &"x".repeat(1_000))])].concat());
    assert_eq!(rig.came(0).reset, Some(0x107));
    rig.send(4, post("/echo", &[]));
    rig.send(4, &frame_of(kind::HEADERS, vec![0; 1_000_000])[..100]);
    assert_eq!(rig.came(4).reset, Some(0x107));
    rig.ask(8, [post("/echo", &[]), data("body"), headers(&[("x-sum", "1")])].concat());
    assert_eq!(rig.came(8).trailers, [("x-sum".to_owned(), "1".to_owned())]);
    assert_eq!((rig.came(8).body, rig.came(8).ends), (b"body".to_vec(), 1));
}

#[test]
fn a_head_beyond_the_limits_is_answered_431() {
    let limits = Limits { header_bytes: 1_000, header_fields: 10, ..limits() };
    let mut rig = Rig::with(&limits);
    rig.ask(0, headers(&[whole("GET", "/"), vec![("x-larger", &"x".repeat(1_000))]].concat()));
    assert_eq!((rig.came(0).status, rig.came(0).ends, rig.came(0).stopped), (Some(431), 1, None));
    rig.ask(4, headers(&[whole("GET", "/"), vec![("x", "y"); 11]].concat()));
    assert_eq!(rig.came(4).status, Some(431));
    rig.ask(8, headers(&[whole("GET", "/"), vec![("x", "y"); 10]].concat()));
    assert_eq!(rig.came(8).status, Some(200));
    // After a while, the client is asked not to send the body of the request.
    rig.send(12, headers(&[whole("POST", "/"), vec![("x", "y"); 11]].concat()));
    assert_eq!((rig.came(12).status, rig.came(12).stopped), (Some(431), None));
    rig.send(12, data("late"));
    rig.pass(Duration::from_secs(2));
    assert_eq!((rig.came(12).stopped, rig.came(12).reset), (Some(0x100), None));
    // Accompanying frames are skipped.
    let large = headers(&[whole("POST", "/"), vec![("x", "y"); 11]].concat());
    rig.ask(16, [large, data("early"), headers(&[("x", "y")])].concat());
    assert_eq!((rig.came(16).status, rig.came(16).stopped, rig.conn.in_flight()), (Some(431), None, 0));
}

#[test]
fn a_head_beyond_all_limits_is_answered_before_it_came_and_not_held() {
    let mut rig = Rig::new();
    let held = rig.conn.held_bytes();
    let large = frame_of(kind::HEADERS, vec![0; 200_000]);
    rig.send(0, &large[..5]);
    assert_eq!((rig.came(0).status, rig.came(0).ends, rig.came(0).stopped), (Some(431), 1, None));
    rig.send(0, &large[5..100_000]);
    assert!(rig.conn.held_bytes() < held + 1_024, "{}", rig.conn.held_bytes());
    rig.ask(0, &large[100_000..]);
    assert_eq!((rig.conn.in_flight(), rig.came(0).stopped, rig.state), (0, None, State::Open));
    // In one piece, with and without the end.
    rig.ask(4, &large);
    assert_eq!((rig.came(4).status, rig.conn.in_flight()), (Some(431), 0));
    rig.send(8, frame_of(kind::HEADERS, vec![0; 400_000]));
    assert_eq!((rig.came(8).status, rig.came(8).stopped), (Some(431), None));
    rig.send(8, data(vec![0; 299_990]));
    assert_eq!(rig.came(8).stopped, None);
    rig.send(8, data(vec![0; 100]));
    assert_eq!(rig.came(8).stopped, Some(0x100));
}

#[test]
fn the_service_sees_the_request_as_it_came() {
    let mut rig = Rig::new();
    let fields = [whole("GET", "/bytes/3?a=b?c"), vec![("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]].concat();
    for stream in [0, 4] {
        rig.ask(stream, headers(&fields));
        let expected = r#"GET Some("https") Some("shop.example") /bytes/3 Some("a=b?c") cookie=a=1,x=y,cookie=b=2"#;
        assert_eq!(*rig.log.seen.take(), [expected]);
    }
    let fields = [whole("GET", "/nowhere?q"), vec![("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]].concat();
    rig.ask(8, headers(&fields));
    let expected = r#"GET https://shop.example/nowhere?q {"cookie": "a=1; b=2", "x": "y"}"#;
    assert_eq!(rig.log.seen.take()[1], expected);
    assert_eq!(rig.conn.requests(), 3);
}

#[test]
fn an_answer_has_its_prepared_fields_and_the_date() {
    let mut rig = Rig::new();
    rig.ask(0, get("/"));
    let came = rig.came(0);
    assert_eq!((came.status, came.field("etag")), (Some(200), Some("\"abc\"")));
    assert_eq!(came.field("cache-control"), Some("max-age=0, must-revalidate"));
    assert_eq!(came.field("x-content-type-options"), Some("nosniff"));
    assert_eq!(came.field("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
    assert_eq!((came.fields.len(), came.body, came.ends, came.data_frames), (4, pattern(5).to_vec(), 1, 1));
    rig.ask(4, get("/fields"));
    let names: Vec<String> = rig.came(4).fields.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["x-own", "content-length", "date"]);
}

#[test]
fn an_answer_to_head_has_no_body_of_any_origin() {
    let mut rig = Rig::new();
    for (stream, path) in [(0, "/"), (4, "/big"), (8, "/nowhere"), (12, "/stream")] {
        rig.ask(stream, headers(&whole("HEAD", path)));
        let came = rig.came(stream);
        assert!(came.status.is_some() && came.ends == 1 && came.data_frames == 0, "{path} {came:?}");
    }
    for (stream, path, status) in [(16, "/status/204", 204), (20, "/status/304", 304)] {
        rig.ask(stream, get(path));
        let came = rig.came(stream);
        assert_eq!((came.status, came.ends, came.data_frames), (Some(status), 1, 0));
        assert_eq!(came.field("content-length"), None);
    }
    rig.ask(24, get("/status/101"));
    assert_eq!((rig.came(24).status, rig.came(24).reset), (None, Some(0x102)));
}

#[test]
fn a_body_of_another_length_than_announced_resets_its_stream() {
    for kind in ["at-hand", "in-parts", "awaited"] {
        for (announced, parts) in
            [(6_600, &[2_200][..]), (10, &[]), (0, &[1]), (100_000, &[70_000, 29_999]), (5, &[5, 1])]
        {
            let mut rig = Rig::new();
            let parts: String = parts.iter().map(|part| format!("/{part}")).collect();
            rig.ask(0, get(&format!("/{kind}/{announced}{parts}")));
            rig.ask(4, get("/"));
            let came = rig.came(0);
            assert_eq!((came.ends, came.reset), (0, Some(0x102)), "{kind} {announced} {parts}");
            assert!(came.body.len() <= announced);
            assert_eq!((rig.came(4).ends, rig.state), (1, State::Open));
        }
    }
}

#[test]
fn a_long_head_is_one_frame() {
    let mut rig = Rig::new();
    rig.ask(0, get("/long-head"));
    let came = rig.came(0);
    assert_eq!((came.status, came.body), (Some(200), b"long".to_vec()));
    let long: Vec<usize> = came.fields.iter().filter(|(name, _)| name == "x-long").map(|(_, v)| v.len()).collect();
    assert_eq!(long, [20_000; 3]);
}
