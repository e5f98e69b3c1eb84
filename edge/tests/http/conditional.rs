//! Conditional requests (RFC 9110 §13).

use crate::http::site::{page, shop};
use crate::support::edge;
use crate::wire::{ask, protocols};

/// Past date in the three forms of §5.6.7, and a date long after this test.
const PAST: [&str; 3] = ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"];
const FUTURE: &str = "Fri, 31 Dec 2100 23:59:59 GMT";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preconditions_are_answered_in_their_order() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases: &[(&str, u16)] = &[
        // fields, status; TAG is the entity tag of the requested file, DATE its Last-Modified
        ("",                                                       200),
        // §13.1.1 If-Match: strong
        ("If-Match: TAG",                                          200),
        ("If-Match: *",                                            200),
        ("If-Match: \"a\", TAG",                                   200),
        ("If-Match: \"a\"",                                        412),
        ("If-Match: W/TAG",                                        412),
        ("If-Match: \"a,TAG\"",                                    412),
        ("If-Match: ",                                             412),
        ("If-Match: \"a\"|If-Match: TAG",                          200), // §5.3: lines are one list
        // §13.1.4 If-Unmodified-Since
        ("If-Unmodified-Since: DATE",                              200),
        ("If-Unmodified-Since: FUTURE",                            200),
        ("If-Unmodified-Since: PAST",                              412),
        ("If-Unmodified-Since: PAST850",                           412), // §5.6.7
        ("If-Unmodified-Since: PASTC",                             412),
        ("If-Unmodified-Since: yesterday",                         200), // §13.1.4: no date, no condition
        ("If-Match: TAG|If-Unmodified-Since: PAST",                200), // §13.2.2, steps 1 and 2
        ("If-Match: \"a\"|If-Unmodified-Since: FUTURE",            412),
        // §13.1.2 If-None-Match: weak
        ("If-None-Match: TAG",                                     304),
        ("If-None-Match: W/TAG",                                   304),
        ("If-None-Match: *",                                       304),
        ("If-None-Match: \"a\", W/\"b\" , TAG",                    304),
        ("If-None-Match: \"a\"|If-None-Match: TAG",                304),
        ("If-None-Match: \"a\"",                                   200),
        ("If-None-Match: BARE",                                    200), // §8.8.3: a tag has quotes
        ("If-None-Match: ",                                        200),
        // §13.1.3 If-Modified-Since
        ("If-Modified-Since: DATE",                                304),
        ("If-Modified-Since: FUTURE",                              304),
        ("If-Modified-Since: PAST",                                200),
        ("If-Modified-Since: PAST850",                             200),
        ("If-Modified-Since: PASTC",                               200),
        ("If-Modified-Since: yesterday",                           200),
        ("If-None-Match: \"a\"|If-Modified-Since: FUTURE",         200), // §13.2.2, steps 3 and 4
        ("If-None-Match: TAG|If-Modified-Since: PAST",             304),
        // Steps 1 and 3 together
        ("If-Match: TAG|If-None-Match: TAG",                       304),
        ("If-Match: \"a\"|If-None-Match: TAG",                     412),
        ("If-Unmodified-Since: DATE|If-Modified-Since: DATE",      304),
        ("If-Unmodified-Since: PAST|If-None-Match: TAG",           412),
        // Step 5 comes last
        ("If-None-Match: TAG|Range: bytes=0-1",                    304),
        ("If-Match: \"a\"|Range: bytes=0-1",                       412),
        ("If-Match: TAG|Range: bytes=0-1",                         206),
        ("If-None-Match: \"a\"|Range: bytes=99999999-",            416),
        ("If-None-Match: TAG|Range: bytes=99999999-",              304),
    ];
    for protocol in protocols(&edge) {
        for encoding in ["identity", "br", "gzip", "zstd"] {
            let plain = ask("/lines.txt").with("Accept-Encoding", encoding).send(&edge, protocol).await;
            let (tag, date) = (plain.header("etag"), plain.header("last-modified"));
            for (fields, status) in cases {
                let fields = fields.replace("BARE", tag.trim_matches('"')).replace("TAG", &tag).replace("DATE", &date);
                let fields = fields.replace("PAST850", PAST[1]).replace("PASTC", PAST[2]).replace("PAST", PAST[0]);
                let fields = fields.replace("FUTURE", FUTURE);
                let lines: Vec<&str> = fields.split('|').filter(|line| !line.is_empty()).collect();
                let request = ask("/lines.txt").with("Accept-Encoding", encoding).with_lines(&lines);
                let answer = request.send(&edge, protocol).await;
                assert_eq!(answer.status, *status, "{protocol:?} {encoding} {lines:?}");
                if *status == 304 {
                    assert_eq!(answer.header("etag"), tag);
                    assert!(answer.body.is_empty());
                }
            }
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_304_has_the_fields_that_a_cache_needs_and_no_others() {
    let edge = shop().await;
    for protocol in protocols(&edge) {
        for (target, has_choice) in [("/", true), ("/assets/app-B3xY9_aZ.js", true), ("/photo.png", false)] {
            let get = ask(target).with("Accept-Encoding", "gzip").send(&edge, protocol).await;
            let request = ask(target).with("Accept-Encoding", "gzip").with("If-None-Match", get.header("etag"));
            let not_modified = request.send(&edge, protocol).await;
            assert_eq!(not_modified.status, 304);
            // §15.4.5; `devanture-version` is on every response.
            let mut names = vec!["cache-control", "date", "devanture-version", "etag"];
            // An unchanged page may offer other dictionaries than the version before.
            if target == "/" {
                names.push("link");
            }
            if has_choice {
                names.push("vary");
            }
            assert_eq!(not_modified.names(), names, "{protocol:?} {target}");
            for name in names.iter().filter(|name| **name != "date") {
                assert_eq!(not_modified.header(name), get.header(name), "{protocol:?} {target} {name}");
            }
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_validates_the_encoding_that_it_was_seen_with_and_no_other() {
    let edge = shop().await;
    let encodings = ["identity", "br", "gzip", "zstd"];
    for protocol in protocols(&edge) {
        let mut tags = Vec::new();
        for encoding in encodings {
            let answer = ask("/lines.txt").with("Accept-Encoding", encoding).send(&edge, protocol).await;
            let sent = answer.header("content-encoding");
            assert_eq!(if sent.is_empty() { "identity" } else { &sent }, encoding);
            // §8.8.3: strong, so without W/.
            assert!(answer.header("etag").starts_with('"'), "{}", answer.header("etag"));
            tags.push(answer.header("etag"));
        }
        for (of, tag) in encodings.iter().zip(&tags) {
            for encoding in encodings {
                let request = ask("/lines.txt").with("Accept-Encoding", encoding).with("If-None-Match", tag.as_str());
                let status = request.send(&edge, protocol).await.status;
                assert_eq!(status, if *of == encoding { 304 } else { 200 }, "{protocol:?} {of} asked by {encoding}");
                let request = ask("/lines.txt").with("Accept-Encoding", encoding).with("If-Match", tag.as_str());
                let status = request.send(&edge, protocol).await.status;
                assert_eq!(status, if *of == encoding { 200 } else { 412 }, "{protocol:?} {of} asked by {encoding}");
            }
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_200_has_no_preconditions() {
    let edge = shop().await;
    for protocol in protocols(&edge) {
        // §13.2.1
        for (target, status) in [("/missing", 404), ("/about.html", 307), ("//about", 308)] {
            for line in ["If-None-Match: *", "If-Match: \"a\"", "If-Modified-Since: Fri, 31 Dec 2100 23:59:59 GMT"] {
                let answer = ask(target).with_lines(&[line]).send(&edge, protocol).await;
                assert_eq!(answer.status, status, "{protocol:?} {target} {line}");
            }
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_bytes_have_equal_tags_in_every_version() {
    let (first, second) = (page("one"), page("two"));
    let edge = edge().start().await;
    edge.push("shop", &[("index.html", &first), ("same.txt", b"same")]).await;
    for protocol in protocols(&edge) {
        edge.push("shop", &[("index.html", &first), ("same.txt", b"same")]).await;
        let before = ask("/same.txt").send(&edge, protocol).await.header("etag");
        let page_before = ask("/").send(&edge, protocol).await.header("etag");
        edge.push("shop", &[("index.html", &second), ("same.txt", b"same")]).await;
        let answer = ask("/same.txt").with("If-None-Match", before.as_str()).send(&edge, protocol).await;
        assert_eq!(answer.status, 304, "{protocol:?}");
        let answer = ask("/").with("If-None-Match", page_before.as_str()).send(&edge, protocol).await;
        assert_eq!(answer.status, 200, "{protocol:?}");
    }
    edge.stop().await;
}
