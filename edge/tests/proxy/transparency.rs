//! Transparency: methods, targets, statuses, fields, bodies and trailers pass unchanged, and added fields are correct.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt as _;

use crate::proxy::support::{Front, OK, Setup, backend, bare_backend, receive, recording, run, text};

fn get(path: &str) -> http::request::Builder {
    Request::builder().uri(path).header("host", "shop.example")
}

#[test]
fn every_method_arrives_with_its_body() {
    run(async {
        let backend = backend(|request: Request<Incoming>| async move {
            let method = request.method().to_string();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Response::new(Full::from(format!("{method} {}", body.len())))
        })
        .await;
        let front = Front::to(backend).await;
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "TRACE"] {
            assert_eq!(front.method(method, "/api/x").await, (200, format!("{method} 0")));
            let request = get("/api/x").method(method).body(Full::from("12345")).unwrap();
            assert_eq!(text(front.ask(request).await).await, format!("{method} 5"));
        }
        assert_eq!(front.method("HEAD", "/api/x").await, (200, String::new()));
    });
}

#[test]
fn the_target_arrives_byte_for_byte() {
    run(async {
        let (backend, records) = recording(OK).await;
        let front = Front::to(backend).await;
        for target in ["/", "/a%2Fb//c/../d/./e", "/api/?q=%20+&q=;a=b&x[]=1", "/api?a?b", "/~u/%e2%98%83|^{}", "/?"] {
            let ask = format!("GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
            let answer = front.raw(ask.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
            assert_eq!(records.borrow_mut().pop().unwrap().line(), format!("GET {target} HTTP/1.1"));
        }
        front.raw(b"GET http://named.example/a?b HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n").await;
        let received = records.borrow_mut().pop().unwrap();
        assert_eq!(received.line(), "GET /a?b HTTP/1.1");
        assert_eq!(received.values("host"), ["named.example"], "RFC 9112, section 3.2.2");
    });
}

#[test]
fn an_apis_own_statuses_pass_with_their_bodies() {
    run(async {
        let backend = backend(|request: Request<Incoming>| async move {
            let status: u16 = request.uri().path().trim_start_matches('/').parse().unwrap();
            let mut response = Response::new(Full::from(format!("body of {status}")));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response.headers_mut().insert("content-type", "application/problem+json".parse().unwrap());
            response
        })
        .await;
        let front = Front::to(backend).await;
        for status in [200, 201, 301, 400, 401, 403, 404, 406, 418, 422, 429, 500, 502, 503, 504, 599] {
            let response = front.ask(get(&format!("/{status}")).body(Full::<Bytes>::default()).unwrap()).await;
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            assert!(!response.headers().contains_key("cache-control"), "nothing is added");
            assert!(!response.headers().contains_key("via"));
            assert_eq!(text(response).await, format!("body of {status}"));
        }
        for status in [204, 304] {
            assert_eq!(front.get(&format!("/{status}")).await, (status, String::new()));
        }
    });
}

#[test]
fn repeated_fields_keep_their_number_and_order() {
    run(async {
        let answer =
            b"HTTP/1.1 200 Quite Fine\r\nset-cookie: b=2; Path=/\r\nx-a: 1\r\nSet-Cookie: a=1; HttpOnly\r\nx-a: 2\r\n\
            set-cookie: c=3\r\nx-obs: \xe9\r\ncontent-length: 0\r\n\r\n";
        let (backend, records) = recording(&answer[..]).await;
        let front = Front::to(backend).await;
        let request =
            get("/").header("accept", "a").header("x-b", "1").header("accept", "b").header("cookie", "a=1; b=2");
        let response = front.ask(request.body(Empty::<Bytes>::new()).unwrap()).await;
        let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["b=2; Path=/", "a=1; HttpOnly", "c=3"]);
        let a: Vec<_> = response.headers().get_all("x-a").iter().collect();
        assert_eq!(a, ["1", "2"]);
        assert_eq!(response.headers()["x-obs"].as_bytes(), b"\xe9");
        assert_eq!(response.extensions().get::<hyper::ext::ReasonPhrase>().unwrap().as_bytes(), b"Quite Fine");
        let received = records.borrow_mut().pop().unwrap();
        assert_eq!(received.values("accept"), ["a", "b"]);
        assert_eq!(received.values("cookie"), ["a=1; b=2"]);
    });
}

#[test]
fn hop_by_hop_fields_pass_in_neither_direction() {
    run(async {
        let answer = "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
            proxy-authenticate: Basic\r\nupgrade: h2c\r\ntransfer-encoding: chunked\r\nx-end: 1\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        let (backend, records) = recording(answer).await;
        let front = Front::to(backend).await;
        let request = get("/")
            .header("connection", "x-mine")
            .header("x-mine", "1")
            .header("keep-alive", "300")
            .header("te", "gzip")
            .header("proxy-authorization", "Basic eA==")
            .header("upgrade", "h2c")
            .header("x-kept", "1");
        let response = front.ask(request.body(Empty::<Bytes>::new()).unwrap()).await;
        for gone in ["x-hop", "keep-alive", "proxy-authenticate", "upgrade", "connection"] {
            assert!(!response.headers().contains_key(gone), "{gone}");
        }
        assert_eq!(response.headers()["x-end"], "1");
        assert_eq!(text(response).await, "ok");
        let received = records.borrow_mut().pop().unwrap();
        for gone in ["x-mine", "keep-alive", "te", "proxy-authorization", "upgrade", "connection"] {
            assert!(received.values(gone).is_empty(), "{gone}: {}", received.head);
        }
        assert_eq!(received.values("x-kept"), ["1"]);
    });
}

#[test]
fn the_edge_alone_says_who_asks() {
    run(async {
        let (backend, records) = recording(OK).await;
        let front = Front::to(backend).await;
        let request = Request::get("/")
            .header("host", "shop.example:8443")
            .header("x-forwarded-for", "6.6.6.6")
            .header("x_forwarded_for", "6.6.6.6")
            .header("x-forwarded-proto", "gopher")
            .header("x-forwarded-host", "evil.example")
            .header("x-real-ip", "6.6.6.6")
            .header("forwarded", "for=6.6.6.6");
        front.ask(request.body(Empty::<Bytes>::new()).unwrap()).await;
        let received = records.borrow_mut().pop().unwrap();
        assert_eq!(received.values("host"), ["shop.example:8443"]);
        assert_eq!(received.values("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(received.values("x-forwarded-proto"), ["https"]);
        assert_eq!(received.values("x-forwarded-host"), ["shop.example:8443"]);
        assert!(received.values("x-forwarded-port").is_empty(), "a port in the host is the client's word");
        assert_eq!(received.values("forwarded"), ["for=127.0.0.1;host=\"shop.example:8443\";proto=https"]);
        assert_eq!(received.values("via"), ["1.1 devanture"]);
        assert!(!received.head.contains("6.6.6.6") && !received.head.contains("evil"), "{}", received.head);
    });
}

#[test]
fn an_http_2_request_becomes_one_of_http_1() {
    run(async {
        let (backend, records) = recording(OK).await;
        let front = Front::start(&format!("http://{backend}"), Setup { http2: true, ..Setup::default() }).await;
        let mut sender = front.connect_h2().await;
        let request = Request::post("https://shop.example:8443/api/a%2fb?c=d")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("te", "trailers");
        let response = sender.send_request(request.body(Full::from("hello")).unwrap()).await.unwrap();
        assert_eq!(text(response).await, "ok");
        let received = records.borrow_mut().pop().unwrap();
        assert_eq!(received.line(), "POST /api/a%2fb?c=d HTTP/1.1");
        assert_eq!(received.values("host"), ["shop.example:8443"]);
        assert_eq!(received.values("cookie"), ["a=1; b=2"]);
        assert_eq!(received.values("te"), ["trailers"]);
        assert_eq!(received.values("connection"), ["te"]);
        assert_eq!(received.values("via"), ["2 devanture"]);
        assert_eq!((received.values("content-length"), &received.body[..]), (vec!["5"], &b"hello"[..]));
    });
}

#[test]
fn an_empty_post_says_its_length() {
    run(async {
        let (backend, records) = recording(OK).await;
        let front = Front::start(&format!("http://{backend}"), Setup { http2: true, ..Setup::default() }).await;
        let mut sender = front.connect_h2().await;
        for (method, length) in [(Method::POST, vec!["0"]), (Method::GET, vec![])] {
            let request = Request::builder().method(method).uri("https://shop.example/").body(Empty::<Bytes>::new());
            sender.send_request(request.unwrap()).await.unwrap();
            let received = records.borrow_mut().pop().unwrap();
            assert_eq!(received.values("content-length"), length);
            assert!(received.values("transfer-encoding").is_empty());
        }
    });
}

#[test]
fn head_keeps_the_length_that_get_would_have() {
    run(async {
        let (backend, _) = recording("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\netag: \"x\"\r\n\r\n").await;
        for http2 in [false, true] {
            let front = Front::start(&format!("http://{backend}"), Setup { http2, ..Setup::default() }).await;
            let request =
                Request::head("http://shop.example/").header("host", "shop.example").body(Empty::<Bytes>::new());
            let response = if http2 {
                front.connect_h2().await.send_request(request.unwrap()).await.unwrap()
            } else {
                front.ask(request.unwrap()).await
            };
            assert_eq!(response.headers()["content-length"], "1234", "http2: {http2}");
        }
        let (backend, _) = recording("HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 1234\r\n\r\n").await;
        let front = Front::to(backend).await;
        let response = front.ask(get("/").body(Empty::<Bytes>::new()).unwrap()).await;
        assert_eq!((response.status().as_u16(), &response.headers()["etag"]), (304, &"\"x\"".parse().unwrap()));
    });
}

#[test]
fn trailers_pass_both_ways() {
    run(async {
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, connection\r\n\r\n\
            2\r\nok\r\n0\r\nx-sum: 42\r\nconnection: close\r\n\r\n";
        let (backend, records) = recording(answer).await;
        let to = format!("http://{backend}");
        let front = Front::start(&to, Setup { http2: true, ..Setup::default() }).await;
        let request =
            Request::get("http://shop.example/").header("te", "trailers").body(Empty::<Bytes>::new()).unwrap();
        let response = front.connect_h2().await.send_request(request).await.unwrap();
        let collected = response.into_body().collect().await.unwrap();
        let trailers = collected.trailers().unwrap().clone();
        assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &"42".parse().unwrap()));
        assert_eq!(front.client.counts().idle, 1, "the connection is kept after trailers too");

        let front = Front::start(&to, Setup::default()).await;
        let answer = front
            .raw(
                b"POST / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te, close\r\ntrailer: x-check\r\n\
                transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-check: 7\r\n\r\n",
            )
            .await;
        assert!(answer.ends_with("2\r\nok\r\n0\r\nx-sum: 42\r\n\r\n"), "{answer}");
        let received = records.borrow_mut().pop().unwrap();
        assert_eq!(received.body, b"3\r\nabc\r\n0\r\nx-check: 7\r\n\r\n");
    });
}

#[test]
fn an_expectation_is_met_by_the_edge() {
    run(async {
        let (backend, records) = recording(OK).await;
        let front = Front::to(backend).await;
        let mut stream = tokio::net::TcpStream::connect(front.address).await.unwrap();
        let head =
            "POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 3\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut interim = [0; 25];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut interim).await.unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"abc").await.unwrap();
        let mut rest = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut rest).await.unwrap();
        assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{rest}");
        let received = records.borrow_mut().pop().unwrap();
        assert!(received.values("expect").is_empty());
        assert_eq!(received.body, b"abc");
    });
}

