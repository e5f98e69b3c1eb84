//! Request targets: one normal form; every other form is redirected to the normal form or refused.

use tokio::io::AsyncWriteExt as _;

use crate::http::site::{page, shop};
use crate::support::{Files, RunningEdge, edge};
use crate::wire::{Answer, HOST, Protocol, ask, connect, protocols, read_answers};

/// Text for a target of another scheme than `https`.
const OTHER_SCHEME: &str = "Only addresses of https are served over this connection.";

/// Response to any bytes as a target, over HTTP/1.1.
async fn raw(edge: &RunningEdge, target: &[u8]) -> Answer {
    let mut stream = connect(edge, HOST, "http/1.1").await;
    let request = [b"GET ", target, b" HTTP/1.1\r\nHost: shop.localhost\r\n\r\n"].concat();
    stream.write_all(&request).await.unwrap();
    read_answers(&mut stream, &[false]).await.0.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_is_normal_redirected_or_refused() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases = [
        // target, status, Location
        ("/",                         200, ""),
        ("/ten.txt",                  200, ""),
        ("/ten.txt?a=b",              200, ""),
        ("/ten.txt?",                 200, ""),
        ("/a%20b/%C3%BC.txt",         200, ""),
        ("/a;v=1",                    200, ""),                    // RFC 3986 §3.3: `;` is a character of the name
        ("/ten.txt;v=1",              404, ""),
        ("/TEN.TXT",                  404, ""),
        // Other spellings of a name (RFC 3986 §6.2.2).
        ("/%74en.txt",                308, "/ten.txt"),
        ("/%74en.txt?q=%2e",          308, "/ten.txt?q=%2e"),      // the query is nobody's business
        ("/a%20b/%c3%bc.txt",         308, "/a%20b/%C3%BC.txt"),
        ("/a%20b/u%CC%88.txt",        308, "/a%20b/%C3%BC.txt"),   // NFC
        ("//ten.txt",                 308, "/ten.txt"),
        ("/.//ten.txt",               308, "/ten.txt"),
        ("/a/../ten.txt",             308, "/ten.txt"),            // RFC 3986 §5.2.4
        ("/%2e%2E/ten.txt",           308, "/ten.txt"),
        ("/../../../etc/passwd",      308, "/etc/passwd"),
        ("//evil.example/",           308, "/evil.example/"),
        ("/%2f%2fevil.example/",      308, "/evil.example/"),
        ("/.well-known%2fsecurity.txt", 308, "/.well-known/security.txt"), // in files, %2f is a slash
        ("/missing%2fpage",           308, "/missing/page"),
        ("/a%3Bv=1",                  308, "/a;v=1"),
        // One redirect, even if the page has another canonical path.
        ("/about.html",               307, "/about"),
        ("//about.html",              307, "/about"),
        ("/x/../about.html?a",        307, "/about?a"),
        ("//index.html",              307, "/"),
        ("/%64ocs",                   307, "/docs/"),
        ("/docs%2findex.html",        307, "/docs/"),
        ("/docs",                     307, "/docs/"),
        // Refused.
        ("/%00",                      400, ""),
        ("/a%0d%0ab",                 400, ""),
        ("/%5c",                      400, ""),
        ("/..%5c..%5cetc",            400, ""),
        ("/%2e%2e%2fetc",             400, ""),
        ("/..;/etc",                  400, ""),
        ("/%ff",                      400, ""),
        ("/%c0%af",                   400, ""),                    // overlong UTF-8
        ("/%ed%a0%80",                400, ""),                    // a surrogate
        ("/%",                        400, ""),                    // RFC 3986 §2.1
        ("/%zz",                      400, ""),
        ("/%u0041",                   400, ""),
        // Never served.
        ("/devanture.toml",           404, ""),
        ("/_redirects",               404, ""),
        ("/.env",                     404, ""),
        ("/.git/config",              404, ""),
        ("/.well-known/security.txt", 200, ""),
    ];
    for protocol in protocols(&edge) {
        for (target, status, location) in cases {
            let answer = ask(target).send(&edge, protocol).await;
            assert_eq!(
                (answer.status, answer.header("location").as_str()),
                (status, location),
                "{protocol:?} {target}"
            );
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_target_are_refused() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases: &[(&[u8], u16, &str)] = &[
        (b"\\",                400, ""),
        (b"/..\\..\\etc",      400, ""),
        (b"ten.txt",           400, ""),              // RFC 9112 §3.2: no form of a target
        (b"",                  400, ""),
        (b"/a\x01b",           400, ""),
        (b"/a\x7fb",           400, ""),
        (b"/\xff",             400, ""),
        (b"*",                 400, ""),              // RFC 9112 §3.2.4: for OPTIONS alone
        (b"?a",                400, ""),
        (b"#a",                400, ""),
        (b"/a b",              400, ""),              // RFC 9112 §3: no white space within
        (b"https://",          400, ""),
        (b"https:///ten.txt",  400, ""),
        (b"/[slug]",           404, ""),              // WHATWG URL §1.3: browsers leave it as it is
        (b"/a|b",              404, ""),
        (b"/a\"b",             308, "/a%22b"),        // what no path holds is encoded
    ];
    for (target, status, location) in cases {
        let answer = raw(&edge, target).await;
        let what = String::from_utf8_lossy(target);
        assert_eq!((answer.status, answer.header("location").as_str()), (*status, *location), "{what}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_of_any_length_has_an_answer() {
    let edge = shop().await;
    for protocol in protocols(&edge) {
        // RFC 9110 §4.1 requires at least 8,000 bytes; each byte of a bundle's longest path may be percent-encoded.
        for (length, status) in [(8_000, 404), (12_288, 404), (12_289, 414), (40_000, 414)] {
            let target = format!("/{}", "a".repeat(length - 1));
            let answer = ask(&target).send(&edge, protocol).await;
            assert_eq!(answer.status, status, "{protocol:?} {length}");
        }
        let target = format!("/ten.txt?{}", "a".repeat(20_000));
        assert_eq!(ask(&target).send(&edge, protocol).await.status, 200, "{protocol:?}");
    }
    for length in [65_000, 65_535, 66_000, 100_000, 130_000] {
        let answer = raw(&edge, format!("/{}", "a".repeat(length - 1)).as_bytes()).await;
        assert_eq!(answer.status, 414, "{length}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_of_an_absolute_target_counts_and_host_does_not() {
    let edge =
        edge().with_app("shop", &[("index.html", b"shop")]).with_app("game", &[("index.html", b"game")]).start().await;
    #[rustfmt::skip]
    let cases = [
        // target, lines of Host, status, body or text (RFC 9112 §3.2 and §3.2.2)
        ("/",                              "Host: shop.localhost\r\n",            200, "shop"),
        ("/",                              "Host: SHOP.Localhost:8443\r\n",       200, "shop"),
        ("/",                              "Host: shop.localhost.\r\n",           200, "shop"),
        ("https://shop.localhost/",        "Host: other.example\r\n",             200, "shop"),
        ("HTTPS://shop.localhost:1",       "Host: game.localhost\r\n",            200, "shop"),
        ("http://shop.localhost/",         "Host: shop.localhost\r\n",            421, OTHER_SCHEME), // RFC 9110 §7.4
        ("http://nobody.localhost/",       "Host: shop.localhost\r\n",            421, OTHER_SCHEME),
        ("ftp://shop.localhost/",          "Host: shop.localhost\r\n",            421, OTHER_SCHEME),
        ("http://a@shop.localhost/",       "Host: shop.localhost\r\n",            400, ""),
        ("https://shop.localhost?a",       "Host: shop.localhost\r\n",            200, "shop"),
        ("https://game.localhost/",        "Host: shop.localhost\r\n",            421, "This connection was made for another site."),
        ("/",                              "Host: game.localhost\r\n",            421, "This connection was made for another site."),
        ("/",                              "Host: nobody.localhost\r\n",          404, "There is nothing here."),
        ("https://nobody.localhost/",      "Host: shop.localhost\r\n",            404, "There is nothing here."),
        ("/",                              "",                                    400, ""),
        ("https://shop.localhost/",        "",                                    400, ""),
        ("/",                              "Host:\r\n",                           400, ""),
        ("/",                              "Host: shop.localhost\r\nHost: shop.localhost\r\n", 400, ""),
        ("/",                              "Host: shop.localhost, game.localhost\r\n", 400, ""),
        ("/",                              "Host: a@shop.localhost\r\n",          400, ""),
        ("/",                              "Host: shop.localhost/x\r\n",          400, ""),
        ("/",                              "Host: shop.localhost:x\r\n",          400, ""),
        ("https://a@shop.localhost/",      "Host: shop.localhost\r\n",            400, ""), // RFC 9110 §4.2.4
    ];
    for (target, host, status, body) in cases {
        let mut stream = connect(&edge, HOST, "http/1.1").await;
        stream.write_all(format!("GET {target} HTTP/1.1\r\n{host}\r\n").as_bytes()).await.unwrap();
        let answer = read_answers(&mut stream, &[false]).await.0.remove(0);
        assert_eq!(answer.status, status, "{target} {host:?}");
        if !body.is_empty() {
            assert_eq!(answer.text(), body, "{target} {host:?}");
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_of_another_scheme_is_misdirected_but_from_a_trusted_proxy() {
    let trusting = r#"trusted_proxies = ["127.0.0.1"]"#;
    #[rustfmt::skip]
    let cases = [
        // scheme, status for any client, status for a trusted proxy (RFC 9110 §7.4)
        ("https", 200, 200),
        ("http",  421, 200),
        ("coap",  421, 421),
    ];
    for is_trusted in [false, true] {
        let files: Files<'_> = &[("index.html", b"shop")];
        let setup = edge().with_app("shop", files);
        let edge = if is_trusted { setup.with_listen(trusting) } else { setup }.start().await;
        for protocol in protocols(&edge) {
            for (scheme, of_anybody, of_proxy) in cases {
                let status = if is_trusted { of_proxy } else { of_anybody };
                let target = format!("{scheme}://{HOST}/");
                let asked = match protocol {
                    Protocol::Http1 => ask(&target),
                    Protocol::Http2 | Protocol::Http3 => ask("/").scheme(scheme),
                };
                let answer = asked.send(&edge, protocol).await;
                let text = if status == 200 { "shop" } else { OTHER_SCHEME };
                assert_eq!((answer.status, answer.text().as_str()), (status, text), "{protocol:?} {scheme}");
                // Responses to POST, too, which are generated on another path.
                let posted = asked.method("POST").send(&edge, protocol).await;
                let status = if status == 200 { 405 } else { 421 };
                assert_eq!(posted.status, status, "{protocol:?} {scheme}");
            }
        }
        edge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authority_and_host_of_http2_may_not_disagree() {
    let edge =
        edge().with_app("shop", &[("index.html", b"shop")]).with_app("game", &[("index.html", b"game")]).start().await;
    // RFC 9113 §8.3.1
    for (host, status) in [("shop.localhost", 200), ("SHOP.localhost:443", 200), ("game.localhost", 400), ("a@b", 400)]
    {
        let answer = ask("/").with("host", host).send(&edge, Protocol::Http2).await;
        assert_eq!(answer.status, status, "{host}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_nobody_has_learns_nothing() {
    let edge = edge().with_app("shop", &[("index.html", &page("index"))]).start().await;
    let mut stream = connect(&edge, HOST, "http/1.1").await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n").await.unwrap();
    let answer = read_answers(&mut stream, &[false]).await.0.remove(0);
    assert_eq!(answer.status, 404);
    assert_eq!(answer.text(), "There is nothing here.");
    assert_eq!(answer.names(), ["cache-control", "content-length", "content-type", "date", "x-content-type-options"]);
    edge.stop().await;
}
