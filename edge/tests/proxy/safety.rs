//! Blocked requests: a second request hidden in the first, and connections to forbidden addresses.

use std::sync::Arc;

use bytes::Bytes;
use devanture_serve::proxy::tls;
use http::Request;
use http_body_util::{Empty, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::proxy::support::{Front, OK, Setup, eventually, recording, registry, run, text, way};

#[test]
fn a_request_with_two_lengths_reaches_the_backend_with_one_or_not_at_all() {
    run(async {
        let smuggled = "GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n";
        let chunked = format!("3\r\nabc\r\n0\r\n\r\n{smuggled}");
        let cases: &[(&str, &str)] = &[
            ("content-length: 3\r\ntransfer-encoding: chunked", &chunked),
            ("transfer-encoding: chunked\r\ncontent-length: 3", &chunked),
            ("transfer-encoding: chunked\r\ncontent-length: 3\r\ncontent-length: 4", &chunked),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", &chunked),
            ("transfer-encoding: xchunked", &chunked),
            ("transfer-encoding: chunked, identity", &chunked),
            ("transfer-encoding: gzip, chunked", &chunked),
            ("transfer-encoding : chunked", &chunked),
            ("transfer-encoding:\x0bchunked", &chunked),
            (" transfer-encoding: chunked", &chunked),
            ("x: y\r\n\ttransfer-encoding: chunked", &chunked),
            ("content-length: 3\r\ncontent-length: 3", "abc"),
            ("content-length: 3\r\ncontent-length: 4", "abcd"),
            ("content-length: 3, 3", "abc"),
            ("content-length: +3", "abc"),
            ("content-length: 0x3", "abc"),
            ("content-length: 3\r\nconnection: content-length", "abc"),
            ("transfer-encoding: chunked\r\nconnection: transfer-encoding", "3\r\nabc\r\n0\r\n\r\n"),
        ];
        for (fields, body) in cases {
            let (backend, records) = recording(OK).await;
            let front = Front::to(backend).await;
            let answer = front
                .raw(
                    format!("POST /first HTTP/1.1\r\nhost: h\r\n{fields}\r\nconnection: close\r\n\r\n{body}")
                        .as_bytes(),
                )
                .await;
            let records = records.borrow();
            assert!(records.len() <= 1, "{fields:?}: {records:?}");
            let Some(received) = records.first() else {
                assert!(
                    answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 501"),
                    "{fields:?}: {answer}"
                );
                continue;
            };
            let (lengths, codings) = (received.values("content-length"), received.values("transfer-encoding"));
            match (&lengths[..], &codings[..]) {
                (["3"], []) => assert_eq!(received.body, b"abc", "{fields:?}"),
                ([], ["chunked"]) => assert_eq!(received.body, b"3\r\nabc\r\n0\r\n\r\n", "{fields:?}"),
                _ => panic!("{fields:?}: {}", received.head),
            }
            assert_eq!(received.line(), "POST /first HTTP/1.1");
        }
    });
}

#[test]
fn a_get_may_have_a_body_of_unknown_length_and_it_is_not_left_for_the_next() {
    run(async {
        let (backend, records) = recording(OK).await;
        let front = Front::to(backend).await;
        front
            .raw(b"GET /first HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            .await;
        let received = records.borrow_mut().pop().unwrap();
        assert_eq!(received.values("transfer-encoding"), ["chunked"]);
        assert_eq!(received.body, b"3\r\nabc\r\n0\r\n\r\n");
    });
}

#[test]
fn what_could_end_a_line_does_not_pass() {
    run(async {
        let (backend, records) = recording(OK).await;
        let front = Front::to(backend).await;
        for request in [
            "GET /a b HTTP/1.1\r\nhost: h",
            "GET /a\x01b HTTP/1.1\r\nhost: h",
            "GET /a\x7fb HTTP/1.1\r\nhost: h",
            "GET / HTTP/1.1\r\nhost: h\r\nx: a\rb",
            "GET / HTTP/1.1\r\nhost: h\r\nx: a\0b",
            "GET / HTTP/1.1\r\nhost: h\r\nx y: a",
            "G\x0bT / HTTP/1.1\r\nhost: h",
            "CONNECT h:443 HTTP/1.1\r\nhost: h",
        ] {
            let answer = front.raw(format!("{request}\r\nconnection: close\r\n\r\n").as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 501"), "{request:?}: {answer}");
        }
        assert!(records.borrow().is_empty(), "{records:?}");
    });
}

#[test]
fn a_request_without_a_host_is_refused() {
    run(async {
        let (backend, records) = recording(OK).await;
        let front = Front::to(backend).await;
        assert!(front.raw(b"GET / HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 400"));
        assert!(records.borrow().is_empty());
    });
}

#[test]
fn a_circle_ends() {
    run(async {
        // The front's upstream is the front.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = listener.local_addr().unwrap();
        let front = Front::start(&format!("http://{other}"), Setup::default()).await;
        let inner = front.address;
        tokio::task::spawn_local(async move {
            loop {
                let (mut outer, _) = listener.accept().await.unwrap();
                tokio::task::spawn_local(async move {
                    let mut stream = tokio::net::TcpStream::connect(inner).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut outer, &mut stream).await);
                });
            }
        });
        assert_eq!(front.get("/").await.0, 508);
        assert_eq!(front.client.counts().connected, 4);
    });
}

#[test]
fn loopback_is_refused_to_a_stranger_also_by_name() {
    run(async {
        let (backend, records) = recording(OK).await;
        let port = backend.port();
        for to in [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")] {
            let stranger = || Setup { trusted: false, ..Setup::default() };
            let front = Front::start(&to, stranger()).await;
            let (status, body) = front.get("/").await;
            assert_eq!(status, 502);
            assert!(body.contains("loopback"), "{body}");
            let front = Front::start(&to, Setup { allow: vec!["127.0.0.0/8"], ..stranger() }).await;
            assert_eq!(front.get("/").await.0, 200);
            let front = Front::start(&to, Setup::default()).await;
            assert_eq!(front.get("/").await.0, 200);
        }
        assert_eq!(records.borrow().len(), 4);
    });
}

#[test]
fn the_edges_own_listeners_are_refused_to_everybody() {
    run(async {
        let (backend, records) = recording(OK).await;
        let anywhere = format!("0.0.0.0:{}", backend.port()).parse().unwrap();
        for own in [backend, anywhere] {
            let setup = Setup { own: vec![own], allow: vec!["0.0.0.0/0"], ..Setup::default() };
            let front = Front::start(&format!("http://{backend}"), setup).await;
            let (status, body) = front.get("/").await;
            assert_eq!(status, 502);
            assert!(body.contains("the edge itself"), "{body}");
        }
        assert!(records.borrow().is_empty());
    });
}

#[test]
fn a_kept_alive_connection_is_not_lent_to_a_stranger() {
    run(async {
        let (backend, records) = recording(OK).await;
        let to = format!("http://{backend}");
        let front = Front::start(&to, Setup::default()).await;
        assert_eq!(front.get("/").await.0, 200);
        eventually("the connection is kept", || front.client.counts().idle == 1).await;
        let ids = devanture_serve::proxy::Ids::of(&http::HeaderMap::new(), false);
        let arrival = devanture_serve::proxy::Arrival {
            host: "h",
            client: Some([192, 0, 2, 1].into()),
            ids: &ids,
            passing: None,
            port: None,
            proxies: &[],
            scheme: "https",
        };
        let ask = || Request::get("/").body(Empty::<Bytes>::new()).unwrap();
        let stranger = Setup { trusted: false, ..Setup::default() };
        let way = way(&registry(&stranger), &to, &stranger);
        let refused = front.client.forward(&way, ask(), &arrival).await;
        assert!(matches!(refused, Err(devanture_serve::proxy::Error::Forbidden(_))));
        front.client.forward(&front.way, ask(), &arrival).await.unwrap();
        assert_eq!((records.borrow().len(), front.client.counts().reused), (2, 1));
    });
}

/// Certificate authority, and a TLS listener with a certificate for `localhost` and 127.0.0.1.
async fn tls_backend() -> (u16, rustls_pki_types::CertificateDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&key).unwrap().der().clone();
    let issuer = rcgen::Issuer::new(authority, key);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let leaf = rcgen::CertificateParams::new(names).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(leaf_key.serialize_der()).unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::task::spawn_local(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
                let name = stream.get_ref().1.server_name().map(str::to_owned);
                let answer = service_fn(move |_| {
                    let answer = format!("named {name:?}");
                    async move { Ok::<_, hyper::Error>(http::Response::new(Full::<Bytes>::from(answer))) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                drop(http.serve_connection(TokioIo::new(stream), answer).await);
            });
        }
    });
    (port, ca)
}

