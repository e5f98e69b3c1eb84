//! Request smuggling: strict and lax backend parsers split every forwarded request in the same way, from HTTP/1.1 and
//! from HTTP/2, and leave no bytes for the next request on a reused connection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use devanture_config::api::BeginDeploy;
use devanture_config::site_toml::Route;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::http1::REST;
use crate::support::{RunningEdge, edge, manifest};
use crate::wire::{Answer, HOST, connect, read_answers, read_until_rest, write};

/// Second request hidden by the attacker.
pub(crate) const INNER: &str = "GET /api/inner HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";

/// Parser of a backend.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reader {
    /// Strict RFC 9112 parser.
    Strict,
    /// Accepts any line end and any space, and codings similar to `chunked`; a coding takes precedence over a length.
    LaxByCoding,
    /// Like `LaxByCoding`, but a length takes precedence over a coding.
    LaxByLength,
    /// Knows no transfer coding.
    Old,
}

/// Lines of the head, and the bytes after the head.
fn head(bytes: &[u8], is_lax: bool) -> Option<(Vec<String>, &[u8])> {
    let ends: &[&[u8]] = if is_lax { &[b"\r\n\r\n", b"\n\n", b"\n\r\n", b"\r\r"] } else { &[b"\r\n\r\n"] };
    let find = |end: &&[u8]| bytes.windows(end.len()).position(|window| window == *end).map(|at| (at, at + end.len()));
    let (at, after) = ends.iter().filter_map(find).min()?;
    let text: String = bytes[..at].iter().map(|byte| char::from(*byte)).collect();
    let lines = if is_lax {
        text.split(['\r', '\n']).filter(|line| !line.is_empty()).map(|line| line.trim().to_owned()).collect()
    } else {
        text.split("\r\n").map(ToOwned::to_owned).collect()
    };
    Some((lines, &bytes[after..]))
}

/// Bytes after a chunked body.
fn after_chunks(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        bytes = &bytes[end + 1..];
        if size > 0 {
            bytes = bytes.get(size + 2..)?;
            continue;
        }
        loop {
            let end = bytes.iter().position(|byte| *byte == b'\n')?;
            let is_last = bytes[..end].iter().all(|byte| *byte == b'\r');
            bytes = &bytes[end + 1..];
            if is_last {
                return Some(bytes);
            }
        }
    }
}

impl Reader {
    /// First complete request in the received bytes: the request line, and the remaining bytes.
    fn request(self, bytes: &[u8]) -> Option<(String, &[u8])> {
        let is_lax = !matches!(self, Self::Strict);
        let (lines, body) = head(bytes, is_lax)?;
        let values = |wanted: &str| -> Vec<String> {
            let fields = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
            let of = fields.filter(|(name, _)| {
                let name = if is_lax { name.trim().replace('_', "-") } else { (*name).to_owned() };
                name.eq_ignore_ascii_case(wanted)
            });
            of.map(|(_, value)| value.trim().to_ascii_lowercase()).collect()
        };
        let codings = values("transfer-encoding");
        let is_chunked = match self {
            Self::Strict => codings == ["chunked"],
            Self::LaxByCoding | Self::LaxByLength => codings.iter().any(|coding| coding.contains("chunked")),
            Self::Old => false,
        };
        let length = values("content-length").last().map(|value| {
            let digits: String = value.chars().filter(char::is_ascii_digit).collect();
            digits.parse::<usize>().unwrap_or(0)
        });
        let by_length = |length: usize| body.get(length..);
        let rest = match (self, is_chunked, length) {
            (Self::LaxByLength, _, Some(length)) | (_, false, Some(length)) => by_length(length)?,
            (_, true, _) => after_chunks(body)?,
            (_, false, None) => body,
        };
        Some((lines[0].clone(), rest))
    }

    /// Request lines of all requests on a connection, and the number of remaining bytes.
    fn read(self, mut bytes: &[u8]) -> (Vec<String>, usize) {
        let mut found = Vec::new();
        while let Some((line, rest)) = self.request(bytes) {
            found.push(line);
            bytes = rest;
        }
        (found, bytes.len())
    }
}

/// Received bytes by connection.
pub(crate) type Seen = Arc<Mutex<BTreeMap<usize, Vec<u8>>>>;

