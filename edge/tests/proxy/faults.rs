//! Faulty backends, and dying connections: each fault has a status, and none affects a later request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::proxy::support::{Front, OK, Setup, bare_backend, eventually, receive, recording, run, text};

fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

async fn outcome(front: &Front) -> String {
    eventually("the outcome is noted", || !front.outcomes.borrow().is_empty()).await;
    front.outcomes.borrow_mut().pop().unwrap()
}

#[test]
fn a_backend_that_is_not_there_is_a_502() {
    run(async {
        // A bound port without a listener, now and later.
        let nobody = TcpSocket::new_v4().unwrap();
        nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let front = Front::to(nobody.local_addr().unwrap()).await;
        assert_eq!(front.get("/").await.0, 502);
        assert!(outcome(&front).await.starts_with("Connect("));
        let front = Front::start("http://not-there.invalid", Setup::default()).await;
        assert_eq!(front.get("/").await.0, 502);
    });
}

#[test]
fn a_backend_that_closes_or_resets_before_its_answer_is_a_502() {
    run(async {
        for hard in [false, true] {
            for says in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-le"] {
                let backend = bare_backend(move |mut stream, _| async move {
                    receive(&mut stream).await.unwrap();
                    stream.write_all(says).await.unwrap();
                    if hard {
                        reset(&stream);
                    }
                })
                .await;
                let front = Front::to(backend).await;
                assert_eq!(front.get("/").await.0, 502);
                assert!(outcome(&front).await.starts_with("BadAnswer("));
                assert_eq!(front.client.counts().retried, 0, "the connection was a new one");
            }
        }
    });
}

#[test]
fn an_answer_that_is_none_is_a_502() {
    run(async {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
        for answer in [
            "\u{1}\u{2}\u{3} this is not HTTP\r\n\r\n",
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/1.1 999999 what\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            &long,
        ] {
            let (backend, _) = recording(answer).await;
            let front = Front::to(backend).await;
            let (status, _) = front.get("/").await;
            assert_eq!(status, 502, "{}", &answer[..answer.len().min(80)]);
            eventually("nothing is in use", || front.client.counts().in_use == 0).await;
            assert_eq!(front.client.counts().idle, 0);
        }
    });
}

#[test]
fn a_length_beside_a_coding_is_void() {
    run(async {
        let answer =
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        let (backend, _) = recording(answer).await;
        assert_eq!(Front::to(backend).await.get("/").await, (200, "hello".to_owned()));
    });
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    run(async {
        for (head, part) in [
            ("content-length: 100", "half"),
            ("transfer-encoding: chunked", "4\r\nhalf\r\n"),
            ("transfer-encoding: chunked", "4\r\nhalf\r\nzz\r\n"),
        ] {
            for hard in [false, true] {
                let backend = bare_backend(move |mut stream, _| async move {
                    receive(&mut stream).await.unwrap();
                    let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{part}");
                    stream.write_all(text.as_bytes()).await.unwrap();
                    if hard {
                        reset(&stream);
                    }
                })
                .await;
                for http2 in [false, true] {
                    let front = Front::start(&format!("http://{backend}"), Setup { http2, ..Setup::default() }).await;
                    let request = Request::get("http://h/").header("host", "h").body(Empty::<Bytes>::new()).unwrap();
                    let answer = if http2 {
                        front.connect_h2().await.send_request(request).await
                    } else {
                        front.connect().await.send_request(request).await
                    };
                    // A reset may overtake the head sent before.
                    let Ok(response) = answer else { panic!("the front itself does not break off") };
                    if response.status() == 200 {
                        response.into_body().collect().await.expect_err("it looks whole");
                    } else {
                        assert!(hard && response.status() == 502);
                    }
                    eventually("nothing is in use", || front.client.counts().in_use == 0).await;
                }
            }
        }
    });
}

