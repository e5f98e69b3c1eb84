//! HTTP/2 backends: many streams on one connection, gRPC trailers, and every kind of refusal and shutdown.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn as server_conn;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::proxy::http2_wire::{CLIENT_PREFACE, Kind, Wire};
use crate::proxy::support::{Front, LocalExec, Setup, bare_backend, eventually, run, text};
use crate::proxy::websocket;

/// Front whose pool speaks HTTP/2.
pub(crate) fn http2(declared: serde_json::Value) -> Setup {
    let mut declared = declared;
    declared["protocol"] = "http2".into();
    Setup { declared, ..Setup::default() }
}

async fn front_to(backend: SocketAddr) -> Front {
    Front::start(&format!("http://{backend}"), http2(json!({}))).await
}

/// hyper backend with at most `streams_max` concurrent requests on a connection; counts the connections.
async fn backend<H, F>(streams_max: u32, handler: H) -> (SocketAddr, Rc<Cell<usize>>)
where
    H: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Response<Full<Bytes>>> + 'static,
{
    let connections: Rc<Cell<usize>> = Rc::default();
    let counted = Rc::clone(&connections);
    let address = bare_backend(move |stream, number| {
        counted.set(number + 1);
        let handler = handler.clone();
        async move {
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, hyper::Error>(answer.await) }
            });
            let mut http = server_conn::http2::Builder::new(LocalExec);
            drop(http.max_concurrent_streams(streams_max).serve_connection(TokioIo::new(stream), service).await);
        }
    })
    .await;
    (address, connections)
}

#[test]
fn many_requests_share_one_connection() {
    run(async {
        let (gate, arrived) = (Rc::new(Semaphore::new(0)), Rc::new(Cell::new(0)));
        let (end_of_batch, counted) = (Rc::clone(&gate), Rc::clone(&arrived));
        let (backend, connections) = backend(200, move |request| {
            let (gate, arrived) = (Rc::clone(&gate), Rc::clone(&counted));
            async move {
                arrived.set(arrived.get() + 1);
                drop(gate.acquire().await);
                Response::new(Full::from(request.uri().to_string()))
            }
        })
        .await;
        let front = &front_to(backend).await;
        let request = join_all((0..60).map(|number| async move { front.get(&format!("/{number}")).await }));
        let opened = async {
            eventually("all are there at once", || arrived.get() == 60).await;
            end_of_batch.add_permits(60);
        };
        let (answers, ()) = tokio::join!(request, opened);
        for (number, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer, (200, format!("http://shop.example/{number}")));
        }
        assert_eq!((connections.get(), front.client.counts().connected), (1, 1));
    });
}

#[test]
fn a_connection_that_is_full_does_not_hold_up_the_next_request() {
    run(async {
        let gate = Rc::new(Semaphore::new(0));
        let held = Rc::clone(&gate);
        let (backend, connections) = backend(4, move |request| {
            let gate = Rc::clone(&held);
            async move {
                if request.uri().path() == "/long" {
                    drop(gate.acquire().await);
                }
                Response::new(Full::from("ok"))
            }
        })
        .await;
        let front = &front_to(backend).await;
        // The limit of the backend is known after the first response.
        assert_eq!(front.get("/").await.0, 200);
        let long = join_all((0..10).map(|_| front.get("/long")));
        let short = async {
            eventually("they are under way", || front.client.counts().in_use == 10).await;
            assert_eq!(front.get("/short").await, (200, "ok".to_owned()));
            gate.add_permits(10);
        };
        let (answers, ()) = tokio::join!(long, short);
        assert!(answers.iter().all(|(status, _)| *status == 200));
        assert_eq!(connections.get(), 3);
    });
}

/// Sends a request with a short body if the method permits one.
async fn ask(front: &Front, method: &str, path: &str) -> (u16, String) {
    let body = if matches!(method, "POST" | "PUT") { "body of it" } else { "" };
    let request = Request::builder().method(method).uri(path).header("host", "shop.example");
    let response = front.ask(request.body(Full::from(body)).unwrap()).await;
    (response.status().as_u16(), text(response).await)
}

