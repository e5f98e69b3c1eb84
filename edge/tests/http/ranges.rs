//! Ranges (RFC 9110 §14).

use crate::http::site::{noise, shop, text};
use crate::support::edge;
use crate::wire::{Answer, ask, protocols};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_range_is_that_part() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases = [
        // Range of ten bytes, status, Content-Range, body
        ("bytes=0-0",                 206, "bytes 0-0/10", "0"),           // §14.1.2
        ("bytes=2-5",                 206, "bytes 2-5/10", "2345"),
        ("bytes=9-",                  206, "bytes 9-9/10", "9"),
        ("bytes=0-",                  206, "bytes 0-9/10", "0123456789"),
        ("bytes=0-9999",              206, "bytes 0-9/10", "0123456789"),
        ("bytes=-3",                  206, "bytes 7-9/10", "789"),
        ("bytes=-9999",               206, "bytes 0-9/10", "0123456789"),
        ("Bytes=1-1",                 206, "bytes 1-1/10", "1"),           // §14.1: names have no case
        ("bytes= 1-1",                206, "bytes 1-1/10", "1"),           // §5.6.1.2
        ("bytes=,1-1,",               206, "bytes 1-1/10", "1"),
        ("bytes=0-18446744073709551616", 206, "bytes 0-9/10", "0123456789"),
        ("bytes=10-",                 416, "bytes */10",   ""),            // §15.5.17
        ("bytes=10-20,30-",           416, "bytes */10",   ""),
        ("bytes=-0",                  416, "bytes */10",   ""),
        ("bytes=99999999999999999999-", 416, "bytes */10", ""),
        ("bytes=1-1,99-",             206, "bytes 1-1/10", "1"),           // §14.2: what can be satisfied counts
        ("bytes=5-2",                 200, "",             "0123456789"),  // §14.1.1: malformed is ignored
        ("bytes=",                    200, "",             "0123456789"),
        ("bytes=a-b",                 200, "",             "0123456789"),
        ("bytes=1",                   200, "",             "0123456789"),
        ("bytes=1-2;3-4",             200, "",             "0123456789"),
        ("bytes 1-2",                 200, "",             "0123456789"),
        ("lines=1-2",                 200, "",             "0123456789"),  // §14.1: another unit
        ("bytes=0-1,2-3",             206, "",             ""),            // several: below
    ];
    for protocol in protocols(&edge) {
        for (range, status, content_range, body) in cases {
            let answer = ask("/ten.txt").with("Range", range).send(&edge, protocol).await;
            assert_eq!(answer.status, status, "{protocol:?} {range}");
            assert_eq!(answer.header("content-range"), content_range, "{protocol:?} {range}");
            match status {
                206 if content_range.is_empty() => {}
                416 => assert_eq!(answer.header("cache-control"), "no-store"),
                _ => {
                    assert_eq!(answer.text(), body, "{protocol:?} {range}");
                    assert_eq!(answer.header("content-length"), body.len().to_string());
                }
            }
            if status != 416 {
                assert_eq!(answer.header("accept-ranges"), "bytes");
            }
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_has_the_fields_of_the_whole() {
    let edge = shop().await;
    for protocol in protocols(&edge) {
        let whole = ask("/lines.txt").with("Accept-Encoding", "br").send(&edge, protocol).await;
        let part = ask("/lines.txt").with("Accept-Encoding", "br").with("Range", "bytes=0-9");
        let part = part.send(&edge, protocol).await;
        // §15.3.7
        let mut expected = whole.fields();
        expected.retain(|(name, _)| name != "content-length");
        expected.push(("content-length".to_owned(), "10".to_owned()));
        expected.push(("content-range".to_owned(), format!("bytes 0-9/{}", whole.body.len())));
        expected.sort();
        assert_eq!(part.fields(), expected, "{protocol:?}");
        assert_eq!(part.body, whole.body.slice(..10));
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_are_those_of_the_encoding_that_was_chosen() {
    let edge = shop().await;
    for protocol in protocols(&edge) {
        for encoding in ["identity", "br", "gzip", "zstd"] {
            let whole = ask("/lines.txt").with("Accept-Encoding", encoding).send(&edge, protocol).await;
            let length = whole.body.len();
            for (range, first, last) in [
                ("bytes=0-0".to_owned(), 0, 0),
                (format!("bytes=5-{}", length - 3), 5, length - 3),
                ("bytes=-7".to_owned(), length - 7, length - 1),
            ] {
                let request = ask("/lines.txt").with("Accept-Encoding", encoding).with("Range", range.as_str());
                let part = request.send(&edge, protocol).await;
                assert_eq!(part.status, 206, "{protocol:?} {encoding} {range}");
                assert_eq!(part.header("content-range"), format!("bytes {first}-{last}/{length}"));
                assert_eq!(part.header("content-encoding"), whole.header("content-encoding"));
                assert_eq!(part.body, whole.body.slice(first..=last), "{protocol:?} {encoding} {range}");
            }
            let request = ask("/lines.txt").with("Accept-Encoding", encoding).with("Range", format!("bytes={length}-"));
            let answer = request.send(&edge, protocol).await;
            assert_eq!((answer.status, answer.header("content-range")), (416, format!("bytes */{length}")));
        }
    }
    edge.stop().await;
}

/// Parts of a `multipart/byteranges`, each with `Content-Range` and bytes (RFC 9110 §14.6, RFC 2046 §5.1).
fn parts(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let media_type = answer.header("content-type");
    let boundary = media_type.strip_prefix("multipart/byteranges; boundary=").expect(&media_type);
    let delimiter = format!("--{boundary}").into_bytes();
    let body = &answer.body[..];
    let places: Vec<usize> =
        (0..=body.len() - delimiter.len()).filter(|&at| body[at..].starts_with(&delimiter)).collect();
    assert!(body[*places.last().unwrap() + delimiter.len()..].starts_with(b"--"), "the last delimiter ends it");
    let between = places.windows(2).map(|pair| &body[pair[0] + delimiter.len() + 2..pair[1] - 2]);
    let part = |part: &[u8]| {
        let end = part.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&part[..end]).unwrap().to_ascii_lowercase();
        assert!(head.contains("content-type: text/plain"), "{head}");
        let range = head.lines().find_map(|line| line.strip_prefix("content-range: ")).unwrap();
        (range.to_owned(), part[end + 4..].to_vec())
    };
    between.map(part).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_ranges_are_parts_in_the_order_that_was_requested() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("bytes=0-1,8-9",         &[("bytes 0-1/10", "01"), ("bytes 8-9/10", "89")]),  // §15.3.7.2
        ("bytes=8-9,0-1",         &[("bytes 8-9/10", "89"), ("bytes 0-1/10", "01")]),  // order is the client's
        ("bytes=0-0, -1",         &[("bytes 0-0/10", "0"), ("bytes 9-9/10", "9")]),
        ("bytes=0-0,99-,5-5",     &[("bytes 0-0/10", "0"), ("bytes 5-5/10", "5")]),
        ("bytes=0-4,2-6,9-",      &[("bytes 0-6/10", "0123456"), ("bytes 9-9/10", "9")]), // §14.2: overlaps coalesce
    ];
    for protocol in protocols(&edge) {
        for (range, expected) in cases {
            let answer = ask("/ten.txt").with("Range", *range).send(&edge, protocol).await;
            assert_eq!(answer.status, 206, "{protocol:?} {range}");
            // §14.6: the multipart response has no range of the whole.
            assert_eq!(answer.header("content-range"), "");
            assert_eq!(answer.header("content-length"), answer.body.len().to_string());
            let found = parts(&answer);
            let found: Vec<(&str, &str)> =
                found.iter().map(|(range, bytes)| (range.as_str(), std::str::from_utf8(bytes).unwrap())).collect();
            assert_eq!(found, *expected, "{protocol:?} {range}");
        }
        // Ranges that combine to one range are answered as one range (§15.3.7.2).
        for range in ["bytes=0-4,2-6", "bytes=0-6,0-6,1-2", "bytes=6-6,0-6"] {
            let answer = ask("/ten.txt").with("Range", range).send(&edge, protocol).await;
            assert_eq!((answer.status, answer.header("content-range").as_str()), (206, "bytes 0-6/10"), "{range}");
            assert_eq!(answer.text(), "0123456");
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abusive_set_gets_no_more_than_the_whole() {
    let edge = shop().await;
    let many = |count: usize| (0..count).map(|n| format!("{}-{}", n * 3, n * 3)).collect::<Vec<_>>().join(",");
    for protocol in protocols(&edge) {
        for set in [many(33), many(1_000), vec!["0-"; 500].join(",")] {
            let answer = ask("/lines.txt").with("Range", format!("bytes={set}")).send(&edge, protocol).await;
            assert_eq!(answer.status, 200, "{protocol:?} {} bytes of set", set.len());
            assert_eq!(&answer.body[..], text(250));
        }
        let answer = ask("/lines.txt").with("Range", format!("bytes={}", many(32))).send(&edge, protocol).await;
        assert_eq!((answer.status, parts(&answer).len()), (206, 32));
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_range_is_a_tag_or_a_date() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases = [
        // If-Range, status of the identity, status of an encoding (§13.1.5)
        ("TAG",                            206, 206),
        ("W/TAG",                          200, 200), // strong comparison alone
        ("\"a\"",                          200, 200),
        ("*",                              200, 200),
        ("BARE",                           200, 200),
        ("DATE",                           206, 200), // §8.8.2.2: a date stands for no remade variant
        ("Sun, 06 Nov 1994 08:49:37 GMT",  200, 200),
        ("Fri, 31 Dec 2100 23:59:59 GMT",  200, 200), // the very date, not a later one
        ("yesterday",                      200, 200),
    ];
    for protocol in protocols(&edge) {
        for encoding in ["identity", "br", "gzip", "zstd"] {
            let whole = ask("/lines.txt").with("Accept-Encoding", encoding).send(&edge, protocol).await;
            let tag = whole.header("etag");
            for (value, identity, encoded) in cases {
                let value = value.replace("BARE", tag.trim_matches('"')).replace("TAG", &tag);
                let value = value.replace("DATE", &whole.header("last-modified"));
                let request = ask("/lines.txt").with("Accept-Encoding", encoding);
                let answer =
                    request.with("Range", "bytes=3-5").with("If-Range", value.as_str()).send(&edge, protocol).await;
                let expected = if encoding == "identity" { identity } else { encoded };
                assert_eq!(answer.status, expected, "{protocol:?} {encoding} {value}");
            }
            // Without a range, `If-Range` has no effect.
            let answer = ask("/lines.txt").with("If-Range", tag.as_str()).send(&edge, protocol).await;
            assert_eq!(answer.status, 200);
        }
        // The tag of one encoding differs from the tag of another.
        let gzip = ask("/lines.txt").with("Accept-Encoding", "gzip").send(&edge, protocol).await.header("etag");
        let request = ask("/lines.txt").with("Accept-Encoding", "br").with("Range", "bytes=3-5").with("If-Range", gzip);
        assert_eq!(request.send(&edge, protocol).await.status, 200);
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_get_has_ranges_and_only_of_a_file() {
    let edge = shop().await;
    for protocol in protocols(&edge) {
        // §14.2
        for range in ["bytes=0-1", "bytes=0-1,3-4", "bytes=99999999-"] {
            let plain = ask("/lines.txt").method("HEAD").send(&edge, protocol).await;
            let answer = ask("/lines.txt").method("HEAD").with("Range", range).send(&edge, protocol).await;
            assert_eq!((answer.status, answer.fields()), (200, plain.fields()), "{protocol:?} {range}");
            for (target, method, status) in [("/missing", "GET", 404), ("/about.html", "GET", 307), ("/", "POST", 405)]
            {
                let answer = ask(target).method(method).with("Range", range).send(&edge, protocol).await;
                assert_eq!(answer.status, status, "{protocol:?} {method} {target}");
                assert_eq!(answer.header("content-range"), "");
            }
        }
        // For an empty file, every suffix is the whole (§14.1.2), and no other range can be satisfied.
        let suffix = ask("/empty.txt").with("Range", "bytes=-5").send(&edge, protocol).await;
        assert_eq!((suffix.status, suffix.header("content-length").as_str()), (200, "0"));
        let first = ask("/empty.txt").with("Range", "bytes=0-").send(&edge, protocol).await;
        assert_eq!((first.status, first.header("content-range").as_str()), (416, "bytes */0"));
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_of_a_large_file_come_from_the_store() {
    let bytes = noise(1_000_000);
    let edge = edge().with_limit("memory_file_bytes_max", 1_000).with_app("shop", &[("big.png", &bytes)]).start().await;
    for protocol in protocols(&edge) {
        let whole = ask("/big.png").send(&edge, protocol).await;
        assert!(whole.body == bytes, "{protocol:?}: {} bytes", whole.body.len());
        for (first, last) in [(0, 0), (131_071, 131_073), (5, 700_000), (999_999, 999_999)] {
            let answer = ask("/big.png").with("Range", format!("bytes={first}-{last}")).send(&edge, protocol).await;
            assert_eq!(answer.status, 206);
            assert!(answer.body == bytes[first..=last], "{protocol:?} {first}-{last}");
        }
        let answer = ask("/big.png").with("Range", "bytes=0-9,500000-800000").send(&edge, protocol).await;
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        assert!(answer.body.windows(1_000).any(|some| some == &bytes[600_000..601_000]));
    }
    edge.stop().await;
}