/// Backend with persistent connections that answers each complete request with the request line.
pub(crate) async fn backend() -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let remembered = Arc::clone(&seen);
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let seen = Arc::clone(&remembered);
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                loop {
                    while let Some((line, rest)) = Reader::Strict.request(&bytes) {
                        bytes = rest.to_vec();
                        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{line}", line.len());
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                    let before = bytes.len();
                    if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                        return;
                    }
                    seen.lock().unwrap().entry(number).or_default().extend(&bytes[before..]);
                }
            });
        }
    });
    (port, seen)
}

pub(crate) async fn routed(port: u16) -> RunningEdge {
    let files: &[(&str, &[u8])] = &[("index.html", b"home")];
    let edge = edge().start().await;
    let mut manifest = manifest(files);
    let to = format!("http://127.0.0.1:{port}").parse().unwrap();
    manifest.base.routes = Some(vec![Route::new("/api/*".parse().unwrap(), to)]);
    let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
    edge.try_push("shop", "prod", begin, files).await.unwrap();
    edge
}

/// Checks that all parsers find the same requests, without the hidden request.
pub(crate) fn check(seen: &Seen, what: &str) {
    for bytes in seen.lock().unwrap().values() {
        let text = String::from_utf8_lossy(bytes);
        let (strict, _) = Reader::Strict.read(bytes);
        for reader in [Reader::LaxByCoding, Reader::LaxByLength] {
            assert_eq!(reader.read(bytes).0, strict, "{what}: {reader:?} reads otherwise: {text}");
        }
        // A parser without transfer codings reads a chunked body as requests: only the request line can protect such a
        // backend.
        if !text.to_ascii_lowercase().contains("transfer-encoding") {
            assert_eq!(Reader::Old.read(bytes).0, strict, "{what}: {text}");
        }
        assert!(!strict.iter().any(|line| line.contains("/api/inner")), "{what}: {text}");
    }
}

/// Checks that another client's requests get the right responses.
pub(crate) async fn check_victim(edge: &RunningEdge, what: &str) {
    let mut stream = connect(edge, HOST, "http/1.1").await;
    for number in 0..3 {
        let line = format!("GET /api/victim/{number} HTTP/1.1");
        write(&mut stream, format!("{line}\r\nHost: shop.localhost\r\n\r\n").as_bytes()).await;
        let (answers, rest) = read_answers(&mut stream, &[false]).await;
        assert_eq!((answers[0].status, answers[0].text(), rest), (200, line, Vec::new()), "{what}");
    }
}