#[test]
fn an_https_upstream_is_verified() {
    run(async {
        let (port, ca) = tls_backend().await;
        let trusting = || Setup { tls: tls::trusting([ca.clone()]).unwrap(), ..Setup::default() };
        let front = Front::start(&format!("https://localhost:{port}"), trusting()).await;
        for _ in 0..2 {
            assert_eq!(front.get("/").await, (200, "named Some(\"localhost\")".to_owned()));
            eventually("the connection is kept", || front.client.counts().idle == 1).await;
        }
        assert_eq!(front.client.counts().connected, 1);
        let front = Front::start(&format!("https://127.0.0.1:{port}"), trusting()).await;
        assert_eq!(front.get("/").await, (200, "named None".to_owned()));

        let front = Front::start(&format!("https://localhost:{port}"), Setup::default()).await;
        assert_eq!(front.get("/").await.0, 502);
        assert!(front.outcomes.borrow()[0].starts_with("Tls("), "{:?}", front.outcomes.borrow());
        let front = Front::start(&format!("https://[::ffff:127.0.0.1]:{port}"), trusting()).await;
        assert_eq!(front.get("/").await.0, 502, "the certificate has another name");
    });
}

#[test]
fn a_backend_that_does_not_speak_tls_is_a_502() {
    run(async {
        let (backend, _) = recording(OK).await;
        let front = Front::start(&format!("https://{backend}"), Setup { timeout_ms: 2_000, ..Setup::default() }).await;
        let request = Request::get("/").header("host", "h").body(Empty::<Bytes>::new()).unwrap();
        let response = front.ask(request).await;
        assert!(matches!(response.status().as_u16(), 502 | 504), "{}", text(response).await);
    });
}