#[test]
fn a_stream_that_was_refused_goes_out_again_whatever_its_method() {
    run(async {
        for method in ["GET", "POST", "PUT"] {
            let bodies: Rc<RefCell<Vec<String>>> = Rc::default();
            let notes = Rc::clone(&bodies);
            let backend = bare_backend(move |stream, number| {
                let notes = Rc::clone(&notes);
                async move {
                    let mut wire = Wire::accept(stream).await.unwrap();
                    while let Some(request) = wire.request().await {
                        // RFC 9113 §8.7: the request was not processed.
                        if number == 0 && request.stream > 1 {
                            wire.reset(request.stream, 7).await;
                            continue;
                        }
                        notes.borrow_mut().push(String::from_utf8(request.body).unwrap());
                        wire.answer(request.stream, b"ok").await;
                    }
                }
            })
            .await;
            let front = front_to(backend).await;
            assert_eq!(ask(&front, "GET", "/first").await.0, 200);
            assert_eq!(ask(&front, method, "/second").await, (200, "ok".to_owned()), "{method}");
            assert_eq!(bodies.borrow().len(), 2);
            assert_eq!(bodies.borrow()[1], if method == "GET" { "" } else { "body of it" });
        }
    });
}

#[test]
fn what_a_goaway_leaves_undone_goes_out_again_and_what_it_allows_is_answered() {
    run(async {
        for method in ["GET", "POST"] {
            let answered: Rc<RefCell<Vec<(usize, u32)>>> = Rc::default();
            let notes = Rc::clone(&answered);
            let backend = bare_backend(move |stream, number| {
                let notes = Rc::clone(&notes);
                async move {
                    let mut wire = Wire::accept(stream).await.unwrap();
                    let mut streams = Vec::new();
                    while let Some(request) = wire.request().await {
                        streams.push(request.stream);
                        if number > 0 {
                            notes.borrow_mut().push((number, request.stream));
                            wire.answer(request.stream, b"ok").await;
                        } else if streams.len() == 6 {
                            // The first three requests are answered, the other requests were never read.
                            wire.goaway(streams[2], 0).await;
                            for stream in &streams[..3] {
                                notes.borrow_mut().push((number, *stream));
                                wire.answer(*stream, b"ok").await;
                            }
                        }
                    }
                }
            })
            .await;
            let front = &front_to(backend).await;
            let answers =
                join_all((0..6).map(|number| async move { ask(front, method, &format!("/{number}")).await })).await;
            assert!(answers.iter().all(|(status, _)| *status == 200), "{method}: {answers:?}");
            let answered: BTreeSet<(usize, u32)> = answered.borrow().iter().copied().collect();
            assert_eq!(answered.len(), 6, "each once: {answered:?}");
            assert_eq!(front.client.counts().in_use, 0);
        }
    });
}

#[test]
fn no_request_is_lost_while_connections_come_and_go() {
    run(async {
        let seen: Rc<Cell<usize>> = Rc::default();
        let counted = Rc::clone(&seen);
        let backend = bare_backend(move |stream, _| {
            let seen = Rc::clone(&counted);
            async move {
                let mut wire = Wire::accept(stream).await.unwrap();
                let mut answered = 0;
                while let Some(request) = wire.request().await {
                    answered += 1;
                    if answered > 5 {
                        // Later requests are never answered.
                        continue;
                    }
                    if answered == 5 {
                        wire.goaway(request.stream, 0).await;
                    }
                    seen.set(seen.get() + 1);
                    wire.answer(request.stream, &request.body).await;
                }
            }
        })
        .await;
        let front = &front_to(backend).await;
        let rounds = |method: &'static str| async move {
            for number in 0..100 {
                assert_eq!(ask(front, method, &format!("/{number}")).await.0, 200, "{method} {number}");
            }
        };
        tokio::join!(rounds("GET"), rounds("POST"), rounds("PUT"), rounds("POST"));
        assert_eq!(seen.get(), 400, "each was answered once");
    });
}

