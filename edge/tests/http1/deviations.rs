//! Known deviations from the standard of HTTP/1.1. None lets a backend see another message than the edge did.

use crate::http1::{Case, REST, hold, over_tls, shop};
use crate::wire::{HOST, connect, read_until_rest, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_are_not_known_are_400() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        // RFC 9110 §2.5: a higher minor version SHOULD be processed as the highest known version.
        ("GET / HTTP/1.2\r\nHost: shop.localhost\r\n\r\n", &[400], true),
        // RFC 9110 §15.6.6: 505 would be more specific.
        ("GET / HTTP/2.0\r\nHost: shop.localhost\r\n\r\n", &[400], true),
        ("GET / HTTP/3.0\r\nHost: shop.localhost\r\n\r\n", &[400], true),
    ];
    hold(&edge, cases).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_preface_of_http2_where_http11_was_agreed_on_is_not_answered() {
    let edge = shop().await;
    // A client that speaks HTTP/2 cannot parse a 400.
    let found = over_tls(&edge, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!((found.statuses, found.closed), (vec![], true));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http10_is_answered_as_http10() {
    let edge = shop().await;
    // RFC 9110 §6.2: the version of a response SHOULD be the highest version that the server conforms to.
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    write(&mut stream, b"GET / HTTP/1.0\r\nHost: shop.localhost\r\n\r\n").await;
    let (read, _) = read_until_rest(&mut stream, REST).await;
    assert!(read.starts_with(b"HTTP/1.0 200 OK\r\n"));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fragment_is_cut_off_and_not_refused() {
    let edge = shop().await;
    // RFC 9112 §3.2: no target has a fragment, and 400 SHOULD be the response. No backend receives the request.
    let found = over_tls(&edge, b"GET /ten.txt#part HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").await;
    assert_eq!(found.statuses, [200]);
    edge.stop().await;
}
