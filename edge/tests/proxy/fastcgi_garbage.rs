//! FastCGI backends other than PHP-FPM: the request records, and invalid responses.

use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use crate::proxy::support::{ChannelBody, Front, Setup, run, text};

/// One record.
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut bytes = vec![1, kind, 0, 1, high, low, 3, 0];
    bytes.extend_from_slice(content);
    bytes.extend_from_slice(b"pad");
    bytes
}

fn end(status: u8) -> Vec<u8> {
    record(3, &[0, 0, 0, 0, status, 0, 0, 0])
}

/// Answers each connection with the same bytes after the complete request, and closes the connection.
fn serve(path: &Path, answer: Vec<u8>) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::task::spawn_local(async move {
                let mut request = Vec::new();
                // Record that ends the body.
                while !request.ends_with(&[1, 5, 0, 1, 0, 0, 0, 0]) {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                drop(stream.write_all(&answer).await);
            });
        }
    });
}

/// Status and body of a response made of the bytes; `None` for a truncated body.
async fn answered(method: &str, answer: Vec<u8>) -> (u16, Option<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    serve(&path, answer);
    let setup = Setup {
        declared: serde_json::json!({ "root": "/srv" }),
        sockets: vec![folder.path().to_owned()],
        ..Setup::default()
    };
    let front = Front::start(&format!("fastcgi+unix:{}", path.display()), setup).await;
    let request = http::Request::builder().method(method).uri("/").header("host", "shop.example");
    let response = front.ask(request.body(http_body_util::Full::<bytes::Bytes>::default()).unwrap()).await;
    let status = response.status().as_u16();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.ok();
    (status, body.map(|body| String::from_utf8(body.to_bytes().to_vec()).unwrap()))
}

/// PHP-FPM closes a connection without data for five seconds.
#[test]
fn a_request_begins_before_the_end_of_a_body_without_a_length_has_come() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let setup = Setup {
            declared: serde_json::json!({ "root": "/srv" }),
            sockets: vec![folder.path().to_owned()],
            ..Setup::default()
        };
        let front = Front::start(&format!("fastcgi+unix:{}", path.display()), setup).await;
        let (body, piped) = ChannelBody::new();
        let request = http::Request::post("/").header("host", "shop.example").body(piped).unwrap();
        let backend = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 16];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request[..8], [1, 1, 0, 1, 0, 8, 0, 0], "the record that begins a request");
            body.send(bytes::Bytes::from_static(b"late")).await.unwrap();
            drop(body);
            while !request.ends_with(&[1, 5, 0, 1, 0, 0, 0, 0]) {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            assert_eq!(request[16..18], [1, 4], "its parameters come next");
            stream.write_all(&[record(6, b"X: 1\n\nhello"), end(0)].concat()).await.unwrap();
        };
        let (response, ()) = tokio::join!(front.ask(request), backend);
        assert_eq!(text(response).await, "hello");
    });
}

#[test]
fn an_answer_in_many_records_is_one() {
    run(async {
        let mut bytes = Vec::new();
        for byte in b"Content-Type: text/plain\n\nhello" {
            bytes.extend(record(6, &[*byte]));
            bytes.extend(record(7, b"a warning"));
        }
        bytes.extend(record(6, b""));
        // Unsolicited management record.
        bytes.extend([1, 10, 0, 0, 0, 2, 0, 0, b'x', b'y']);
        bytes.extend(end(0));
        assert_eq!(answered("GET", bytes).await, (200, Some("hello".to_owned())));
    });
}

#[test]
fn what_comes_beyond_the_length_is_left_out_and_what_lacks_breaks_off() {
    run(async {
        let with = |text: &str| [record(6, text.as_bytes()), end(0)].concat();
        assert_eq!(answered("GET", with("Content-Length: 2\n\nhello")).await, (200, Some("he".to_owned())));
        assert_eq!(answered("GET", with("Content-Length: 9\n\nhello")).await, (200, None));
        // Without an end record, completeness is unknown.
        assert_eq!(answered("GET", record(6, b"X: 1\n\nhello")).await, (200, None));
        for text in ["Status: 204\nContent-Length: 2\n\nhello", "Status: 304\n\nhello"] {
            assert_eq!(answered("GET", with(text)).await.1.as_deref(), Some(""), "{text}");
        }
        assert_eq!(answered("HEAD", with("Content-Length: 5\n\nhello")).await, (200, Some(String::new())));
    });
}

#[test]
fn what_is_no_answer_is_a_bad_gateway() {
    run(async {
        let long = format!("X: {}", "x".repeat(65_000));
        let many = "X: 1\n".repeat(300);
        let two: Vec<u8> = [1, 6, 0, 2, 0, 1, 0, 0, b'x'].to_vec();
        for (what, bytes) in [
            ("HTTP", b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
            ("nothing", Vec::new()),
            ("another request's answer", two),
            ("an end and no head", end(0)),
            ("an end within the head", [record(6, b"X: 1\n"), end(0)].concat()),
            ("another role", end(3)),
            ("a status that is none", record(6, b"Status: 99\n\n")),
            ("an interim status", record(6, b"Status: 103\n\n")),
            ("an upgrade that nobody asked for", record(6, b"Status: 101\n\n")),
            ("a head that is too long", [record(6, long.as_bytes()), record(6, long.as_bytes())].concat()),
            ("too many fields", record(6, many.as_bytes())),
            ("two lengths", record(6, b"Content-Length: 1\nContent-Length: 2\n\n")),
            ("a short end", [1, 3, 0, 1, 0, 2, 0, 0, 0, 0].to_vec()),
        ] {
            assert_eq!(answered("GET", bytes).await.0, 502, "{what}");
        }
        assert_eq!(answered("POST", end(2)).await.0, 503, "it has too much to do");
    });
}
