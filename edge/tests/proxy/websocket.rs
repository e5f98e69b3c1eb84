//! Upgraded connections: WebSocket and raw bytes.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::Request;
use http_body_util::Empty;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::proxy::support::{Front, Setup, backend, bare_backend, eventually, receive, recording, run};

async fn echo() -> std::net::SocketAddr {
    bare_backend(|stream, _| echo_on(stream)).await
}

/// Backend side of a WebSocket that echoes messages.
pub(crate) async fn echo_on(stream: TcpStream) {
    let mut socket = accept_async(stream).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() || message.is_binary() {
            socket.send(message).await.unwrap();
        }
    }
}

/// Opens a WebSocket, receives one echoed message, and closes the WebSocket.
pub(crate) async fn one_echo(front: &Front) {
    let mut socket = open(front).await;
    socket.send(Message::text("there")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("there"));
    socket.close(None).await.unwrap();
}

async fn open(front: &Front) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(front.address).await.unwrap();
    client_async("ws://shop.example/api/socket", stream).await.unwrap().0
}

#[test]
fn a_websocket_echoes_text_bytes_and_big_messages_and_closes_in_order() {
    run(async {
        let front = Front::to(echo().await).await;
        let mut socket = open(&front).await;
        eventually("it is in use", || front.client.counts().in_use == 1).await;
        let big: Bytes = (0..8_000_000_u32).map(|index| (index % 253) as u8).collect();
        for message in
            [Message::text("häßlich"), Message::binary(vec![0, 255, 1]), Message::Binary(big), Message::text("")]
        {
            socket.send(message.clone()).await.unwrap();
            assert!(socket.next().await.unwrap().unwrap() == message);
        }
        socket.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"?")));
        let farewell = CloseFrame { code: CloseCode::Normal, reason: "bye".into() };
        socket.close(Some(farewell.clone())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Close(Some(farewell)));
        assert!(socket.next().await.is_none());
        drop(socket);
        eventually("nothing is in use", || front.client.counts().in_use == 0).await;
        let counts = front.client.counts();
        assert_eq!((counts.upgraded, counts.idle), (1, 0));
        assert!(counts.upgraded_bytes_received > 8_000_000 && counts.upgraded_bytes_sent > 8_000_000);
    });
}

#[test]
fn many_websockets_live_beside_each_other() {
    run(async {
        let front = Front::to(echo().await).await;
        let mut sockets = Vec::new();
        for _ in 0..100 {
            sockets.push(open(&front).await);
        }
        for (number, socket) in sockets.iter_mut().enumerate() {
            socket.send(Message::text(number.to_string())).await.unwrap();
        }
        for (number, socket) in sockets.iter_mut().enumerate() {
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(number.to_string()));
        }
        assert_eq!(front.client.counts().in_use, 100);
        drop(sockets);
        eventually("nothing is in use", || front.client.counts().in_use == 0).await;
    });
}

#[test]
fn the_handshake_arrives_whole() {
    run(async {
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: abc\r\nset-cookie: a=1\r\n\r\n";
        let (backend, records) = recording(answer).await;
        let front = Front::to(backend).await;
        let request = Request::get("/s?x=1")
            .header("host", "shop.example")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "websocket")
            .header("origin", "https://shop.example")
            .header("sec-websocket-key", "k")
            .header("sec-websocket-protocol", "chat");
        let response = front.ask(request.body(Empty::<Bytes>::new()).unwrap()).await;
        assert_eq!(response.status(), 101);
        for (name, value) in [
            ("upgrade", "WebSocket"),
            ("connection", "upgrade"),
            ("sec-websocket-accept", "abc"),
            ("set-cookie", "a=1"),
        ] {
            assert_eq!(response.headers()[name], value);
        }
        let received = records.borrow_mut().pop().unwrap();
        assert_eq!(received.line(), "GET /s?x=1 HTTP/1.1");
        for (name, value) in [
            ("host", "shop.example"),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("origin", "https://shop.example"),
            ("sec-websocket-key", "k"),
            ("sec-websocket-protocol", "chat"),
            ("x-forwarded-for", "127.0.0.1"),
        ] {
            assert_eq!(received.values(name), [value], "{}", received.head);
        }
    });
}

