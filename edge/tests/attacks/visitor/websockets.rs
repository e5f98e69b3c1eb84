//! Visitors' WebSockets during the shutdown of the edge.

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{accept_async, client_async};

use crate::attacks::world::push;
use crate::support::{edge, eventually};
use crate::wire::connect;

const HOST: &str = "shop.localhost";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_has_the_drain_time_and_is_closed_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let closed = Arc::<Mutex<Option<CloseCode>>>::default();
    let seen = Arc::clone(&closed);
    tokio::spawn(async move {
        let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Close(frame) => *seen.lock().unwrap() = frame.map(|frame| frame.code),
                message => socket.send(message).await.unwrap(),
            }
        }
    });
    let edge = edge().with_drain_timeout_ms(4_000).start().await;
    push(&edge, "shop", &[("index.html", b"home")], &format!("[[routes]]\npath = \"/live\"\nto = \"http://{to}\""))
        .await;
    let stream = connect(&edge, HOST, "http/1.1").await;
    let (mut socket, _) = client_async(format!("ws://{HOST}/live"), stream).await.unwrap();
    let address = edge.https();
    let stopped = tokio::spawn(edge.stop());
    eventually("it takes no more connections", async || TcpStream::connect(address).await.is_err()).await;
    socket.send(Message::text("still here")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("still here"));
    let Some(Ok(Message::Close(Some(close)))) = socket.next().await else { panic!("it is not closed in order") };
    assert_eq!(close.code, CloseCode::Away);
    assert!(socket.next().await.is_none());
    // No connection had to be cut.
    stopped.await.unwrap();
    eventually("the backend heard of it", async || *closed.lock().unwrap() == Some(CloseCode::Away)).await;
}