#[test]
fn a_backend_that_takes_no_requests_at_all_is_asked_once_for_each() {
    run(async {
        for refuses in [false, true] {
            let connections: Rc<Cell<usize>> = Rc::default();
            let counted = Rc::clone(&connections);
            let backend = bare_backend(move |stream, _| {
                counted.set(counted.get() + 1);
                async move {
                    let Some(mut wire) = Wire::accept(stream).await else { return };
                    // Closes at once, or refuses every request.
                    while refuses && let Some(request) = wire.request().await {
                        wire.reset(request.stream, 7).await;
                    }
                }
            })
            .await;
            let front = front_to(backend).await;
            for _ in 0..10 {
                assert_eq!(front.get("/").await.0, 502);
            }
            assert_eq!(connections.get(), 10, "refuses: {refuses}");
        }
    });
}

#[test]
fn a_stream_that_is_reset_within_its_answer_is_a_broken_answer_and_the_others_go_on() {
    run(async {
        let backend = bare_backend(|stream, _| async move {
            let mut wire = Wire::accept(stream).await.unwrap();
            let mut broken = None;
            while let Some(request) = wire.request().await {
                match broken {
                    None => {
                        wire.head(request.stream, false).await;
                        wire.frame(Kind::DATA, 0, request.stream, b"half").await;
                        broken = Some(request.stream);
                    }
                    Some(stream) => {
                        wire.reset(stream, 2).await;
                        wire.answer(request.stream, b"whole").await;
                    }
                }
            }
        })
        .await;
        let front = front_to(backend).await;
        let request = Request::get("/").header("host", "h").body(Empty::<Bytes>::new()).unwrap();
        let mut response = front.ask(request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "half");
        assert_eq!(front.get("/").await, (200, "whole".to_owned()));
        response.into_body().collect().await.expect_err("it looks whole");
        eventually("nothing is in use", || front.client.counts().in_use == 0).await;
        assert_eq!(front.client.counts().connected, 1);
    });
}

#[test]
fn a_client_that_goes_away_resets_its_stream_alone() {
    run(async {
        for within_answer in [false, true] {
            let reset: Rc<Cell<Option<u32>>> = Rc::default();
            let noted = Rc::clone(&reset);
            let backend = bare_backend(move |stream, _| {
                let noted = Rc::clone(&noted);
                async move {
                    let mut wire = Wire::accept(stream).await.unwrap();
                    let first = wire.request().await.unwrap().stream;
                    if within_answer {
                        wire.head(first, false).await;
                        wire.frame(Kind::DATA, 0, first, b"half").await;
                    }
                    while let Some(frame) = wire.next().await {
                        if frame.kind == Kind::RST_STREAM && frame.stream == first {
                            noted.set(Some(u32::from_be_bytes(frame.payload[..4].try_into().unwrap())));
                        } else if frame.kind == Kind::HEADERS {
                            wire.answer(frame.stream, b"still here").await;
                        }
                    }
                }
            })
            .await;
            let front = front_to(backend).await;
            let mut stream = TcpStream::connect(front.address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
            if within_answer {
                let mut read = Vec::new();
                while !read.ends_with(b"half\r\n") {
                    assert!(stream.read_buf(&mut read).await.unwrap() > 0);
                }
            } else {
                eventually("it is under way", || front.client.counts().in_use == 1).await;
            }
            drop(stream);
            eventually("the backend is told", || reset.get() == Some(8)).await;
            assert_eq!(front.get("/").await, (200, "still here".to_owned()));
            assert_eq!(front.client.counts().connected, 1);
        }
    });
}

#[test]
fn a_connection_on_which_nobody_answers_any_more_is_left() {
    run(async {
        let backend = bare_backend(|stream, number| async move {
            let mut wire = Wire::accept(stream).await.unwrap();
            let mut count = 0;
            while let Some(request) = wire.request().await {
                count += 1;
                // As after a firewall dropped the connection state: the connection is open, and no bytes return.
                if number > 0 || count == 1 {
                    wire.answer(request.stream, b"ok").await;
                }
            }
        })
        .await;
        let setup = Setup { route: json!({"first_byte_timeout_ms": 200}), ..http2(json!({})) };
        let front = Front::start(&format!("http://{backend}"), setup).await;
        assert_eq!(front.get("/").await.0, 200);
        assert_eq!(front.get("/").await.0, 504);
        for _ in 0..3 {
            assert_eq!(front.get("/").await, (200, "ok".to_owned()));
        }
        assert_eq!(front.client.counts().connected, 2);
    });
}

#[test]
fn a_websocket_goes_over_http_1_beside_requests_over_http_2() {
    run(async {
        let backend = bare_backend(|stream, _| async move {
            let mut first = [0; 3];
            while stream.peek(&mut first).await.unwrap() < first.len() {}
            if CLIENT_PREFACE.starts_with(&first) {
                let mut wire = Wire::accept(stream).await.unwrap();
                while let Some(request) = wire.request().await {
                    wire.answer(request.stream, b"over HTTP/2").await;
                }
            } else {
                websocket::echo_on(stream).await;
            }
        })
        .await;
        let front = front_to(backend).await;
        assert_eq!(front.get("/").await, (200, "over HTTP/2".to_owned()));
        websocket::one_echo(&front).await;
        assert_eq!(front.get("/").await, (200, "over HTTP/2".to_owned()));
        assert_eq!((front.client.counts().connected, front.client.counts().upgraded), (2, 1));
    });
}

/// `https` pool member for `api.internal` with a private authority; returns the address and the authority.
async fn secure(alpn: &[u8]) -> (SocketAddr, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, key);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["api.internal".to_owned()];
    let leaf = rcgen::CertificateParams::new(names).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(leaf_key.serialize_der()).unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let address = bare_backend(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            let service = service_fn(move |request: Request<Incoming>| {
                let answer =
                    format!("{:?} {name:?} {}", request.version(), request.uri().scheme_str().unwrap_or_default());
                async move { Ok::<_, hyper::Error>(Response::new(Full::<Bytes>::from(answer))) }
            });
            drop(server_conn::http2::Builder::new(LocalExec).serve_connection(TokioIo::new(stream), service).await);
        }
    })
    .await;
    (address, ca)
}

