//! A JSON API behind the edge: its tokens, pages and filters, conflicts and conditions, and files.

use std::io::Write as _;
use std::process::Command;

use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Value, json};

use crate::frameworks::HOST;
use crate::frameworks::http::{Visitor, digest, digest_of_noise, is_the_backends_own, noise, streamed};
use crate::frameworks::servers::{Plants, plants};
use crate::support::edge::{Edge, edge};
use crate::support::leave_out;

const FILE_BYTES: u64 = 64 << 20;
/// Number of refused uploads: a reset overtakes an answer only in some attempts.
const REFUSED_UPLOADS: usize = 5;

/// Starts the edge, with the API's paths in its routes.
fn start() -> Option<(Edge, Plants)> {
    let api = plants()?;
    let edge = edge().start();
    crate::frameworks::push(&edge, &[("/data/*", api.server.address())]);
    Some((edge, api))
}

fn bearer(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())])
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_requested_and_refused_by_the_api_itself() {
    let Some((edge, api)) = start() else { return };
    let backend = api.server.address();
    let basic = HeaderMap::from_iter([(AUTHORIZATION, "Basic eDp5".parse().unwrap())]);
    for fields in [HeaderMap::new(), bearer("wrong"), basic] {
        let (status, answered, body) = is_the_backends_own(&edge, backend, "GET", "/data/plants", &fields).await;
        let challenge = r#"Bearer realm="plants", error="invalid_token", error_description="No such token""#;
        assert_eq!((status, answered["www-authenticate"].to_str().unwrap()), (401, challenge));
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body, json!({"detail": {"problem": "a token is needed"}}));
    }
    let reader = bearer(&api.reader);
    let (status, _, body) = is_the_backends_own(&edge, backend, "DELETE", "/data/plants/1", &reader).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, body), (403, json!({"detail": {"problem": "this token only reads"}})));

    let mut picture = reader.clone();
    picture.insert("accept", "image/png".parse().unwrap());
    let (status, answered, _) = is_the_backends_own(&edge, backend, "GET", "/data/plants/2", &reader).await;
    assert_eq!(status, 200);
    let mut known = reader.clone();
    known.insert("if-none-match", answered["etag"].clone());
    for (method, path, fields, status) in [
        ("GET", "/data/plants", &picture, 406),
        ("GET", "/data/plants/2", &known, 304),
        ("GET", "/data/plants/999", &reader, 404),
        ("GET", "/data/nothing", &reader, 404),
        ("GET", "/data/plants/two", &reader, 422),
        ("GET", "/data/plants?limit=0", &reader, 422),
        ("POST", "/data/plants/2", &reader, 405),
        ("HEAD", "/data/plants/2", &reader, 405),
        ("GET", "/data/openapi.json", &HeaderMap::new(), 200),
    ] {
        let (answered_as, answered, body) = is_the_backends_own(&edge, backend, method, path, fields).await;
        assert_eq!(answered_as, status, "{method} {path}");
        assert_eq!(answered.contains_key("allow"), status == 405, "{method} {path}");
        assert_eq!(answered.contains_key("etag"), status == 304, "{method} {path}");
        assert_eq!(body.is_empty(), status == 304 || method == "HEAD", "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_filters_are_right_as_seen_from_outside() {
    let Some((edge, api)) = start() else { return };
    for http2 in [true, false] {
        let mut visitor = Visitor::new(&edge, http2);
        let origin = visitor.origin();
        let mut next = Some(format!("{origin}/data/plants?limit=4&family=Fagaceae+%26+kin&family=Rosaceae%2B&q="));
        let (mut names, mut pages) = (Vec::new(), 0);
        while let Some(url) = next.take() {
            let request = visitor.request("GET", url.strip_prefix(&origin).unwrap()).bearer_auth(&api.reader);
            let answer = visitor.send(request).await;
            let links = answer.headers().get("link").map(|links| links.to_str().unwrap().to_owned());
            let page: Value = answer.json().await.unwrap();
            assert_eq!(page["count"], 13);
            names.extend(page["plants"].as_array().unwrap().iter().map(|plant| plant["name"].clone()));
            let links = links.unwrap_or_default();
            for (neighbour, rel) in [("next", "next"), ("previous", "prev")] {
                let url = page[neighbour].as_str();
                assert_eq!(links.contains(&format!("rel=\"{rel}\"")), url.is_some());
                assert!(url.is_none_or(|url| links.contains(&format!("<{url}>"))), "{links}");
                assert!(url.is_none_or(|url| url.starts_with(&format!("{origin}/data/plants?"))), "{page}");
            }
            next = page["next"].as_str().map(ToOwned::to_owned);
            pages += 1;
        }
        assert_eq!(pages, 4);
        let expected: Vec<_> =
            (1..=25).filter(|n| matches!(n % 4, 1 | 2)).map(|n| json!(format!("plant {n}"))).collect();
        assert_eq!(names, expected);

        // Sent bytes arrive unchanged; the name of the client is the visitor's.
        for (path, query, pairs) in [
            ("", "", json!([])),
            ("/a", "k=1&k=2&k=1", json!([["k", "1"], ["k", "2"], ["k", "1"]])),
            ("/a%2Fb", "q=a+b%2Bc%20d", json!([["q", "a b+c d"]])),
            ("/%C3%A4%3F", "empty=&bare&=value", json!([["empty", ""], ["bare", ""], ["", "value"]])),
            (
                "/a;v=1",
                "url=https://x.example/?a=b/../c&p=%2F..%2F",
                json!([["url", "https://x.example/?a=b/../c"], ["p", "/../"]]),
            ),
            (
                "/a",
                "filter[name]=%E2%9C%93&u=%e2%9c%93&d=%2525",
                json!([["filter[name]", "✓"], ["u", "✓"], ["d", "%25"]]),
            ),
        ] {
            let sent = format!("/data/echo{path}");
            let whole = if query.is_empty() { sent.clone() } else { format!("{sent}?{query}") };
            let answered_as = visitor.json(&whole).await;
            assert_eq!((&answered_as["path"], &answered_as["query"]), (&json!(sent), &json!(query)), "{answered_as}");
            assert_eq!((&answered_as["pairs"], &answered_as["client"]), (&pairs, &json!("127.0.0.1")), "{answered_as}");
            assert!(answered_as["url"].as_str().unwrap().starts_with(&format!("{origin}/data/echo")), "{answered_as}");
        }
    }
}

// The API answers before reading the body, and reads no more. Over HTTP/1.1 the edge closed the connection with data
// still in transit, and the reset overtook the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_upload_that_is_refused_at_its_start_learns_it() {
    let Some((edge, api)) = start() else { return };
    let answered_as = r#"{"detail":{"problem":"this token only reads"}}"#;
    let mut visitor = Visitor::new(&edge, true);
    for _ in 0..REFUSED_UPLOADS {
        let request = visitor.request("PUT", "/data/files/refused").bearer_auth(&api.reader);
        let request = request.header("content-length", FILE_BYTES).body(streamed(noise(FILE_BYTES)));
        let answer = visitor.send(request).await;
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (403, answered_as));
    }

    let mut file = tempfile::NamedTempFile::new().unwrap();
    for chunk in noise(FILE_BYTES) {
        file.write_all(&chunk).unwrap();
    }
    for _ in 0..REFUSED_UPLOADS {
        let challenge = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60", "--http1.1", "--header", "expect:", "--cacert"])
            .arg(edge.ca())
            .args(["--write-out", " %{http_code} %{size_upload}"])
            .args(["--header", &format!("authorization: Bearer {}", api.reader), "--upload-file"])
            .arg(file.path())
            .arg(edge.url(HOST, "/data/files/refused"))
            .output();
        let Ok(challenge) = challenge else { return leave_out("curl is not installed") };
        assert!(challenge.status.success(), "{challenge:?}");
        let text = String::from_utf8(challenge.stdout).unwrap();
        let (body, sent) = text.split_once(" 403 ").unwrap_or_else(|| panic!("{text}"));
        assert_eq!(body, answered_as);
        assert!(sent.parse::<u64>().unwrap() < FILE_BYTES, "the whole file was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plants_are_made_changed_and_deleted() {
    let Some((edge, api)) = start() else { return };
    for (http2, number) in [(true, 26), (false, 27)] {
        let mut visitor = Visitor::new(&edge, http2);
        let origin = visitor.origin();
        let plant = |name: &str, height: i32| json!({"name": name, "family": "Rosaceae+", "height_cm": height});
        let name = format!("briar {number}");
        let path = format!("/data/plants/{number}");
        for (method, path, body, status, answered_as) in [
            ("POST", "/data/plants", plant(&name, 80), 201, &["id", "briar"][..]),
            ("POST", "/data/plants", plant(&name, 80), 409, &["there is a briar"]),
            ("POST", "/data/plants", plant(&name, -1), 422, &["height_cm", "greater_than_equal"]),
            ("POST", "/data/plants", json!("no plant"), 422, &["model_attributes_type"]),
            ("PATCH", &path, json!({"height_cm": 90}), 200, &["90", "briar", "Rosaceae+"]),
            ("PUT", &path, plant("rose ✓", 100), 200, &["rose ✓", "100"]),
            ("PATCH", "/data/plants/999", json!({}), 404, &["no plant 999"]),
            ("DELETE", &path, Value::Null, 204, &[]),
            ("DELETE", &path, Value::Null, 404, &["no plant"]),
            // For the next visitor's plant to have the next number.
            ("POST", "/data/plants", plant(&format!("heath {number}"), 1), 201, &["heath"]),
        ] {
            let request = visitor.request(method, path).bearer_auth(&api.writer);
            let request = if body.is_null() { request } else { request.json(&body) };
            let answer = visitor.send(request).await;
            assert_eq!(answer.status(), status, "{method} {path} {body}");
            let place = answer.headers().get("location").map(|place| place.to_str().unwrap().to_owned());
            assert_eq!(place, (status == 201).then(|| format!("{origin}/data/plants/{number}")));
            let text = answer.text().await.unwrap();
            assert!(
                answered_as.iter().all(|words| text.contains(words)) && text.is_empty() == answered_as.is_empty(),
                "{text}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_streamed_both_ways_and_in_parts() {
    let Some((edge, api)) = start() else { return };
    for (http2, declared) in [(true, true), (false, false)] {
        let mut visitor = Visitor::new(&edge, http2);
        let path = format!("/data/files/{http2}");
        let request = visitor.request("PUT", &path).bearer_auth(&api.writer).body(streamed(noise(FILE_BYTES)));
        let request = if declared { request.header("content-length", FILE_BYTES) } else { request };
        let took: Value = visitor.send(request).await.json().await.unwrap();
        let length = declared.then(|| FILE_BYTES.to_string());
        assert_eq!(took, json!({"bytes": FILE_BYTES, "declared": length}));

        let get = |visitor: &Visitor<'_>| visitor.request("GET", &path).bearer_auth(&api.reader);
        let answer = visitor.send(get(&visitor)).await;
        let tag = answer.headers()["etag"].clone();
        assert_eq!(answer.headers()["content-length"], FILE_BYTES.to_string().as_str());
        assert_eq!(digest(answer).await, digest_of_noise(FILE_BYTES));

        let start: Vec<u8> = noise(300_000).flatten().collect();
        for (range, condition, status, bytes) in [
            ("bytes=0-9", None, 206, &start[..10]),
            ("bytes=250000-299999", Some(tag.clone()), 206, &start[250_000..]),
            ("bytes=67108864-", None, 416, &[]),
        ] {
            let mut request = get(&visitor).header("range", range);
            if let Some(tag) = condition {
                request = request.header("if-range", tag);
            }
            let answer = visitor.send(request).await;
            assert_eq!(answer.status(), status, "{range}");
            assert!(answer.headers()["content-range"].to_str().unwrap().ends_with("/67108864"));
            if status == 206 {
                assert_eq!(answer.bytes().await.unwrap(), bytes);
            }
        }
        let answer = visitor.send(get(&visitor).header("range", "bytes=0-1,10-11")).await;
        assert_eq!(answer.status(), 206);
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("multipart/byteranges; boundary="));
        let body = answer.bytes().await.unwrap();
        assert!([&start[..2], &start[10..12]].iter().all(|part| body.windows(2).any(|window| window == *part)));
    }
}
