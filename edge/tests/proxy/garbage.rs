//! Invalid backend responses: endless heads, endless interim responses, bodies in responses without body. No garbage
//! reaches the next request, and none is read forever.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::proxy::support::{Front, OK, Setup, bare_backend, eventually, receive, recording, run};

/// Bytes that a backend would write without a limit.
const FLOOD_BYTES: usize = 100 << 20;
/// Bytes of a flood that the systems at both ends of a connection may buffer.
const ON_THEIR_WAY_BYTES: usize = 24 << 20;

/// Backend that writes `begin`, then `again` until the connection ends or 100 MiB are written; counts the bytes.
/// `/well` gets a valid response.
async fn flood(begin: &'static str, again: String) -> (SocketAddr, Rc<Cell<usize>>, Rc<Cell<bool>>) {
    let (written, is_cut): (Rc<Cell<usize>>, Rc<Cell<bool>>) = Default::default();
    let (counted, noted, again) = (Rc::clone(&written), Rc::clone(&is_cut), Rc::new(again));
    let address = bare_backend(move |mut stream, _| {
        let (written, is_cut, again) = (Rc::clone(&counted), Rc::clone(&noted), Rc::clone(&again));
        async move {
            while let Some(request) = receive(&mut stream).await {
                if request.line().contains("/well") {
                    stream.write_all(OK).await.unwrap();
                    continue;
                }
                stream.write_all(begin.as_bytes()).await.unwrap();
                while written.get() < FLOOD_BYTES {
                    if stream.write_all(again.as_bytes()).await.is_err() {
                        is_cut.set(true);
                        return;
                    }
                    written.set(written.get() + again.len());
                }
                return;
            }
        }
    })
    .await;
    (address, written, is_cut)
}

#[test]
fn an_endless_head_is_cut_off() {
    run(async {
        for (begin, again) in [
            ("HTTP/1.1 200 OK\r\nx-long: ", "x".repeat(64 * 1024)),
            ("HTTP/1.1 200 OK\r\n", format!("x-one: {}\r\n", "x".repeat(1_000)).repeat(64)),
            ("HTTP/1.1 200 OK\r\n", "a:\r\n".repeat(16 * 1024)),
            ("HTTP/1.1 200 ", "x".repeat(64 * 1024)),
            ("", "\r\n".repeat(32 * 1024)),
            ("", "\0".repeat(64 * 1024)),
        ] {
            let (backend, written, is_cut) = flood(begin, again).await;
            let front = Front::to(backend).await;
            assert_eq!(front.get("/").await.0, 502, "{begin:?}");
            eventually("it is cut off", || is_cut.get()).await;
            assert!(written.get() < ON_THEIR_WAY_BYTES, "{begin:?}: {}", written.get());
            assert_eq!(front.get("/well").await, (200, "ok".to_owned()));
            assert_eq!(front.client.counts().in_use, 0);
        }
    });
}

#[test]
fn what_stands_between_the_pieces_of_a_body_is_cut_off() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        let extension: &'static str = Box::leak(format!("{head}4;x=").into_boxed_str());
        let trailer: &'static str = Box::leak(format!("{head}0\r\nx-sum: ").into_boxed_str());
        let trailers: &'static str = Box::leak(format!("{head}0\r\n").into_boxed_str());
        for (begin, again) in [
            (extension, "x".repeat(64 * 1024)),
            (trailer, "x".repeat(64 * 1024)),
            (trailers, format!("x-one: {}\r\n", "x".repeat(1_000)).repeat(64)),
        ] {
            let (backend, written, is_cut) = flood(begin, again).await;
            let front = Front::to(backend).await;
            let response = front.ask(Request::get("/").header("host", "h").body(Empty::<Bytes>::new()).unwrap()).await;
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.expect_err("it looks whole");
            eventually("it is cut off", || is_cut.get()).await;
            assert!(written.get() < ON_THEIR_WAY_BYTES, "{begin:?}: {}", written.get());
            assert_eq!(front.get("/well").await, (200, "ok".to_owned()));
        }
    });
}

