//! The client's end of a WebSocket.

use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The key of each handshake: the example of RFC 6455.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The request of a handshake; `client` speaks HTTP/1.1.
pub(crate) fn handshake(client: &reqwest::Client, url: &str) -> reqwest::RequestBuilder {
    client
        .get(url)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", KEY)
}

/// The open WebSocket after the answer to [`handshake`].
pub(crate) async fn upgraded(answer: reqwest::Response) -> WebSocketStream<reqwest::Upgraded> {
    WebSocketStream::from_raw_socket(answer.upgrade().await.unwrap(), Role::Client, None).await
}

/// Opens a WebSocket.
pub(crate) async fn open(client: &reqwest::Client, url: &str) -> WebSocketStream<reqwest::Upgraded> {
    upgraded(handshake(client, url).send().await.unwrap()).await
}
