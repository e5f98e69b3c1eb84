//! End of a body (RFC 9112 §6 and §7).

use crate::http1::{Case, hold, over_tls, shop};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_is_one_number() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        // bytes, statuses, true if the connection is closed
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 3\r\n\r\nabc",                          &[405], false), // §6.2
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 3\r\n\r\nabc",                           &[200], false), // RFC 9110 §9.3.1
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 0\r\n\r\n",                              &[200], false),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 000\r\n\r\n",                            &[200], false),
        // RFC 9110 §8.6: a repeated equal value may be treated as one value.
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",     &[405], false),
        // §6.3, rule 5: every other invalid length is unrecoverable.
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",    &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 3, 4\r\n\r\nabcd",                      &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 3, 3\r\n\r\nabc",                       &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length:\r\n\r\n",                               &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: -1\r\n\r\n",                            &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: +3\r\n\r\nabc",                         &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 0x3\r\n\r\nabc",                        &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 3.0\r\n\r\nabc",                        &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: three\r\n\r\nabc",                      &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 3 3\r\n\r\nabc",                        &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 99999999999999999999\r\n\r\nabc",       &[400], true),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: x\r\n\r\nGET /ten.txt HTTP/1.1\r\nHost: shop.localhost\r\n\r\n", &[400], true),
    ];
    hold(&edge, cases).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_coding_is_chunked_and_stands_alone() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", &[405], false), // §7.1
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", &[200], false),
        // §6.3, rule 3: with a length too, the transfer coding takes precedence, and the connection ends in any case.
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", &[405], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n", &[405], true),
        ("GET / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /ten.txt HTTP/1.1\r\nHost: shop.localhost\r\n\r\n", &[200], true),
        // §6.1: an unknown coding; chunked must be last and occur once.
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",     &[501], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[501], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", &[501], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",  &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",     &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: identity\r\n\r\n",                   &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",          &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",       &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding:\r\n\r\n",                            &[400], true),
        ("POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n",      &[400], true),
        // §6.1: HTTP/1.0 has no transfer coding.
        ("POST / HTTP/1.0\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",           &[400], true),
    ];
    hold(&edge, cases).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_are_read_to_their_end_or_refused() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases = [
        // chunks, status, true if the next request on the connection is answered (§7.1)
        ("0\r\n\r\n",                                    405, true),
        ("3\r\nabc\r\n0\r\n\r\n",                        405, true),
        ("00003\r\nabc\r\n0\r\n\r\n",                    405, true),
        ("A\r\n0123456789\r\n0\r\n\r\n",                 405, true),
        ("a\r\n0123456789\r\n0\r\n\r\n",                 405, true),
        ("3;name=value\r\nabc\r\n0\r\n\r\n",             405, true),  // §7.1.1
        ("3;name=\"a;b\"\r\nabc\r\n0\r\n\r\n",           405, true),
        ("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",            405, true),  // §7.1.2
        ("3 \r\nabc\r\n0\r\n\r\n",                       405, true),  // §7.1.1: BWS
        ("g\r\nabc\r\n0\r\n\r\n",                        400, false),
        ("-3\r\nabc\r\n0\r\n\r\n",                       400, false),
        ("0x3\r\nabc\r\n0\r\n\r\n",                      400, false),
        ("\r\nabc\r\n0\r\n\r\n",                         400, false),
        ("3\nabc\r\n0\r\n\r\n",                          400, false), // a bare LF ends no line of a chunk
        ("3\rabc\r\n0\r\n\r\n",                          400, false),
        ("3\r\nabcd\r\n0\r\n\r\n",                       400, false),
        ("3\r\nab\r\n0\r\n\r\n",                         400, false),
        ("3;a\nb\r\nabc\r\n0\r\n\r\n",                   400, false),
        ("10000000000000000\r\nabc\r\n0\r\n\r\n",        400, false), // more than 64 bits
        ("3\r\nabc\r\n0\r\nX Y: 1\r\n\r\n",              400, false),
        ("3\r\nabc\r\n0\r\nX: 1\n\r\n",                 400, false), // nor does it end one of trailers (§2.2)
        ("3\r\nabc\r\n0\n\n",                           400, false),
    ];
    for (chunks, status, goes_on) in cases {
        let head = "POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        let next = "GET /ten.txt HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";
        let found = over_tls(&edge, format!("{head}{chunks}{next}").as_bytes()).await;
        let statuses = if goes_on { vec![status, 200] } else { vec![status] };
        assert_eq!((found.statuses, found.closed), (statuses, !goes_on), "{chunks:?}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_feed_alone_in_trailers_ends_the_connection() {
    let edge = shop().await;
    // RFC 9112 §2.2: it may end a line, or be refused. A proxy that ends the section elsewhere, and sends requests of
    // several clients on one connection, would miss an answer.
    let head = "POST / HTTP/1.1\r\nHost: shop.localhost\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n";
    let next = "GET /ten.txt HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";
    let found = over_tls(&edge, format!("{head}0\r\nX: y\n\r\n{next}{next}").as_bytes()).await;
    assert_eq!((found.statuses, found.closed), (vec![400], true));
    edge.stop().await;
}