#[test]
fn a_backend_that_does_not_begin_its_answer_is_a_504() {
    run(async {
        for says in ["", "HTTP/1.1 200 OK\r\nx-part: ", "HTTP/1.1 100 Continue\r\n\r\n"] {
            let backend = bare_backend(move |mut stream, _| async move {
                receive(&mut stream).await.unwrap();
                // Repeated interim responses do not count as a response.
                for _ in 0..200 {
                    if stream.write_all(says.as_bytes()).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await;
            let front = Front::start(&format!("http://{backend}"), Setup { timeout_ms: 150, ..Setup::default() }).await;
            assert_eq!(front.get("/").await.0, 504, "{says:?}");
            assert_eq!(outcome(&front).await, "Timeout(Head)");
            assert_eq!((front.client.counts().idle, front.client.counts().in_use), (0, 0));
        }
    });
}

#[test]
fn a_backend_that_rests_within_its_answer_ends_it() {
    run(async {
        let (backend, _) = recording("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome").await;
        let front = Front::start(&format!("http://{backend}"), Setup { timeout_ms: 100, ..Setup::default() }).await;
        let request = Request::get("/").header("host", "h").body(Empty::<Bytes>::new()).unwrap();
        let response = front.ask(request).await;
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.expect_err("it looks whole");
        eventually("nothing is in use", || front.client.counts().in_use == 0).await;
    });
}

#[test]
fn a_slow_answer_may_take_longer_than_the_timeout_in_all() {
    run(async {
        let backend = bare_backend(|mut stream, _| async move {
            receive(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n").await.unwrap();
            for letter in b"slowness" {
                tokio::time::sleep(Duration::from_millis(60)).await;
                stream.write_all(&[*letter]).await.unwrap();
            }
        })
        .await;
        let front = Front::start(&format!("http://{backend}"), Setup { timeout_ms: 400, ..Setup::default() }).await;
        assert_eq!(front.get("/").await, (200, "slowness".to_owned()));
    });
}

#[test]
fn connections_are_kept_and_used_again() {
    run(async {
        let connections: Rc<Cell<usize>> = Rc::default();
        let counted = Rc::clone(&connections);
        let backend = bare_backend(move |mut stream, number| {
            counted.set(number + 1);
            async move {
                while receive(&mut stream).await.is_some() {
                    stream.write_all(OK).await.unwrap();
                }
            }
        })
        .await;
        let front = Front::to(backend).await;
        for method in ["GET", "POST", "DELETE", "GET"] {
            assert_eq!(front.method(method, "/").await, (200, "ok".to_owned()));
            eventually("the connection is kept", || front.client.counts().idle == 1).await;
        }
        let counts = front.client.counts();
        assert_eq!((connections.get(), counts.connected, counts.reused, counts.retried), (1, 1, 3, 0));

        let none = Front::start(&format!("http://{backend}"), Setup { idle_max: 0, ..Setup::default() }).await;
        none.get("/").await;
        none.get("/").await;
        assert_eq!((none.client.counts().connected, none.client.counts().idle), (2, 0));
    });
}

#[test]
fn idle_connections_are_few_and_do_not_grow_old() {
    run(async {
        let (backend, _) = recording("HTTP/1.1 200 OK\r\nkeep-alive: timeout=2\r\ncontent-length: 2\r\n\r\nok").await;
        let front = Front::start(&format!("http://{backend}"), Setup { idle_max: 2, ..Setup::default() }).await;
        let front = &front;
        tokio::join!(front.get("/"), front.get("/"), front.get("/"), front.get("/"));
        eventually("two are kept", || front.client.counts().idle == 2).await;
        // The backend announces two seconds of keep-alive: the proxy closes after one.
        eventually("none is left", || front.client.counts().idle == 0).await;
    });
}

#[test]
fn a_connection_that_the_backend_will_close_is_not_kept() {
    run(async {
        let (backend, _) = recording("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
        let front = Front::to(backend).await;
        for _ in 0..3 {
            assert_eq!(front.get("/").await.0, 200);
        }
        assert_eq!((front.client.counts().connected, front.client.counts().reused), (3, 0));
    });
}

/// Backend whose first connection answers once and dies when the second request arrives.
async fn dying_backend(hard: bool) -> (std::net::SocketAddr, Rc<RefCell<Vec<String>>>) {
    let lines: Rc<RefCell<Vec<String>>> = Rc::default();
    let notes = Rc::clone(&lines);
    let address = bare_backend(move |mut stream, number| {
        let notes = Rc::clone(&notes);
        async move {
            let mut answered = 0;
            while let Some(received) = receive(&mut stream).await {
                notes.borrow_mut().push(format!("{number}: {}", received.line()));
                if number == 0 && answered == 1 {
                    if hard {
                        reset(&stream);
                    }
                    return;
                }
                stream.write_all(OK).await.unwrap();
                answered += 1;
            }
        }
    })
    .await;
    (address, lines)
}

#[test]
fn a_dead_kept_alive_connection_is_tried_again_where_that_is_safe() {
    run(async {
        for hard in [false, true] {
            // More than the replay buffer of a body.
            let long = || "x".repeat(100_000);
            for (method, body, status, retried) in [
                ("GET", String::new(), 200, 1),
                ("HEAD", String::new(), 200, 1),
                ("OPTIONS", String::new(), 200, 1),
                ("DELETE", String::new(), 200, 1),
                ("POST", String::new(), 502, 0),
                ("PUT", "x".to_owned(), 200, 1),
                ("PUT", "x".repeat(64 * 1024), 200, 1),
                // Not replayable, and so sent on a new connection.
                ("PUT", long(), 200, 0),
                ("DELETE", long(), 200, 0),
            ] {
                let (backend, lines) = dying_backend(hard).await;
                let front = Front::to(backend).await;
                assert_eq!(front.get("/first").await.0, 200);
                eventually("the connection is kept", || front.client.counts().idle == 1).await;
                let request = Request::builder().method(method).uri("/second").header("host", "h");
                let response = front.ask(request.body(Full::from(body)).unwrap()).await;
                assert_eq!(response.status(), status, "{method}");
                assert_eq!(front.client.counts().retried, retried, "{method}");
                let second = format!("{method} /second HTTP/1.1");
                let sent = lines.borrow().iter().filter(|line| line.ends_with(&second)).count() as u64;
                assert_eq!(sent, 1 + retried, "{:?}", lines.borrow());
            }
        }
    });
}

#[test]
fn a_request_whose_kept_alive_connection_ended_goes_to_another_member_whatever_the_budget() {
    run(async {
        let leaving = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = leaving.local_addr().unwrap();
        let has_answered: Rc<Cell<bool>> = Rc::default();
        let noted = Rc::clone(&has_answered);
        // Answers once, stops listening, and closes when the next request arrives.
        tokio::task::spawn_local(async move {
            let (mut stream, _) = leaving.accept().await.unwrap();
            drop(leaving);
            receive(&mut stream).await.unwrap();
            stream.write_all(OK).await.unwrap();
            noted.set(true);
            receive(&mut stream).await;
        });
        let (other, _) = recording(OK).await;
        // Retries on other members are disabled, so that only this rule applies.
        let declared = serde_json::json!({"retry_percent": 0});
        let setup = Setup { declared, ..Setup::default() };
        let front = Front::start(&format!("http://{to} http://{other}"), setup).await;
        // Members are chosen at random: the leaving member is chosen once and then retried once.
        for _ in 0..1_000 {
            if front.client.counts().retried > 0 {
                break;
            }
            assert_eq!(front.get("/").await.0, 200);
            eventually("the connection is kept", || front.client.counts().in_use == 0).await;
        }
        assert!(has_answered.get());
        assert_eq!(front.client.counts().retried, 2, "on a new connection, and by the other member");
    });
}

#[test]
fn a_bad_answer_on_a_kept_alive_connection_is_not_requested_again() {
    run(async {
        let backend = bare_backend(|mut stream, _| async move {
            for answer in [OK, b"nonsense\r\n\r\n"] {
                receive(&mut stream).await.unwrap();
                stream.write_all(answer).await.unwrap();
            }
        })
        .await;
        let front = Front::to(backend).await;
        assert_eq!(front.get("/").await.0, 200);
        eventually("the connection is kept", || front.client.counts().idle == 1).await;
        assert_eq!(front.get("/").await.0, 502);
        assert_eq!(front.client.counts().retried, 0);
    });
}

#[test]
fn a_backend_that_closes_its_idle_connections_costs_no_request() {
    run(async {
        let backend = bare_backend(|mut stream, _| async move {
            receive(&mut stream).await.unwrap();
            stream.write_all(OK).await.unwrap();
        })
        .await;
        let front = Front::to(backend).await;
        for number in 0..50 {
            // The close is noticed before the next request only sometimes; no bytes of the request were sent on a
            // connection known as dead, so that a POST is safe, too.
            let method = if number % 2 == 0 { "GET" } else { "DELETE" };
            assert_eq!(front.method(method, "/").await, (200, "ok".to_owned()));
        }
    });
}

#[test]
fn bytes_that_nobody_requested_close_the_connection() {
    run(async {
        let surplus = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
        let (backend, _) = recording(surplus).await;
        let front = Front::to(backend).await;
        for _ in 0..3 {
            assert_eq!(front.get("/").await, (200, "ok".to_owned()));
        }
    });
}

#[test]
fn a_limit_of_requests_to_one_upstream_is_a_503() {
    run(async {
        let backend = bare_backend(|mut stream, _| async move {
            receive(&mut stream).await.unwrap();
            drop(stream.read(&mut [0; 1]).await);
        })
        .await;
        let front = Front::start(
            &format!("http://{backend}"),
            Setup { in_use_max: 2, declared: serde_json::json!({"queue_max": 0}), ..Setup::default() },
        )
        .await;
        let mut waiting = Vec::new();
        for _ in 0..2 {
            let mut sender = front.connect().await;
            let request = Request::get("/").header("host", "h").body(Empty::<Bytes>::new()).unwrap();
            waiting.push(tokio::task::spawn_local(async move { drop(sender.send_request(request).await) }));
        }
        eventually("two are under way", || front.client.counts().in_use == 2).await;
        assert_eq!(front.get("/").await.0, 503);
        waiting.pop().unwrap().abort();
        eventually("one is gone", || front.client.counts().in_use == 1).await;
    });
}

#[test]
fn a_backend_that_comes_back_is_used_again() {
    run(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let front = Front::to(socket.local_addr().unwrap()).await;
        assert_eq!(front.get("/").await.0, 502);
        let listener = socket.listen(1).unwrap();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            receive(&mut stream).await.unwrap();
            stream.write_all(OK).await.unwrap();
        });
        assert_eq!(front.get("/").await, (200, "ok".to_owned()));
    });
}

#[test]
fn an_answers_text_can_be_read_while_the_backend_is_already_gone() {
    run(async {
        let backend = bare_backend(|mut stream, _| async move {
            receive(&mut stream).await.unwrap();
            stream.write_all(OK).await.unwrap();
        })
        .await;
        let front = Front::to(backend).await;
        let response = front.ask(Request::get("/").header("host", "h").body(Empty::<Bytes>::new()).unwrap()).await;
        assert_eq!(text(response).await, "ok");
        eventually("nothing is kept", || front.client.counts().idle == 0).await;
    });
}