const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: bytes\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: bytes\r\n\r\n";

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn bytes_beside_the_heads_are_not_lost() {
    run(async {
        let backend = bare_backend(|mut stream, _| async move {
            receive(&mut stream).await.unwrap();
            stream.write_all(&[SWITCH, b"early from backend"].concat()).await.unwrap();
            let mut early = [0; 17];
            stream.read_exact(&mut early).await.unwrap();
            assert_eq!(&early, b"early from client");
        })
        .await;
        let front = Front::to(backend).await;
        let answer = front.raw(&[ASK, b"early from client"].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 101") && answer.ends_with("\r\n\r\nearly from backend"), "{answer}");
    });
}

#[test]
fn a_side_that_has_ended_still_hears_the_other() {
    run(async {
        // The client ends first.
        let backend = bare_backend(|mut stream, _| async move {
            receive(&mut stream).await.unwrap();
            stream.write_all(SWITCH).await.unwrap();
            let mut all = String::new();
            stream.read_to_string(&mut all).await.unwrap();
            stream.write_all(format!("heard {all}").as_bytes()).await.unwrap();
        })
        .await;
        let front = Front::to(backend).await;
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"last words").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "heard last words");
        eventually("nothing is in use", || front.client.counts().in_use == 0).await;

        // The backend ends first.
        let heard: Rc<std::cell::RefCell<String>> = Rc::default();
        let hears = Rc::clone(&heard);
        let backend = bare_backend(move |mut stream, _| {
            let hears = Rc::clone(&hears);
            async move {
                receive(&mut stream).await.unwrap();
                stream.write_all(&[SWITCH, b"done"].concat()).await.unwrap();
                stream.shutdown().await.unwrap();
                let mut all = String::new();
                stream.read_to_string(&mut all).await.unwrap();
                *hears.borrow_mut() = all;
            }
        })
        .await;
        let front = Front::to(backend).await;
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        read_head(&mut stream).await;
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "done");
        stream.write_all(b"and after that").await.unwrap();
        drop(stream);
        eventually("the backend has heard the rest", || *heard.borrow() == "and after that").await;
        eventually("nothing is in use", || front.client.counts().in_use == 0).await;
    });
}

#[test]
fn a_side_that_never_ends_is_not_waited_for_without_limit() {
    run(async {
        let backend = bare_backend(|mut stream, _| async move {
            receive(&mut stream).await.unwrap();
            stream.write_all(SWITCH).await.unwrap();
            std::future::pending::<()>().await;
        })
        .await;
        let front = Front::start(&format!("http://{backend}"), Setup { timeout_ms: 100, ..Setup::default() }).await;
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        read_head(&mut stream).await;
        stream.shutdown().await.unwrap();
        eventually("nothing is in use", || front.client.counts().in_use == 0).await;
    });
}

#[test]
fn an_open_upgrade_outlasts_the_routes_timeout() {
    run(async {
        let front =
            Front::start(&format!("http://{}", echo().await), Setup { timeout_ms: 50, ..Setup::default() }).await;
        let mut socket = open(&front).await;
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        socket.send(Message::text("still here")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("still here"));
    });
}

#[test]
fn an_upgrade_that_is_refused_is_an_ordinary_answer() {
    run(async {
        let (backend, _) =
            recording("HTTP/1.1 403 Forbidden\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nno").await;
        let front = Front::to(backend).await;
        let stream = TcpStream::connect(front.address).await.unwrap();
        let error = client_async("ws://shop.example/", stream).await.unwrap_err();
        assert!(error.to_string().contains("403"), "{error}");
        // Later requests on the connection are read by the edge, not by the backend.
        let answer =
            front.raw(&[ASK, b"GET /smuggled HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"].concat()).await;
        assert_eq!(answer.matches("HTTP/1.1 403").count(), 2, "{answer}");
        assert_eq!(front.client.counts().upgraded, 0);
    });
}

#[test]
fn no_tunnel_is_made_for_another_http() {
    run(async {
        let (backend, records) = recording("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        let front = Front::to(backend).await;
        for protocol in ["h2c", "H2C", "HTTP/2.0", "TLS/1.0"] {
            let ask = format!(
                "GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade, http2-settings, close\r\nupgrade: {protocol}\r\n\
                http2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
            );
            assert!(front.raw(ask.as_bytes()).await.starts_with("HTTP/1.1 200"));
            let received = records.borrow_mut().pop().unwrap();
            assert!(received.values("upgrade").is_empty() && received.values("http2-settings").is_empty());
        }
        let (backend, _) =
            recording("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n").await;
        let front = Front::to(backend).await;
        let answer = front.raw(&[&ASK[..ASK.len() - 2], b"x: y\r\nconnection: close\r\n\r\n"].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    });
}

#[test]
fn a_drain_ends_upgraded_connections() {
    run(async {
        let front = Front::to(echo().await).await;
        let mut socket = open(&front).await;
        socket.send(Message::text("x")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("x"));
        front.stop.cancel();
        let Some(Ok(Message::Close(Some(close)))) = socket.next().await else { panic!("it is not closed in order") };
        assert_eq!(close.code, CloseCode::Away);
        assert!(socket.next().await.is_none());
        eventually("nothing is in use", || front.client.counts().in_use == 0).await;
    });
}

#[test]
fn an_upgrade_on_a_kept_alive_connection_works() {
    run(async {
        let backend = backend(|mut request: Request<hyper::body::Incoming>| async move {
            let mut response = http::Response::new(Empty::<Bytes>::new());
            if request.headers().contains_key("upgrade") {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::task::spawn_local(async move {
                    let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
                    io.write_all(b"hello").await.unwrap();
                    io.shutdown().await.unwrap();
                });
                *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().insert("connection", "upgrade".parse().unwrap());
                response.headers_mut().insert("upgrade", "bytes".parse().unwrap());
            }
            response
        })
        .await;
        let front = Front::to(backend).await;
        assert_eq!(front.get("/").await.0, 200);
        eventually("the connection is kept", || front.client.counts().idle == 1).await;
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 101"));
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!((rest.as_str(), front.client.counts().reused), ("hello", 1));
    });
}
