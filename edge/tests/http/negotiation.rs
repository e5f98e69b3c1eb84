//! Negotiation of encodings (RFC 9110 §12).

use std::io::{Read as _, Write as _};

use devanture_config::manifest::FileEntry;
use devanture_config::{Digest, Manifest};
use devanture_site::answers::{End, ManifestSite, Request};
use devanture_site::rules::restricted::RestrictedPaths;
use devanture_site::rules::{At, of_manifest};

use crate::http::site::{shop, text};
use crate::support::edge;
use crate::wire::{Answer, ask, protocols};

/// Responses of a bundle as predicted by the command line.
struct PredictedResponses {
    manifest: Manifest,
    redirects: Vec<u8>,
    headers: Vec<u8>,
}

impl PredictedResponses {
    fn of(files: &[(&str, &[u8])]) -> Self {
        let entry = |bytes: &[u8]| FileEntry { hash: Digest::of(bytes), size: bytes.len() as u64, media_type: None };
        let file = |name: &str| files.iter().find(|(path, _)| *path == name).unwrap().1.to_vec();
        let entries = files.iter().map(|(path, bytes)| (path.parse().unwrap(), entry(bytes)));
        let manifest = Manifest::of_files(entries.collect());
        Self { manifest, redirects: file("_redirects"), headers: file("_headers") }
    }

    /// Status for a visitor with the password.
    fn status(&self, path: &str) -> u16 {
        let (redirects, headers) = (Some(&self.redirects[..]), Some(&self.headers[..]));
        let at = |_, _| At::whole("devanture.toml");
        let (rules, _) = of_manifest(&self.manifest, "prod", redirects, headers, 1000, "devanture.toml", &at);
        let restricted = RestrictedPaths::of(&self.manifest, redirects, headers, 1000);
        let site = ManifestSite::new(&self.manifest, "prod", rules, restricted.as_ref());
        // `me:pass`
        let password = [("authorization".to_owned(), "Basic bWU6cGFzcw==".to_owned())];
        let url = site.address_of(&"x".parse().unwrap()).unwrap().join(path).unwrap();
        let request =
            Request { method: "GET", host: "shop.localhost", path: url.path(), query: None, headers: &password };
        match site.explain(&request).decided.end {
            End::File { status, .. } | End::Redirect { status, .. } => status,
            End::Nothing => 404,
            other => panic!("{other:?}"),
        }
    }
}

