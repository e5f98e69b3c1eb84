//! The head of a request (RFC 9112 §2 to §5).

use crate::http1::{Case, Outcome, hold, over_plain, over_tls, shop};
use crate::wire::{HOST, connect, read_answers, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_line_has_three_parts() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",             &[200], false), // §3
        ("\r\nGET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",         &[200], false), // §2.2: an empty line before it
        ("GET / HTTP/1.1\nHost: shop.localhost\n\n",                   &[200], false), // §2.2: a bare LF may end a line
        ("GET  / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",            &[400], true),  // §3: single spaces
        ("GET /  HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",            &[400], true),
        ("GET\t/ HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",            &[400], true),
        (" GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",            &[400], true),
        ("GET /a b HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",          &[400], true),  // §3.2
        ("GE(T / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",            &[400], true),  // RFC 9110 §9.1: a token
        (": / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",               &[400], true),
        ("GET / http/1.1\r\nHost: shop.localhost\r\n\r\n",             &[400], true),  // §2.3: the name has case
        ("GET / HTTP/1\r\nHost: shop.localhost\r\n\r\n",               &[400], true),
        ("GET / HTTP/1.10\r\nHost: shop.localhost\r\n\r\n",            &[400], true),
        ("GET / HTTP/01.1\r\nHost: shop.localhost\r\n\r\n",            &[400], true),
        ("GET / HTTPS/1.1\r\nHost: shop.localhost\r\n\r\n",            &[400], true),
        ("GET / HTTP/0.9\r\nHost: shop.localhost\r\n\r\n",             &[400], true),
        ("GET /\r\n",                                                  &[400], true),  // HTTP/0.9
        ("GET /\r\n\r\n",                                              &[400], true),
        ("GET\r\n\r\n",                                                &[400], true),
        ("hello\r\n\r\n",                                              &[400], true),
        ("{\"a\":1}\r\n\r\n",                                          &[400], true),
        ("\0\0\0\0\r\n\r\n",                                           &[400], true),
        ("\u{16}\u{3}\u{1}\0\r\n\r\n",                                 &[400], true),  // TLS within TLS
    ];
    hold(&edge, cases).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_is_a_name_a_colon_and_a_value() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("GET / HTTP/1.1\r\nHost:shop.localhost\r\nX:\r\n\r\n",                   &[200], false), // §5: white space is optional
        ("GET / HTTP/1.1\r\nHost: \t shop.localhost \t\r\n\r\n",                  &[200], false),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX: a\u{fc}b\r\n\r\n",         &[200], false), // RFC 9110 §5.5: obs-text
        ("GET / HTTP/1.1\r\nHost : shop.localhost\r\n\r\n",                       &[400], true),  // §5.1: no space before it
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX : y\r\n\r\n",               &[400], true),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX\t: y\r\n\r\n",              &[400], true),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX: a\r\n b\r\n\r\n",          &[400], true),  // §5.2: obs-fold
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX: a\r\n\tb\r\n\r\n",         &[400], true),
        ("GET / HTTP/1.1\r\n Host: shop.localhost\r\n\r\n",                       &[400], true),  // §2.2: white space at first
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX\r\n\r\n",                   &[400], true),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\n: y\r\n\r\n",                 &[400], true),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX Y: z\r\n\r\n",              &[400], true),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX@Y: z\r\n\r\n",              &[400], true),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX\u{fc}: z\r\n\r\n",          &[400], true),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX: a\0b\r\n\r\n",             &[400], true),  // RFC 9110 §5.5
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX: a\rb\r\n\r\n",             &[400], true),  // §2.2: a bare CR
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX: a\u{7f}b\r\n\r\n",         &[400], true),
    ];
    hold(&edge, cases).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_names_one_host() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        // §3.2; the framing of these requests is valid, so that the connection may continue
        ("GET / HTTP/1.1\r\n\r\n",                                                  &[400], false),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nHost: shop.localhost\r\n\r\n",  &[400], false),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nHost: game.localhost\r\n\r\n",  &[400], false),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n",                                     &[400], false),
        ("GET / HTTP/1.1\r\nHost: a@shop.localhost\r\n\r\n",                        &[400], false),
        ("GET / HTTP/1.1\r\nHost: shop.localhost:65535\r\n\r\n",                    &[200], false), // RFC 9110 §7.2
        ("GET / HTTP/1.1\r\nHost: shop.localhost:00443\r\n\r\n",                    &[200], false),
        ("GET / HTTP/1.1\r\nHost: shop.localhost:65536\r\n\r\n",                    &[400], false),
        ("GET / HTTP/1.1\r\nHost: shop.localhost:99999\r\n\r\n",                    &[400], false),
        ("GET / HTTP/1.1\r\nHost: [::1]:65979\r\n\r\n",                             &[400], false),
        ("GET https://shop.localhost:99999/ HTTP/1.1\r\nHost: shop.localhost\r\n\r\n", &[400], false),
        ("GET https://shop.localhost/ HTTP/1.1\r\nHost: shop.localhost:99999\r\n\r\n", &[400], false),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n",                                         &[400], false),
        ("GET / HTTP/1.0\r\n\r\n",                                                  &[400], true),
        ("GET https://shop.localhost/ HTTP/1.1\r\nHost: other.example\r\n\r\n",     &[200], false), // §3.2.2
        ("GET https://shop.localhost/ HTTP/1.1\r\n\r\n",                            &[400], false),
        ("GET https://other.example/ HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",     &[404], false),
    ];
    hold(&edge, cases).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_http_leads_to_https_and_is_as_strict() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("GET /a?b HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",                       &[308], false),
        ("POST /a HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 1\r\n\r\na",  &[308], false),
        ("GET / HTTP/1.1\r\n\r\n",                                                  &[400], false),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",                                     &[400], false),
        ("GET / HTTP/1.1\r\nHost: shop.localhost:99999\r\n\r\n",                    &[400], false),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n",                                      &[400], true),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",                  &[400], true),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", &[501], true),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",            &[400], true),
        ("GET / HTTP/1.0\r\nHost: shop.localhost\r\n\r\n",                          &[308], true),
        ("GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n",                        &[404], false),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\nGET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n", &[308, 308], false),
    ];
    for (bytes, statuses, closed) in cases {
        let expected = Outcome { statuses: statuses.to_vec(), closed: *closed };
        assert_eq!(over_plain(&edge, bytes.as_bytes()).await, expected, "{bytes:?}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_too_large_or_a_target_that_is_too_long_learns_it() {
    let edge = shop().await;
    let field = |bytes: usize| format!("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX: {}\r\n\r\n", "a".repeat(bytes));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: shop.localhost\r\n{}\r\n", "X: y\r\n".repeat(count));
    let target = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: shop.localhost\r\n\r\n", "a".repeat(bytes - 1));
    // RFC 6585 §5: header_bytes_max is 65,536, and header_fields_max 100; RFC 9110 §15.5.15.
    #[rustfmt::skip]
    let cases: [(String, u16); 12] = [
        (field(30_000),   200),
        (field(65_000),   200),
        (field(65_536),   431),
        (field(100_000),  431),
        (field(400_000),  431),
        (fields(99),      200),
        (fields(100),     431),
        (fields(5_000),   431),
        (target(12_288),  404),
        (target(12_289),  414),
        (target(100_000), 414),
        (target(200_000), 414),
    ];
    for (bytes, status) in &cases {
        let found = over_tls(&edge, bytes.as_bytes()).await;
        assert_eq!(found.statuses, [*status], "{} bytes", bytes.len());
    }
    // With both errors, the target's error wins.
    let both = target(20_000).replace("\r\n\r\n", &format!("\r\nX: {}\r\n\r\n", "a".repeat(20_000)));
    assert_eq!(over_tls(&edge, both.as_bytes()).await.statuses, [414]);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_may_come_byte_by_byte() {
    let edge = shop().await;
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    for byte in b"\r\nGET /ten.txt HTTP/1.1\r\nHost: shop.localhost\r\nX: y\r\n\r\n" {
        write(&mut stream, &[*byte]).await;
        tokio::task::yield_now().await;
    }
    let (answers, _) = read_answers(&mut stream, &[false]).await;
    assert_eq!((answers[0].status, answers[0].text().as_str()), (200, "0123456789"));
    edge.stop().await;
}
