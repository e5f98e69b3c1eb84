//! Requests and answers as messages (RFC 9113 §8).

use super::*;
use crate::http2::tests::fields as whole;

/// Outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Status(u16),
    Reset(u32),
}
use Fate::{Reset, Status};

fn fate_of(bytes: &[u8]) -> Fate {
    let mut rig = Rig::new();
    rig.send(bytes);
    assert_eq!(rig.state, State::Open, "{:?}", rig.others);
    let came = rig.came(1);
    let fate = came.reset.filter(|code| *code != 0).map(Reset).or_else(|| came.status.map(Status)).expect("an answer");
    rig.send(get(1_001, "/"));
    assert_eq!(rig.came(1_001).status, Some(200), "the connection goes on");
    fate
}

fn fate(fields: &[(&str, &str)]) -> Fate {
    fate_of(&headers(1, true, fields))
}

fn with(name: &str, value: &[u8]) -> Fate {
    let block = [block(&whole("GET", "/")), hpack::literal(name, value)].concat();
    fate_of(&frame_of(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 1, block))
}

#[test]
fn pseudo_fields_are_each_there_once_and_before_all_others() {
    let (method, scheme) = ((":method", "GET"), (":scheme", "https"));
    let (authority, path) = ((":authority", "shop.example"), (":path", "/"));
    #[rustfmt::skip]
    let cases: &[(&[(&str, &str)], Fate)] = &[
        (&[path, authority, method, scheme],                       Status(200)),
        (&[method, scheme, path, ("host", "shop.example")],        Status(200)),
        (&[],                                                      Reset(1)),
        (&[scheme, authority, path],                               Reset(1)),
        (&[method, authority, path],                               Reset(1)),
        (&[method, scheme, authority],                             Reset(1)),
        (&[method, method, scheme, authority, path],               Reset(1)),
        (&[method, scheme, scheme, authority, path],               Reset(1)),
        (&[method, scheme, authority, authority, path],            Reset(1)),
        (&[method, scheme, authority, path, path],                 Reset(1)),
        (&[method, scheme, authority, ("a", "b"), path],           Reset(1)),
        (&[method, scheme, authority, path, (":colour", "red")],   Reset(1)),
        (&[method, scheme, authority, path, (":status", "200")],   Reset(1)),
        (&[(":Method", "GET"), scheme, authority, path],           Reset(1)),
        (&[method, scheme, authority, (":path", "")],              Reset(1)),
        (&[method, scheme, authority, (":path", "index.html")],    Reset(1)),
        (&[method, scheme, authority, (":path", "https://a/")],    Reset(1)),
        (&[method, scheme, authority, (":path", "/a b")],          Reset(1)),
        (&[method, scheme, authority, (":path", "/a\u{1}b")],      Reset(1)),
        (&[method, scheme, authority, (":path", "/#a")],           Reset(1)),
        (&[method, scheme, authority, (":path", "*")],             Reset(1)),
        (&[(":method", "OPTIONS"), scheme, authority, (":path", "*")], Status(404)),
        (&[method, (":scheme", ""), authority, path],              Reset(1)),
        (&[method, (":scheme", "ht tp"), authority, path],         Reset(1)),
        (&[method, (":scheme", "1http"), authority, path],         Reset(1)),
        (&[(":method", ""), scheme, authority, path],              Reset(1)),
        (&[(":method", "GET /"), scheme, authority, path],         Reset(1)),
        (&[(":method", "get"), scheme, authority, path],           Status(200)),
        (&[method, scheme, (":authority", ""), path],              Reset(1)),
        (&[method, scheme, (":authority", "user@shop"), path],     Reset(1)),
        (&[method, scheme, (":authority", "shop example"), path],  Reset(1)),
        (&[method, scheme, (":authority", "shop.example/x"), path], Reset(1)),
        (&[method, scheme, (":authority", "[::1]:8443"), path],    Status(200)),
        (&[(":method", "CONNECT"), (":authority", "a:443")],       Status(404)),
        (&[(":method", "CONNECT"), scheme, authority, path],       Reset(1)),
        (&[(":method", "CONNECT")],                                Reset(1)),
        (&[method, scheme, authority, (":path", "/nowhere<>")],    Status(400)),
    ];
    for (fields, expected) in cases {
        assert_eq!(fate(fields), *expected, "{fields:?}");
    }
}

#[test]
fn fields_are_sound_and_none_is_of_a_connection() {
    for name in ["X-Upper", "", "x y", "x:y", "x\r\ny", "x\x7f"] {
        assert_eq!(with(name, b"1"), Reset(1), "{name:?}");
    }
    for value in [&b"a\0b"[..], b"a\nb", b"a\rb", b" a", b"a ", b"\ta", b" "] {
        assert_eq!(with("x", value), Reset(1), "{value:?}");
    }
    for value in [&b""[..], b"a \t b", b"\x80\xff"] {
        assert_eq!(with("x", value), Status(200), "{value:?}");
    }
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        assert_eq!(with(name, b"x"), Reset(1), "{name}");
    }
    assert_eq!((with("te", b"gzip"), with("te", b"trailers")), (Reset(1), Status(200)));
}