#[test]
fn http_2_over_tls_is_negotiated_with_the_pools_own_authority_and_name() {
    run(async {
        let (backend, ca) = secure(b"h2").await;
        let front = async |backend: SocketAddr, declared: serde_json::Value| {
            Front::start(&format!("https://{backend}"), http2(declared)).await
        };
        let right = front(backend, json!({"ca": ca, "server_name": "api.internal"})).await;
        assert_eq!(right.get("/").await, (200, "HTTP/2.0 Some(\"api.internal\") https".to_owned()));
        for declared in [
            json!({"ca": ca, "server_name": "other.internal"}),
            json!({"ca": ca}),
            json!({"server_name": "api.internal"}),
            json!({"ca": secure(b"h2").await.1, "server_name": "api.internal"}),
        ] {
            let wrong = front(backend, declared.clone()).await;
            assert_eq!(wrong.get("/").await.0, 502, "{declared}");
            assert!(wrong.outcomes.borrow()[0].starts_with("Tls("), "{:?}", wrong.outcomes.borrow());
        }
        let (backend, ca) = secure(b"http/1.1").await;
        let old = front(backend, json!({"ca": ca, "server_name": "api.internal"})).await;
        assert_eq!(old.get("/").await.0, 502, "it speaks no HTTP/2");
    });
}

#[test]
fn requests_do_not_queue_up_behind_a_connection_that_does_not_come_about() {
    run(async {
        // Accepts connections without a TLS handshake.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let setup = Setup { route: json!({"connect_timeout_ms": 1_000}), ..http2(json!({"eject_after": 0})) };
        let front = &Front::start(&format!("https://{}", silent.local_addr().unwrap()), setup).await;
        let all = join_all((0..40).map(|_| front.get("/")));
        // Sequential attempts would need forty seconds.
        let answers = tokio::time::timeout(Duration::from_secs(20), all).await.expect("they wait for each other");
        assert!(answers.iter().all(|(status, _)| *status == 504), "{answers:?}");
    });
}