/// Decodes a response.
fn decoded(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::new();
    match answer.header("content-encoding").as_str() {
        "" => out.extend_from_slice(&answer.body),
        "br" => drop(brotli::Decompressor::new(&answer.body[..], 4096).read_to_end(&mut out).unwrap()),
        "gzip" => drop(flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut out).unwrap()),
        "zstd" => out = zstd::stream::decode_all(&answer.body[..]).unwrap(),
        other => panic!("{other}"),
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_decide_and_then_the_fewest_bytes() {
    let edge = shop().await;
    #[rustfmt::skip]
    let cases: &[(&[&str], &str)] = &[
        // lines of Accept-Encoding, chosen encoding; BEST is the smallest of all
        (&[],                                "identity"), // §12.5.3: what the client decodes is unknown
        (&[""],                              "identity"),
        (&["br"],                            "br"),
        (&["gzip"],                          "gzip"),
        (&["zstd"],                          "zstd"),
        (&["GZIP"],                          "gzip"),     // §8.4.1: names have no case
        (&["x-gzip"],                        "gzip"),     // §8.4.1.3
        (&["deflate"],                       "identity"),
        (&["deflate, gzip"],                 "gzip"),
        (&["gzip, deflate, br, zstd"],       "BEST"),
        (&["*"],                             "BEST"),
        (&["gzip;q=0.9, br;q=0.8, zstd;q=0.7"], "gzip"),  // §12.4.2
        (&["gzip;q=0.1, br;q=0.8, zstd;q=0.7"], "br"),
        (&["gzip;q=0.1, br;q=0.2, zstd;q=0.201"], "zstd"),
        (&["br;q=0, gzip"],                  "gzip"),
        (&["gzip ; q=1.0 , br;q=0.999"],     "gzip"),
        (&["identity;q=0.5, gzip;q=0.4"],    "identity"),
        (&["identity;q=0, gzip;q=0.001"],    "gzip"),
        (&["identity, gzip;q=0"],            "identity"),
        (&["identity;q=0"],                  "identity"), // no 406: §12.5.3 leaves it open
        (&["*;q=0"],                         "identity"),
        (&["identity;q=0, *;q=0"],           "identity"),
        (&["*;q=0, zstd"],                   "zstd"),
        (&["gzip;q=2, br;q=0.1"],            "br"),       // what is malformed does not count
        (&["br;q=x"],                        "identity"),
        (&["gzip;q=0", "br"],                "br"),       // §5.3: lines are one list
    ];
    for protocol in protocols(&edge) {
        let sizes =
            ["br", "gzip", "zstd"].map(|encoding| (encoding, ask("/lines.txt").with("Accept-Encoding", encoding)));
        let mut best = ("identity", usize::MAX);
        for (encoding, request) in sizes {
            let size = request.send(&edge, protocol).await.body.len();
            best = if size < best.1 { (encoding, size) } else { best };
        }
        for (lines, expected) in cases {
            let mut request = ask("/lines.txt");
            for line in *lines {
                request = request.with("Accept-Encoding", *line);
            }
            let answer = request.send(&edge, protocol).await;
            assert_eq!(answer.status, 200);
            let expected = if *expected == "BEST" { best.0 } else { expected };
            let sent = answer.header("content-encoding");
            // §8.4: the identity encoding is not named.
            assert_eq!(if sent.is_empty() { "identity" } else { &sent }, expected, "{protocol:?} {lines:?}");
            assert_eq!(decoded(&answer), text(250), "{protocol:?} {lines:?}");
            assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vary_is_on_every_answer_where_there_is_a_choice() {
    let edge = shop().await;
    for protocol in protocols(&edge) {
        for encoding in ["identity", "br", "gzip", "zstd", "deflate", "identity;q=0"] {
            let tag = ask("/lines.txt").with("Accept-Encoding", encoding).send(&edge, protocol).await.header("etag");
            let none_match = format!("If-None-Match: {tag}");
            for (target, line, status) in [
                ("/lines.txt", "X: y", 200),
                ("/lines.txt", "Range: bytes=0-1", 206),
                ("/lines.txt", "Range: bytes=0-1,5-6", 206),
                ("/lines.txt", &none_match, 304),
                ("/missing", "X: y", 404),
            ] {
                let answer =
                    ask(target).with("Accept-Encoding", encoding).with_lines(&[line]).send(&edge, protocol).await;
                assert_eq!(answer.status, status, "{protocol:?} {target} {line}");
                // An error is never a delta.
                let expected = if status == 404 { "accept-encoding" } else { "accept-encoding, available-dictionary" };
                assert_eq!(answer.header("vary"), expected, "{protocol:?} {encoding} {status}");
            }
        }
        for target in ["/photo.png", "/ten.txt", "/empty.txt"] {
            let answer = ask(target).with("Accept-Encoding", "br, gzip, zstd").send(&edge, protocol).await;
            assert_eq!((answer.header("vary"), answer.header("content-encoding")), Default::default(), "{target}");
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_ever_not_acceptable() {
    let edge = shop().await;
    for protocol in protocols(&edge) {
        for line in ["Accept: image/png", "Accept: text/html;q=0", "Accept-Charset: utf-16", "Accept-Language: tlh"] {
            let answer = ask("/").with_lines(&[line]).send(&edge, protocol).await;
            assert_eq!(answer.status, 200, "{protocol:?} {line}");
        }
    }
    edge.stop().await;
}

fn brotli(plain: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams { quality: 3, ..Default::default() };
    brotli::BrotliCompress(&mut &plain[..], &mut encoded, &parameters).unwrap();
    encoded
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sibling_that_decodes_to_its_file_is_its_variant_byte_for_byte() {
    let plain = text(200);
    let (br, gzip) = (brotli(&plain), gzip(&plain));
    let zst = zstd::stream::encode_all(&plain[..], 1).unwrap();
    let files: &[(&str, &[u8])] = &[
        ("app.js", &plain),
        ("app.js.br", &br),
        ("app.js.gz", &gzip),
        ("app.js.zst", &zst),
        ("other.js", &plain[..4_000]),
        ("other.js.gz", &gzip),
    ];
    let edge = edge().with_app("shop", files).start().await;
    for protocol in protocols(&edge) {
        for (encoding, name, bytes, media_type) in [
            ("br", "/app.js.br", &br, "application/octet-stream"),
            ("gzip", "/app.js.gz", &gzip, "application/gzip"),
            ("zstd", "/app.js.zst", &zst, "application/zstd"),
        ] {
            let answer = ask("/app.js").with("Accept-Encoding", encoding).send(&edge, protocol).await;
            assert_eq!(answer.header("content-encoding"), encoding);
            assert_eq!(answer.header("content-type"), "text/javascript; charset=utf-8");
            assert!(answer.body == *bytes, "{protocol:?} {encoding}");
            // Under the variant's own name the file is plain content without an encoding.
            let own = ask(name).with("Accept-Encoding", "identity").send(&edge, protocol).await;
            assert_eq!((own.status, own.header("content-encoding").as_str()), (200, ""));
            assert_eq!(own.header("content-type"), media_type);
            assert!(own.body == *bytes);
        }
        // The variant decodes to other bytes, and so is no variant of the neighboring file.
        let answer = ask("/other.js").with("Accept-Encoding", "gzip").send(&edge, protocol).await;
        assert!(decoded(&answer) == plain[..4_000], "{protocol:?}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_for_a_compressed_name_keeps_what_is_in_it() {
    let plain = text(200);
    let br = brotli(&plain);
    let headers = b"/secret.json.br\n  Basic-Auth: me:pass\n/inner/*\n  Basic-Auth: me:pass\n";
    let redirects = b"/forced.json.br /open.js 302!\n";
    let files: &[(&str, &[u8])] = &[
        ("secret.json.br", &br),
        ("inner/app.js.br", &br),
        ("open.js.br", &br),
        ("forced.json.br", &br),
        ("_headers", headers),
        ("_redirects", redirects),
    ];
    let foreseen = PredictedResponses::of(files);
    let edge = edge().with_app("shop", files).start().await;
    for protocol in protocols(&edge) {
        for (target, status, known) in [
            ("/secret.json.br", 401, 200),
            // A protected compressed file has no second name, which would skip the password.
            ("/secret.json", 404, 404),
            ("/inner/app.js.br", 401, 200),
            ("/inner/app.js", 401, 200),
            ("/open.js", 200, 200),
            ("/forced.json.br", 302, 302),
            ("/forced.json", 404, 404),
        ] {
            // The predictions of `check` and `routes` match the response.
            assert_eq!(foreseen.status(target), known, "{target}");
            assert_eq!(ask(target).send(&edge, protocol).await.status, status, "{target}");
            // `me:pass`
            let answer = ask(target).with("Authorization", "Basic bWU6cGFzcw==").send(&edge, protocol).await;
            assert_eq!(answer.status, known, "{target}");
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_came_compressed_alone_answers_under_both_names() {
    let plain = text(200);
    let (br, gzip) = (brotli(&plain), gzip(&plain));
    let files: &[(&str, &[u8])] = &[
        // Named as by Unity.
        ("Build/game.wasm.br", &br),
        ("Build/game.data.gz", &gzip),
        ("app.js.br", &br),
        ("app.js.gz", &gzip),
        ("docs/index.html.br", &br),
        ("backup.tar.gz", &gzip),
        ("broken.js.br", b"this is no Brotli"),
        ("other.css", &plain[..4_000]),
        ("other.css.gz", &gzip),
    ];
    let edge = edge().with_app("shop", files).start().await;
    for protocol in protocols(&edge) {
        for (target, encoding, sent, media_type) in [
            ("/Build/game.wasm", "br", &br, "application/wasm"),
            ("/Build/game.wasm.br", "br", &br, "application/wasm"),
            ("/Build/game.data", "gzip", &gzip, "application/octet-stream"),
            ("/Build/game.data.gz", "gzip", &gzip, "application/octet-stream"),
            ("/app.js", "br", &br, "text/javascript; charset=utf-8"),
            ("/app.js.gz", "br", &br, "text/javascript; charset=utf-8"),
            ("/app.js", "gzip", &gzip, "text/javascript; charset=utf-8"),
            ("/app.js.br", "gzip", &gzip, "text/javascript; charset=utf-8"),
            ("/docs/", "br", &br, "text/html; charset=utf-8"),
        ] {
            let answer = ask(target).with("Accept-Encoding", encoding).send(&edge, protocol).await;
            assert_eq!((answer.status, answer.header("content-encoding").as_str()), (200, encoding), "{target}");
            assert_eq!(answer.header("content-type"), media_type, "{target}");
            assert!(answer.header("vary").starts_with("accept-encoding"), "{target}: {}", answer.header("vary"));
            assert!(answer.body == *sent, "{protocol:?} {target}");
            // A client that does not accept the encoding gets the decoded bytes.
            let answer = ask(target).with("Accept-Encoding", "identity").send(&edge, protocol).await;
            assert_eq!((answer.status, answer.header("content-encoding").as_str()), (200, ""), "{target}");
            assert_eq!(answer.header("content-type"), media_type, "{target}");
            assert!(answer.body == plain, "{protocol:?} {target}");
        }
        // Downloads, invalid encodings, and compressed files beside another file of the decoded name are ordinary
        // files.
        for (target, bytes) in
            [("/backup.tar.gz", &gzip[..]), ("/broken.js.br", b"this is no Brotli"), ("/other.css.gz", &gzip)]
        {
            let answer = ask(target).with("Accept-Encoding", "br, gzip").send(&edge, protocol).await;
            assert_eq!((answer.status, answer.header("content-encoding").as_str()), (200, ""), "{target}");
            assert!(answer.body == bytes, "{protocol:?} {target}");
        }
        for target in ["/backup.tar", "/broken.js"] {
            assert_eq!(ask(target).send(&edge, protocol).await.status, 404, "{protocol:?} {target}");
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_svg_in_gzip_is_the_svg_that_is_in_it() {
    let plain = text(200);
    let gzip = gzip(&plain);
    let files: &[(&str, &[u8])] = &[
        ("img/logo.svgz", &gzip),
        ("OLD.SVGZ", &gzip),
        // A `.svgz` beside an SVG has a separate path.
        ("both.svg", &plain[..4_000]),
        ("both.svgz", &gzip),
        ("broken.svgz", b"this is no gzip"),
    ];
    let edge = edge().with_app("shop", files).start().await;
    for protocol in protocols(&edge) {
        for target in ["/img/logo.svgz", "/OLD.SVGZ", "/both.svgz"] {
            for (accepted, encoding, body) in [("gzip", "gzip", &gzip), ("identity", "", &plain)] {
                let answer = ask(target).with("Accept-Encoding", accepted).send(&edge, protocol).await;
                assert_eq!((answer.status, answer.header("content-encoding").as_str()), (200, encoding), "{target}");
                assert_eq!(answer.header("content-type"), "image/svg+xml; charset=utf-8", "{target}");
                assert!(answer.header("vary").starts_with("accept-encoding"), "{target}: {}", answer.header("vary"));
                assert!(answer.body == *body, "{protocol:?} {target} {accepted}");
            }
        }
        let answer = ask("/both.svg").with("Accept-Encoding", "identity").send(&edge, protocol).await;
        assert!(answer.status == 200 && answer.body == plain[..4_000], "{protocol:?}");
        // A `.svgz` has one name, and an invalid `.svgz` is an ordinary file.
        assert_eq!(ask("/img/logo.svg").send(&edge, protocol).await.status, 404, "{protocol:?}");
        let answer = ask("/broken.svgz").with("Accept-Encoding", "gzip").send(&edge, protocol).await;
        assert_eq!((answer.status, answer.header("content-encoding").as_str()), (200, ""));
        assert_eq!(answer.header("content-type"), "application/gzip");
        assert!(answer.body == b"this is no gzip"[..], "{protocol:?}");
    }
    edge.stop().await;
}