#[test]
fn a_body_is_as_long_as_its_content_length() {
    type Case<'c> = (&'c [&'c str], Vec<Vec<u8>>, Fate);
    #[rustfmt::skip]
    let cases: Vec<Case<'_>> = vec![
        (&["5"],                    vec![data(1, true, "four")],                              Reset(1)),
        (&["3"],                    vec![data(1, true, "four")],                              Reset(1)),
        (&["3"],                    vec![data(1, false, "fo"), data(1, false, "ur")],         Reset(1)),
        (&["4"],                    vec![data(1, false, "fo"), data(1, false, ""), data(1, true, "ur")], Status(200)),
        (&["4"],                    vec![frame_of(0, flag::PADDED, 1, b"\x02four\0\0"), data(1, true, "")], Status(200)),
        (&["5"],                    vec![data(1, false, "four"), headers(1, true, &[("x", "y")])], Reset(1)),
        (&["4"],                    vec![data(1, false, "four"), headers(1, true, &[("x", "y")])], Status(200)),
        (&["0"],                    vec![data(1, true, "")],                                  Status(200)),
        (&["4", "5"],               vec![data(1, true, "four")],                              Reset(1)),
        (&["4x"],                   vec![data(1, true, "four")],                              Reset(1)),
        (&["+4"],                   vec![data(1, true, "four")],                              Reset(1)),
        (&[""],                     vec![data(1, true, "four")],                              Reset(1)),
        (&["18446744073709551620"], vec![data(1, true, "four")],                              Reset(1)),
        (&[],                       vec![data(1, true, "four")],                              Status(200)),
    ];
    for (lengths, bodies, expected) in cases {
        let lengths: Vec<(&str, &str)> = lengths.iter().map(|length| ("content-length", *length)).collect();
        assert_eq!(fate_of(&[post(1, "/echo", &lengths), bodies.concat()].concat()), expected, "{lengths:?}");
    }
    assert_eq!(fate(&[whole("GET", "/"), vec![("content-length", "1")]].concat()), Reset(1));
    assert_eq!(fate(&[whole("GET", "/"), vec![("content-length", "0")]].concat()), Status(200));
}

#[test]
fn trailers_are_checked_like_heads_and_reach_the_reader() {
    let after = |trailers: &[u8]| fate_of(&[post(1, "/echo", &[]), data(1, false, "body"), trailers.to_vec()].concat());
    assert_eq!(after(&headers(1, true, &[("x-sum", "1")])), Status(200));
    assert_eq!(after(&headers(1, false, &[("x-sum", "1")])), Reset(1));
    assert_eq!(after(&headers(1, true, &[("X-Sum", "1")])), Reset(1));
    assert_eq!(after(&headers(1, true, &[("connection", "x")])), Reset(1));
    assert_eq!(after(&headers(1, true, &[(":path", "/else")])), Reset(1));
    let mut rig = Rig::with(&Limits { header_bytes: 1_000, ..limits() });
    rig.send([post(1, "/echo", &[]), headers(1, true, &[("x-large", &"x".repeat(1_000))])].concat());
    assert_eq!(rig.came(1).reset, Some(11));
    rig.send([post(3, "/echo", &[]), data(3, false, "body"), headers(3, true, &[("x-sum", "1")])].concat());
    assert_eq!(rig.came(3).trailers, [("x-sum".to_owned(), "1".to_owned())]);
    assert_eq!(rig.came(3).body, b"body");
}

#[test]
fn a_head_beyond_the_limits_is_answered_431_and_the_table_stays_in_step() {
    let limits = Limits { header_bytes: 1_000, header_fields: 10, ..limits() };
    let mut rig = Rig::with(&limits);
    let large = [whole("GET", "/"), vec![("x-large", "x")]].concat();
    let mut bytes = block(&large);
    bytes.extend(hpack::literal("x-larger", &[b'x'; 1_000]));
    bytes.extend(hpack::literal_inserting("x-kept", b"kept"));
    rig.send(frame_of(kind::HEADERS, 5, 1, bytes));
    assert_eq!((rig.came(1).status, rig.came(1).ends), (Some(431), 1));
    rig.send(headers(3, true, &[whole("GET", "/"), vec![("x", "y"); 11]].concat()));
    assert_eq!(rig.came(3).status, Some(431));
    rig.send(headers(5, true, &[whole("GET", "/"), vec![("x", "y"); 10]].concat()));
    assert_eq!(rig.came(5).status, Some(200));
    // The newest entry of the table has index 62.
    rig.send(frame_of(kind::HEADERS, 5, 7, [block(&whole("GET", "/")), vec![0xbe]].concat()));
    assert_eq!(rig.came(7).status, Some(200));
    assert!(rig.log.seen.borrow().last().unwrap().ends_with("x-kept=kept"));
    // After a while, the client is asked not to send the body of the request.
    rig.send(headers(9, false, &[whole("POST", "/"), vec![("x", "y"); 11]].concat()));
    assert_eq!((rig.came(9).status, rig.came(9).reset), (Some(431), None));
    rig.send(data(9, false, "late"));
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.came(9).reset, Some(0));
    rig.send([data(9, false, "late"), headers(9, true, &[("x", "y")])].concat());
    rig.send(get(11, "/"));
    assert_eq!(rig.came(11).status, Some(200));
    // Input before the answer is written is handled as well.
    let large = headers(13, false, &[whole("POST", "/"), vec![("x", "y"); 11]].concat());
    rig.send([large, data(13, false, "early"), headers(13, true, &[("x", "y")])].concat());
    assert_eq!((rig.came(13).status, rig.came(13).reset, rig.conn.in_flight()), (Some(431), None, 0));
}

