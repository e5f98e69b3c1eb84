//! Backend that answers with a name: immediately, slowly, or by a WebSocket.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::accept_async;

/// Local backend that runs as long as the test.
pub(crate) struct Backend {
    address: SocketAddr,
    go: Arc<watch::Sender<bool>>,
}

impl Backend {
    /// Starts to answer: `/api/slow` with the name, a wait for [`Backend::goes_on`], and the name again; `/api/socket`
    /// with an echo of each WebSocket message; every other path with the name.
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let go = Arc::new(watch::Sender::new(false));
        let started = Arc::clone(&go);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, name, started.subscribe()));
            }
        });
        Self { address, go }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets slow responses complete.
    pub(crate) fn goes_on(&self) {
        self.go.send_replace(true);
    }
}

async fn serve(mut stream: TcpStream, name: &'static str, mut go: watch::Receiver<bool>) {
    const SOCKET: &[u8] = b"GET /api/socket";
    stream.set_nodelay(true).unwrap();
    let mut first = [0; SOCKET.len()];
    while let Ok(count @ 1..) = stream.peek(&mut first).await
        && count < SOCKET.len()
    {
        tokio::task::yield_now().await;
    }
    if first == SOCKET {
        let mut socket = accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                socket.send(message).await.ok();
            }
        }
        return;
    }
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read_buf(&mut read).await {
                Ok(1..) => {}
                _ => return,
            }
        };
        let head = String::from_utf8(read.drain(..end).collect()).unwrap();
        let is_slow = head.starts_with("GET /api/slow");
        let length = name.len() * if is_slow { 2 } else { 1 };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{name}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        if is_slow {
            go.wait_for(|goes| *goes).await.ok();
            if stream.write_all(name.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
