//! HTTP/2 requests that an HTTP/1.1 backend could split differently: the backend receives exactly one request.

use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::http1::smuggling::{INNER, backend, check, check_victim, routed};
use crate::wire::{HOST, PATIENCE, connect, write};

/// Literal field (RFC 7541 §6.2.2) with arbitrary bytes.
fn field(name: &str, value: &str) -> Vec<u8> {
    let string = |text: &str| {
        let length = text.len();
        // RFC 7541 §5.1
        let mut bytes = if length < 127 { vec![length as u8] } else { vec![127] };
        let mut left = length.checked_sub(127);
        while let Some(rest) = left {
            bytes.push((rest % 128) as u8 | if rest >= 128 { 128 } else { 0 });
            left = (rest >= 128).then_some(rest / 128);
        }
        [bytes, text.as_bytes().to_vec()].concat()
    };
    [vec![0], string(name), string(value)].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields that replace or extend the fields of a POST, and the body.
fn http2_cases() -> Vec<(Vec<(&'static str, String)>, String)> {
    let ended = format!("x\r\n\r\n{INNER}");
    let chunked = format!("0\r\n\r\n{INNER}");
    let mut cases = Vec::new();
    let mut case = |fields: &[(&'static str, &str)], body: &str| {
        cases.push((fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), body.to_owned()));
    };
    // Line ends and head ends in every position.
    for ending in ["\r\n", "\n", "\r", "\0", "\r\n\r\n"] {
        let hidden = format!("a{ending}Transfer-Encoding: chunked{ending}X: y");
        let split = format!("/api/outer HTTP/1.1{ending}Host: shop.localhost{ending}{ending}{INNER}");
        case(&[("x", &hidden)], &chunked);
        case(&[("x", &format!("a{ending}{ended}"))], "");
        case(&[(":path", &split)], "");
        case(&[(":method", &format!("GET {split}"))], "");
        case(&[(":authority", &format!("shop.localhost{ending}X: y"))], "");
        case(&[("host", &format!("shop.localhost{ending}X: y"))], "");
        case(&[("cookie", "a=b"), ("cookie", &hidden)], &chunked);
        case(&[(":scheme", &format!("https{ending}"))], "");
    }
    for name in [
        "x: y\r\ntransfer-encoding",
        "transfer-encoding ",
        "transfer-encoding:",
        "x\ny",
        "x y",
        "x\0",
        "",
        "Transfer-Encoding",
        "transfer_encoding",
    ] {
        case(&[(name, "chunked")], &chunked);
    }
    for path in [
        "/api/ou ter",
        "/api/outer HTTP/1.1",
        "api/outer",
        "https://shop.localhost/api/outer",
        "*",
        "",
        "/api/outer#x",
        "//api/outer",
        "/api/\u{e4}",
        "/api/%0d%0aX",
        "/api/outer\t",
    ] {
        case(&[(":path", path)], "");
    }
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("connection", "transfer-encoding"),
        ("connection", "content-length"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("te", "chunked"),
        ("te", "trailers"),
        ("te", "trailers, chunked"),
        ("expect", "100-continue"),
        ("http2-settings", "AAMAAABk"),
        ("host", "evil.example"),
        (":authority", "user@shop.localhost"),
        (":authority", "shop.localhost:443/api/inner"),
        (":authority", ""),
        (":method", "CONNECT"),
        (":method", "PO ST"),
        (":scheme", "http"),
    ] {
        case(&[(name, value)], &chunked);
    }
    for length in ["0", "4", "500", "+54", "0x36", "54, 54", "54 ", " 54", "-1", ""] {
        case(&[("content-length", length)], &chunked);
    }
    case(&[("content-length", "0"), ("content-length", &chunked.len().to_string())], &chunked);
    case(&[("content-length", &chunked.len().to_string()), ("content-length", &chunked.len().to_string())], &chunked);
    case(&[("content-length", &chunked.len().to_string()), ("transfer-encoding", "chunked")], &chunked);
    case(&[], &chunked);
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_finds_the_same_requests_in_what_comes_out_of_http_2() {
    let (port, seen) = backend().await;
    let edge = routed(port).await;
    let cases = http2_cases();
    assert!(cases.len() > 80, "{}", cases.len());
    let mut passed = 0;
    for (fields, body) in &cases {
        let what = format!("{fields:?} {body:?}");
        seen.lock().unwrap().clear();
        let usual = [(":method", "POST"), (":scheme", "https"), (":authority", HOST), (":path", "/api/outer")];
        let mut block = Vec::new();
        for (name, value) in usual {
            let text = fields.iter().find(|(text, _)| *text == name);
            block.extend(field(name, text.map_or(value, |(_, value)| value)));
        }
        for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with(':')) {
            block.extend(field(name, value));
        }
        let mut bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b"")].concat();
        bytes.extend(frame(1, 4, 1, &block));
        bytes.extend(frame(0, 1, 1, body.as_bytes()));
        let mut stream = connect(&edge, HOST, "h2").await;
        write(&mut stream, &bytes).await;
        timeout(PATIENCE, until_ended(&mut stream)).await.unwrap_or_else(|_| panic!("no end of {what}"));
        check_victim(&edge, &what).await;
        check(&seen, &what);
        passed += usize::from(
            seen.lock().unwrap().values().any(|bytes| String::from_utf8_lossy(bytes).contains("/api/outer")),
        );
    }
    assert!(passed >= 5, "nothing gets through, so that this says nothing: {passed}");
    edge.stop().await;
}

/// Reads until the first stream, or the connection, ends.
async fn until_ended(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        let is_first = u32::from_be_bytes(head[5..9].try_into().unwrap()) == 1;
        let has_ended = match head[3] {
            0 | 1 => head[4] & 1 != 0,
            3 => true,
            _ => false,
        };
        if head[3] == 7 || is_first && has_ended {
            return;
        }
    }
}