#[test]
fn the_service_sees_the_request_as_it_came() {
    let mut rig = Rig::new();
    let fields = [whole("GET", "/bytes/3?a=b?c"), vec![("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]].concat();
    rig.send(headers(1, true, &fields));
    let expected = r#"GET Some("https") Some("shop.example") /bytes/3 Some("a=b?c") cookie=a=1,x=y,cookie=b=2"#;
    assert_eq!(*rig.log.seen.borrow(), [expected]);
    rig.log.seen.borrow_mut().clear();
    let fields = [whole("GET", "/nowhere?q"), vec![("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]].concat();
    rig.send(headers(3, true, &fields));
    let expected = r#"GET https://shop.example/nowhere?q {"cookie": "a=1; b=2", "x": "y"}"#;
    assert_eq!(rig.log.seen.borrow()[1], expected);
    rig.send(headers(5, true, &[(":method", "GET"), (":scheme", "https"), (":path", "/other"), ("host", "h")]));
    assert_eq!(rig.log.seen.borrow()[3], r#"GET /other {"host": "h"}"#);
}

#[test]
fn an_answer_has_its_prepared_fields_and_the_date() {
    let mut rig = Rig::new();
    for stream in [1, 3, 5] {
        rig.send(get(stream, "/"));
        let came = rig.came(stream);
        assert_eq!((came.status, came.field("etag")), (Some(200), Some("\"abc\"")));
        assert_eq!(came.field("cache-control"), Some("max-age=0, must-revalidate"));
        assert_eq!(came.field("x-content-type-options"), Some("nosniff"));
        assert_eq!(came.field("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        assert_eq!(came.fields.len(), 4);
    }
}

#[test]
fn an_answer_to_head_has_no_body_of_any_origin() {
    let mut rig = Rig::new();
    for (stream, path) in [(1, "/"), (3, "/big"), (5, "/nowhere"), (7, "/stream")] {
        rig.send(headers(stream, true, &whole("HEAD", path)));
        let came = rig.came(stream);
        assert!(came.status.is_some() && came.ends == 1 && came.body.is_empty(), "{path} {came:?}");
    }
    rig.send([get(9, "/status/204"), get(11, "/status/304"), get(13, "/status/101")].concat());
    for (stream, status) in [(9, 204), (11, 304)] {
        let came = rig.came(stream);
        assert_eq!((came.status, came.ends, came.body.len()), (Some(status), 1, 0));
        assert_eq!(came.field("content-length"), None);
    }
    assert_eq!((rig.came(13).status, rig.came(13).reset), (None, Some(2)));
}

#[test]
fn a_long_head_comes_in_several_frames() {
    let mut rig = Rig::new();
    rig.send(get(1, "/long-head"));
    let came = rig.came(1);
    assert_eq!((came.status, came.body), (Some(200), b"long".to_vec()));
    let long: Vec<usize> = came.fields.iter().filter(|(name, _)| name == "x-long").map(|(_, v)| v.len()).collect();
    assert_eq!(long, [20_000; 3]);
}

#[test]
fn short_answers_are_put_whole_and_long_bodies_by_reference() {
    let mut rig = Rig::new();
    rig.send([get(1, "/bytes/511"), get(3, "/bytes/0")].concat());
    assert_eq!((rig.bin.by_reference, rig.came(3).ends), (0, 1));
    rig.send([get(5, "/bytes/512"), get(7, "/bytes/16375")].concat());
    assert_eq!(rig.bin.by_reference, 512 + 16_375);
    for (stream, size) in [(1, 511), (5, 512), (7, 16_375)] {
        assert_eq!(rig.came(stream).body, pattern(size));
    }
    assert_eq!((rig.log.complete.get(), rig.log.ended.get()), (4, 4));
    assert_eq!(rig.log.sent.get(), 511 + 512 + 16_375);
}