/// Header fields and a body, with or without the hidden request.
#[allow(clippy::too_many_lines, reason = "a table is as long as what it lists")]
fn cases() -> Vec<(String, String)> {
    let chunked = format!("0\r\n\r\n{INNER}");
    let length = INNER.len();
    let mut cases: Vec<(String, String)> = Vec::new();
    let mut case = |fields: &str, body: &str| cases.push((fields.to_owned(), body.to_owned()));
    // A coding and a length, in both orders and for both precedences.
    for coding in ["chunked", "Chunked", "chunked ", "\tchunked", " chunked\t"] {
        case(&format!("Content-Length: {}\r\nTransfer-Encoding: {coding}\r\n", chunked.len()), &chunked);
        case(&format!("Transfer-Encoding: {coding}\r\nContent-Length: 4\r\n"), &chunked);
        case(
            &format!("Transfer-Encoding: {coding}\r\nContent-Length: 5\r\n"),
            &format!("{length:x}\r\n{INNER}\r\n0\r\n\r\n"),
        );
    }
    // Codings that only some parsers read as chunked.
    for field in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: chunked\u{b}",
        "Transfer-Encoding: \u{c}chunked",
        "Transfer-Encoding: chun\0ked",
        "Transfer-Encoding:\u{a0}chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding:\n chunked",
        "Transfer_Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-encoding: chunked",
        "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
        "TE: chunked",
    ] {
        case(&format!("{field}\r\nContent-Length: {}\r\n", chunked.len()), &chunked);
        case(&format!("Content-Length: {}\r\n{field}\r\n", chunked.len()), &chunked);
        case(&format!("{field}\r\n"), &format!("{length:x}\r\n{INNER}\r\n0\r\n\r\n"));
    }
    // Lengths that only some parsers read as numbers.
    for value in [
        "+{}", "-0", "0x{}", "{},{}", "{}, 0", "0, {}", "{} 0", "{};0", "{}.0", "{}_", "\"{}\"", "\u{b}{}", "00{}",
        "{}e0", "1_{}", " {} ",
    ] {
        case(&format!("Content-Length: {}\r\n", value.replace("{}", &length.to_string())), INNER);
    }
    for fields in [
        "Content-Length: {}\r\nContent-Length: 0\r\n",
        "Content-Length: 0\r\nContent-Length: {}\r\n",
        "Content-Length: {}\r\ncontent-length: {}\r\n",
        "Content-Length : {}\r\n",
        "Content_Length: 0\r\nContent-Length: {}\r\n",
        "X: y\nContent-Length: {}\r\n",
        "Content-Length:\r\n {}\r\n",
        "Connection: content-length\r\nContent-Length: {}\r\n",
        "Expect: 100-continue\r\nContent-Length: {}\r\n",
        "Expect: 100-continue, x\r\nContent-Length: {}\r\n",
    ] {
        case(&fields.replace("{}", &length.to_string()), INNER);
    }
    // Chunk sizes that only some parsers read as numbers, and line ends that only some parsers accept.
    for size in [
        "0x{}",
        "{};x",
        "{};x=\n",
        "{};\"\r\n\"",
        "{}\n",
        "{} ",
        " {}",
        "+{}",
        "-{}",
        "{}\r",
        "{},0",
        "00000000000000000{}",
        "1000000000000000{}",
    ] {
        let size = size.replace("{}", &format!("{length:x}"));
        case("Transfer-Encoding: chunked\r\n", &format!("{size}\r\n{INNER}\r\n0\r\n\r\n"));
    }
    for tail in [
        "0\r\nX: y\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\nHost: evil\r\n\r\n",
        "0\n\n",
        "0;\n\r\n\r\n",
        "0\r\n\n",
    ] {
        case("Transfer-Encoding: chunked\r\n", &format!("{length:x}\r\n{INNER}\r\n{tail}"));
        case("Transfer-Encoding: chunked\r\n", &format!("{length:x}\r\n{INNER}x\r\n{tail}"));
    }
    // Invalid upgrades.
    case(
        &format!(
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: {length}\r\n"
        ),
        INNER,
    );
    case(&format!("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: {length}\r\n"), INNER);
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_finds_the_same_requests_in_what_comes_out_of_http_1() {
    let (port, seen) = backend().await;
    let edge = routed(port).await;
    let cases = cases();
    assert!(cases.len() > 120, "{}", cases.len());
    for (fields, body) in &cases {
        for method in ["POST", "GET"] {
            let what = format!("{method} {fields:?} {body:?}");
            seen.lock().unwrap().clear();
            let mut stream = connect(&edge, HOST, "http/1.1").await;
            let head = format!("{method} /api/outer HTTP/1.1\r\nHost: shop.localhost\r\n{fields}\r\n");
            write(&mut stream, format!("{head}{body}").as_bytes()).await;
            // Reads to the response or to the end of the connection; some requests never complete.
            let mut read = Vec::new();
            let answered = async {
                while !matches!(Answer::parse(&read, false), Some((answer, _)) if answer.status >= 200) {
                    if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
                        return;
                    }
                    if read.starts_with(b"HTTP/1.1 100 Continue\r\n\r\n") {
                        read.drain(..25);
                    }
                }
            };
            drop(timeout(REST * 2, answered).await);
            check_victim(&edge, &what).await;
            check(&seen, &what);
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_follow_each_other_at_once_stay_as_many() {
    let (port, seen) = backend().await;
    let edge = routed(port).await;
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    let requests: String = (0..20)
        .map(|number| match number % 3 {
            0 => format!("GET /api/{number} HTTP/1.1\r\nHost: shop.localhost\r\n\r\n"),
            1 => format!("POST /api/{number} HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: {}\r\n\r\n{INNER}", INNER.len()),
            _ => format!("PUT /api/{number} HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{INNER}\r\n0\r\n\r\n", INNER.len()),
        })
        .collect();
    write(&mut stream, requests.as_bytes()).await;
    let (answers, rest) = read_answers(&mut stream, &[false; 20]).await;
    let texts: Vec<String> = answers.iter().map(Answer::text).collect();
    let method = |number: usize| ["GET", "POST", "PUT"][number % 3];
    let expected: Vec<String> = (0..20).map(|number| format!("{} /api/{number} HTTP/1.1", method(number))).collect();
    assert_eq!((texts, rest), (expected, Vec::new()));
    check(&seen, "all of them");
    let (more, closed) = read_until_rest(&mut stream, REST).await;
    assert!(more.is_empty() && !closed);
    drop(stream);
    edge.stop().await;
}