#[test]
fn interim_answers_of_a_backend_are_passed_over() {
    run(async {
        let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
            HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let (backend, _) = recording(answer).await;
        let front = Front::to(backend).await;
        assert_eq!(front.get("/").await, (200, "ok".to_owned()));
    });
}

#[test]
fn a_backend_of_http_1_0_is_understood() {
    run(async {
        let heads: Rc<RefCell<Vec<String>>> = Rc::default();
        let notes = Rc::clone(&heads);
        let backend = bare_backend(move |mut stream, _| {
            let notes = Rc::clone(&notes);
            async move {
                let head = receive(&mut stream).await.unwrap().head;
                notes.borrow_mut().push(head);
                stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nuntil the end").await.unwrap();
            }
        })
        .await;
        let front = Front::to(backend).await;
        let mut sender = front.connect().await;
        for _ in 0..2 {
            let response = sender.send_request(get("/").body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
            assert_eq!(response.version(), http::Version::HTTP_11);
            assert_eq!(text(response).await, "until the end");
            sender.ready().await.expect("the client's own connection is kept");
        }
        assert_eq!(front.client.counts().idle, 0);
    });
}

#[test]
fn max_forwards_ends_at_the_edge() {
    run(async {
        let (backend, records) = recording(OK).await;
        let front = Front::to(backend).await;
        let ask =
            |left: &str| get("/").method("OPTIONS").header("max-forwards", left).body(Empty::<Bytes>::new()).unwrap();
        assert_eq!(front.ask(ask("0")).await.status(), 204);
        assert!(records.borrow().is_empty());
        assert_eq!(front.ask(ask("3")).await.status(), 200);
        assert_eq!(records.borrow()[0].values("max-forwards"), ["2"]);
    });
}
