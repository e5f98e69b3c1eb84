//! gRPC through an HTTP/2 pool: messages in both directions, and the status in the trailers.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::proxy::http2::http2;
use crate::proxy::support::{ChannelBody, Front, Setup, bare_backend, eventually, run, text};

/// gRPC backend that answers message by message and records the request heads.
async fn grpc_backend(heads: Rc<RefCell<Vec<http::request::Parts>>>) -> SocketAddr {
    bare_backend(move |stream, _| {
        let heads = Rc::clone(&heads);
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let (head, mut body) = request.into_parts();
                let is_refused = head.uri.path() == "/shop.Cart/Refused";
                heads.borrow_mut().push(head);
                tokio::task::spawn_local(async move {
                    let answer = Response::builder().header("content-type", "application/grpc");
                    if is_refused {
                        let answer = answer.header("grpc-status", "7").header("grpc-message", "no").body(()).unwrap();
                        respond.send_response(answer, true).unwrap();
                        return;
                    }
                    let mut out = respond.send_response(answer.body(()).unwrap(), false).unwrap();
                    while let Some(message) = body.data().await {
                        let message = message.unwrap();
                        body.flow_control().release_capacity(message.len()).unwrap();
                        // The end of a body may be a separate frame.
                        if message.is_empty() {
                            continue;
                        }
                        out.send_data(Bytes::from([b"re: ", &message[..]].concat()), false).unwrap();
                    }
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", "0".parse().unwrap());
                    trailers.insert("grpc-message", "fine".parse().unwrap());
                    out.send_trailers(trailers).unwrap();
                });
            }
        }
    })
    .await
}

fn grpc(path: &str) -> http::request::Builder {
    let request = Request::post(format!("https://shop.example{path}")).header("te", "trailers");
    request.header("content-type", "application/grpc").header("grpc-timeout", "5S")
}

#[test]
fn grpc_streams_both_ways_and_its_status_arrives_in_the_trailers() {
    run(async {
        let heads: Rc<RefCell<Vec<http::request::Parts>>> = Rc::default();
        let backend = grpc_backend(Rc::clone(&heads)).await;
        let setup = Setup { http2: true, ..http2(json!({})) };
        let front = Front::start(&format!("http://{backend}"), setup).await;
        let (messages, body) = ChannelBody::new();
        let mut sender = front.connect_h2().await;
        messages.send(Bytes::from_static(b"one")).await.unwrap();
        let mut response = sender.send_request(grpc("/shop.Cart/Talk").body(body).unwrap()).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"application/grpc".parse().unwrap())
        );
        for (number, next) in ["one", "two", "three"].into_iter().zip([Some("two"), Some("three"), None]) {
            let frame = response.body_mut().frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), format!("re: {number}"));
            if let Some(next) = next {
                messages.send(Bytes::from(next)).await.unwrap();
            }
        }
        drop(messages);
        let trailers = response.body_mut().frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"0".parse().unwrap(), &"fine".parse().unwrap())
        );
        assert!(response.body_mut().frame().await.is_none());
        {
            let heads = heads.borrow();
            assert_eq!(heads[0].uri, "http://shop.example/shop.Cart/Talk");
            let has = |name: &str, value: &str| heads[0].headers[name] == value;
            assert!(has("te", "trailers") && has("content-type", "application/grpc") && has("grpc-timeout", "5S"));
            for name in ["connection", "transfer-encoding", "host", "content-length"] {
                assert!(!heads[0].headers.contains_key(name), "{name}");
            }
        }
        // A gRPC error is a head without a body.
        let response =
            sender.send_request(grpc("/shop.Cart/Refused").body(ChannelBody::new().1).unwrap()).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["grpc-status"]), (200, &"7".parse().unwrap()));
        assert_eq!(text(response).await, "");
        eventually("nothing is in use", || front.client.counts().in_use == 0).await;
        assert_eq!(front.client.counts().connected, 1);
    });
}
