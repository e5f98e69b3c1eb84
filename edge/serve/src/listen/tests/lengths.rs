//! Bodies with a length other than announced in the head, on real sockets.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const LENGTHS: [(usize, usize); 5] = [(6_600, 2_200), (2_200, 6_600), (1, 0), (0, 1), (300_000, 299_999)];

#[test]
fn no_answer_of_http1_begins_within_the_body_of_another() {
    local(async || {
        let running = Running::start(None, &Limits::default());
        for (announced, has) in LENGTHS {
            let mut stream = TcpStream::connect(running.address).await.unwrap();
            let requests =
                format!("GET /length/{announced}/{has} HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n");
            stream.write_all(requests.as_bytes()).await.unwrap();
            let mut answers = Vec::new();
            // A reset counts as an end.
            timeout(PATIENCE, stream.read_to_end(&mut answers)).await.expect("the connection ends").ok();
            let text = String::from_utf8_lossy(&answers);
            assert!(text.matches("HTTP/1.1").count() <= 1 && !text.contains("hello"), "{announced} {has}: {text}");
        }
    });
}

#[test]
fn a_stream_of_http2_with_such_a_body_fails_and_the_others_go_on() {
    local(async || {
        let folder = tempfile::tempdir().unwrap();
        let tls = self_signed(folder.path(), &["shop.localhost"]).server_config();
        let running = Running::start(Some(tls), &Limits::default());
        let config = Arc::new(trusting(folder.path(), &["h2"]));
        let stream = connect(running.address, &config, "shop.localhost").await.unwrap();
        let mut sender = http2_over(stream).await;
        for (announced, has) in LENGTHS {
            // The head of a long body may arrive before the reset.
            let answered = sender.send_request(get2(&format!("/length/{announced}/{has}"))).await;
            let failed = match answered {
                Ok(response) => response.into_body().collect().await.is_err(),
                Err(_) => true,
            };
            assert!(failed, "{announced} {has}");
            assert_eq!(text(sender.send_request(get2("/")).await.unwrap()).await, "hello");
        }
    });
}
