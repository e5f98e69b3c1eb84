//! HTTP on real sockets: both protocols, many streams, upgrades, and responses that are not lost.

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::listen::Protocol;

fn h2_client(folder: &std::path::Path) -> Arc<ClientConfig> {
    Arc::new(trusting(folder, &["h2"]))
}

#[test]
fn a_thousand_requests_on_one_http2_connection_are_all_answered() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &Limits::default());
        let stream = connect(running.address, &h2_client(folder.path()), "shop.localhost").await.unwrap();
        let sender = http2_over(stream).await;
        let requests = (0..1_000_usize).map(|index| {
            let mut sender = sender.clone();
            async move {
                sender.ready().await.unwrap();
                let response = sender.send_request(get2(&format!("/bytes/{}", index * 37))).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                assert_eq!(text(response).await.len(), index * 37);
            }
        });
        timeout(PATIENCE, join_all(requests)).await.unwrap();
        let peers = running.peers.borrow();
        assert_eq!(peers.len(), 1_000);
        assert!(peers.iter().all(|peer| peer.protocol == Protocol::Http2));
        assert_eq!(peers[0].sni.as_deref(), Some("shop.localhost"));
        assert_eq!(peers[0].local, running.address);
        assert_eq!(running.limits.open(), 1);
    });
}

#[test]
fn large_answers_and_uploads_arrive_whole_over_http2() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &Limits::default());
        let stream = connect(running.address, &h2_client(folder.path()), "shop.localhost").await.unwrap();
        let mut sender = http2_over(stream).await;
        let sent: Vec<u8> = (0..5_000_000_u32).map(|index| index.to_le_bytes()[(index % 3) as usize]).collect();
        let request = Request::post("https://shop.localhost/echo").body(full(sent.clone())).unwrap();
        let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
        let back = timeout(PATIENCE, response.into_body().collect()).await.unwrap().unwrap().to_bytes();
        assert!(back == sent, "{} bytes came back", back.len());
    });
}

#[test]
fn pipelined_requests_of_http1_are_answered_in_order_also_before_the_last_is_complete() {
    local(async || {
        let running = Running::start(None, &Limits::default());
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let mut text = String::new();
        for index in 0..50 {
            text += &format!("GET /bytes/{index} HTTP/1.1\r\nhost: a\r\n\r\n");
        }
        stream.write_all((text + "GET /bytes/7 HTTP/1.1\r\nho").as_bytes()).await.unwrap();
        let mut read = Vec::new();
        let answers = |read: &[u8]| String::from_utf8_lossy(read).matches("HTTP/1.1 200").count();
        while answers(&read) < 50 || !read.ends_with(&[b'x'; 49]) {
            assert!(timeout(PATIENCE, stream.read_buf(&mut read)).await.unwrap().unwrap() > 0);
        }
        stream.write_all(b"st: a\r\nconnection: close\r\n\r\n").await.unwrap();
        timeout(PATIENCE, stream.read_to_end(&mut read)).await.unwrap().unwrap();
        assert_eq!(answers(&read), 51);
        drop(stream);
        running.until_empty().await;
    });
}

#[test]
fn plain_http_is_http1_only() {
    local(async || {
        let running = Running::start(None, &Limits::default());
        let mut sender = http1_over(TcpStream::connect(running.address).await.unwrap()).await;
        assert_eq!(text(sender.send_request(get("/")).await.unwrap()).await, "hello");
        let peer = Arc::clone(&running.peers.borrow()[0]);
        assert_eq!((peer.protocol, &peer.sni, peer.tls_version), (Protocol::Http1, &None, None));

        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert_eq!(running.peers.borrow().len(), 1, "no request was made of it");
    });
}

#[test]
fn an_upgraded_connection_outlives_its_request_and_counts() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let limits = Limits { idle_ms_max: 100, header_ms_max: 100, ..Limits::default() };
        let running = Running::start(Some(tls), &limits);
        let config = Arc::new(trusting(folder.path(), &["http/1.1"]));
        let stream = connect(running.address, &config, "shop.localhost").await.unwrap();
        let mut sender = http1_over(stream).await;
        let mut request = get("/upgrade");
        request.headers_mut().insert("connection", "upgrade".parse().unwrap());
        request.headers_mut().insert("upgrade", "echo".parse().unwrap());
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let mut upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        for round in 0..4_u8 {
            // Longer in total than any limit of an HTTP connection.
            tokio::time::sleep(Duration::from_millis(60)).await;
            upgraded.write_all(&[round; 100]).await.unwrap();
            let mut back = [9; 100];
            timeout(PATIENCE, upgraded.read_exact(&mut back)).await.unwrap().unwrap();
            assert_eq!(back, [round; 100]);
        }
        assert_eq!(running.limits.open(), 1);
        drop(upgraded);
        running.until_empty().await;
    });
}

#[test]
fn an_answer_to_a_body_that_was_not_read_is_not_lost() {
    local(async || {
        let running = Running::start(None, &Limits::default());
        for _ in 0..20 {
            let mut stream = TcpStream::connect(running.address).await.unwrap();
            stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\n").await.unwrap();
            stream.write_all(&[0; 200_000]).await.unwrap();
            let mut answer = String::new();
            timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"), "{answer:?}");
        }
        running.until_empty().await;
    });
}

#[test]
fn a_head_beyond_its_limits_is_answered_431() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let limits = Limits { header_fields_max: 20, header_bytes_max: 8_192, ..Limits::default() };
        let running = Running::start(Some(tls), &limits);
        let too_many = |mut request: Request<TestBody>| {
            for _ in 0..25 {
                request.headers_mut().append("x-more", "1".parse().unwrap());
            }
            request
        };
        let too_large = |mut request: Request<TestBody>| {
            request.headers_mut().insert("x-large", "1".repeat(9_000).parse().unwrap());
            request
        };
        for (index, limit) in [&too_many as &dyn Fn(_) -> _, &too_large].iter().enumerate() {
            let config = Arc::new(trusting(folder.path(), &["http/1.1"]));
            let stream = connect(running.address, &config, "shop.localhost").await.unwrap();
            let response = http1_over(stream).await.send_request(limit(get("/"))).await.unwrap();
            assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "{index}");

            let stream = connect(running.address, &h2_client(folder.path()), "shop.localhost").await.unwrap();
            let response = http2_over(stream).await.send_request(limit(get2("/"))).await;
            // The client may know the limit from the settings, and refuse to send.
            if let Ok(response) = response {
                assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "{index}");
            }
        }
        assert_eq!(running.peers.borrow().len(), 0);
    });
}