#[test]
fn the_size_of_a_piece_may_not_take_longer_than_the_idle_time() {
    run(async {
        let backend = bare_backend(|mut stream, _| async move {
            while let Some(request) = receive(&mut stream).await {
                if request.line().contains("/well") {
                    stream.write_all(OK).await.unwrap();
                    continue;
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").await.unwrap();
                // A size may begin with zeros, an endless number of which says nothing.
                while stream.write_all(&[b'0'; 4096]).await.is_ok() {}
                return;
            }
        })
        .await;
        let setup = Setup { route: json!({"idle_timeout_ms": 700}), ..Setup::default() };
        let front = Front::start(&format!("http://{backend}"), setup).await;
        let response = front.ask(Request::get("/").header("host", "h").body(Empty::<Bytes>::new()).unwrap()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(front.get("/well").await, (200, "ok".to_owned()));
        response.into_body().collect().await.expect_err("it looks whole");
        eventually("nothing is in use", || front.client.counts().in_use == 0).await;
    });
}

#[test]
fn interim_answers_without_end_are_a_504_and_hold_up_nobody() {
    run(async {
        for interim in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"] {
            let flooding = bare_backend(move |mut stream, _| async move {
                while let Some(request) = receive(&mut stream).await {
                    if request.line().contains("/well") {
                        stream.write_all(OK).await.unwrap();
                        continue;
                    }
                    // As fast as the proxy reads.
                    while stream.write_all(interim.repeat(1_000).as_bytes()).await.is_ok() {}
                    return;
                }
            })
            .await;
            let setup = Setup { route: json!({"first_byte_timeout_ms": 700}), ..Setup::default() };
            let front = Front::start(&format!("http://{flooding}"), setup).await;
            let well = async {
                eventually("it is under way", || front.client.counts().in_use == 1).await;
                for _ in 0..10 {
                    assert_eq!(front.get("/well").await, (200, "ok".to_owned()));
                }
            };
            let (flooded, ()) = tokio::join!(front.get("/"), well);
            assert_eq!(flooded.0, 504);
            eventually("nothing is in use", || front.client.counts().in_use == 0).await;
        }
    });
}

#[test]
fn a_head_that_comes_byte_by_byte_may_take_as_long_as_the_first_byte() {
    run(async {
        let backend = bare_backend(|mut stream, _| async move {
            while let Some(request) = receive(&mut stream).await {
                let pause = Duration::from_millis(if request.line().contains("/slow") { 200 } else { 2 });
                for byte in OK {
                    if stream.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        })
        .await;
        let setup = Setup { route: json!({"first_byte_timeout_ms": 1_500}), ..Setup::default() };
        let front = Front::start(&format!("http://{backend}"), setup).await;
        assert_eq!(front.get("/").await, (200, "ok".to_owned()));
        assert_eq!(front.get("/slow").await.0, 504);
        assert_eq!(front.get("/").await, (200, "ok".to_owned()));
    });
}

#[test]
fn a_body_where_none_may_be_is_not_the_next_answer() {
    run(async {
        let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
        for (method, head) in [
            ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 43\r\n\r\n"),
            ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
            ("GET", "HTTP/1.1 204 No Content\r\ncontent-length: 43\r\n\r\n"),
            ("GET", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n"),
            ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 43\r\n\r\n"),
            ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n"),
        ] {
            for is_late in [false, true] {
                let backend = bare_backend(move |mut stream, _| async move {
                    while let Some(request) = receive(&mut stream).await {
                        if request.line().contains("/well") {
                            stream.write_all(OK).await.unwrap();
                            continue;
                        }
                        stream.write_all(head.as_bytes()).await.unwrap();
                        if is_late {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        drop(stream.write_all(evil.as_bytes()).await);
                    }
                })
                .await;
                let front = Front::to(backend).await;
                for _ in 0..5 {
                    let (status, text) = front.method(method, "/").await;
                    assert!(matches!(status, 200 | 204 | 304 | 502) && text != "evil", "{head:?}: {status} {text}");
                    if is_late {
                        tokio::time::sleep(Duration::from_millis(8)).await;
                    }
                    assert_eq!(front.get("/well").await, (200, "ok".to_owned()), "{method} {head:?}");
                }
            }
        }
    });
}

#[test]
fn lengths_and_sizes_that_are_no_numbers_are_a_broken_answer() {
    run(async {
        for head in [
            "content-length: 2, 3",
            "content-length: +2",
            "content-length: 0x2",
            "content-length: 99999999999999999999",
        ] {
            let (backend, _) = recording(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nok")).await;
            assert_eq!(Front::to(backend).await.get("/").await.0, 502, "{head}");
        }
        // A repeated equal length is valid.
        let (backend, _) = recording("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(Front::to(backend).await.get("/").await, (200, "ok".to_owned()));
        for chunks in [
            "0x2\r\nok\r\n0\r\n\r\n",
            "-2\r\nok\r\n0\r\n\r\n",
            "fffffffffffffffff\r\nok",
            "2\r\nokay\r\n0\r\n\r\n",
            "2\nok\n0\n\n",
            "\r\nok\r\n",
        ] {
            let (backend, _) =
                recording(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")).await;
            let front = Front::to(backend).await;
            let answer = front.raw(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
            assert!(!answer.contains("\r\n0\r\n") && !answer.contains("content-length"), "{chunks:?}: {answer:?}");
            eventually("nothing is in use", || front.client.counts().in_use == 0).await;
            assert_eq!(front.client.counts().idle, 0);
        }
    });
}

#[test]
fn nothing_in_an_answers_head_begins_another_answer() {
    run(async {
        for line in [
            "x: a\rset-cookie: evil=1",
            "x: a\nset-cookie: evil=1",
            "x : a",
            " x: a",
            "x\0: a",
            "x: a\u{7f}",
            ": a",
            "x: \u{b}a",
        ] {
            let answer = format!("HTTP/1.1 200 OK\r\n{line}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
            let (backend, _) = recording(answer).await;
            let front = Front::to(backend).await;
            let answer = front.raw(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
            let (head, _) = answer.split_once("\r\n\r\n").unwrap();
            let is_plain = |line: &str| !line.contains(['\r', '\n', '\0', '\u{7f}', '\u{b}']);
            assert!(head.split("\r\n").all(is_plain), "{line:?}: {head:?}");
            // A line that a lax parser splits may be read as two lines or refused, and no other result.
            assert!(answer.starts_with("HTTP/1.1 502") || answer.ends_with("\r\n\r\nok"), "{line:?}: {answer:?}");
        }
    });
}

#[test]
fn an_answer_that_comes_before_its_request_answers_none() {
    run(async {
        let backend = bare_backend(|mut stream, number| async move {
            if number == 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil").await.unwrap();
            }
            while receive(&mut stream).await.is_some() {
                stream.write_all(OK).await.unwrap();
            }
        })
        .await;
        let front = Front::to(backend).await;
        let mut answers = Vec::new();
        for _ in 0..5 {
            answers.push(front.get("/").await);
        }
        // The first response cannot be distinguished; every other response must belong to its request.
        assert!(answers[1..].iter().all(|answer| *answer == (200, "ok".to_owned())), "{answers:?}");
    });
}

/// Like servers that treat `HEAD` as `GET`: the head is sent, and then a body.
#[test]
fn a_body_that_follows_the_answer_to_a_head_is_nobodys_answer() {
    run(async {
        let backend = bare_backend(|mut stream, _| async move {
            while let Some(request) = receive(&mut stream).await {
                let evil = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
                if request.line().starts_with("HEAD") {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", evil.len());
                    stream.write_all(head.as_bytes()).await.unwrap();
                    stream.write_all(evil).await.ok();
                } else {
                    stream.write_all(OK).await.unwrap();
                }
            }
        })
        .await;
        let front = Front::to(backend).await;
        for _ in 0..50 {
            assert_eq!(front.method("HEAD", "/stored").await, (200, String::new()));
            assert_eq!(front.get("/well").await, (200, "ok".to_owned()));
        }
    });
}
