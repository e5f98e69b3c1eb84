//! Bodies and their metadata (RFC 9110 §8.3).

use devanture_config::api::BeginDeploy;

use crate::http::site::noise;
use crate::support::{edge, manifest};
use crate::wire::{ask, protocols};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_and_the_bytes_say_the_type() {
    let binary = noise(600);
    #[rustfmt::skip]
    let cases: &[(&str, &[u8], &str)] = &[
        // path, bytes, Content-Type
        ("plain.txt",          b"gr\xc3\xbcn",                              "text/plain; charset=utf-8"),
        ("latin.txt",          b"gr\xfcn",                                  "text/plain"),
        ("page.htm",           b"<p>gr\xc3\xbcn",                           "text/html; charset=utf-8"),
        ("latin.htm",          b"<p>gr\xfcn",                               "text/html"),
        ("meta-utf8.htm",      b"<meta charset=utf-8><p>\xc3\xbc",          "text/html; charset=utf-8"),
        ("meta-latin.htm",     b"<meta charset=\"iso-8859-1\"><p>a",        "text/html"),
        ("style.css",          b"a{}",                                      "text/css; charset=utf-8"),
        ("latin.css",          b"@charset \"iso-8859-1\"; a{}",             "text/css"),
        ("utf16.txt",          b"\xff\xfea\0",                              "text/plain"),
        ("app.js",             b"1",                                        "text/javascript; charset=utf-8"), // RFC 9239
        ("app.mjs",            b"1",                                        "text/javascript; charset=utf-8"),
        ("app.cjs",            b"1",                                        "text/javascript; charset=utf-8"),
        ("app.js.map",         b"{}",                                       "application/json"), // RFC 8259 §11
        ("data.json",          b"{}",                                       "application/json"),
        ("app.webmanifest",    b"{}",                                       "application/manifest+json"),
        ("code.wasm",          b"\0asm",                                    "application/wasm"),
        ("code.ts",            b"let a: number",                            "text/plain; charset=utf-8"),
        ("film.ts",            &binary,                                     "video/mp2t"),
        ("image.svg",          b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml; charset=utf-8"),
        ("latin.svg",          b"<?xml version='1.0' encoding='iso-8859-1'?><svg/>", "image/svg+xml"),
        ("image.avif",         &binary,                                     "image/avif"),
        ("image.webp",         &binary,                                     "image/webp"),
        ("favicon.ico",        &binary,                                     "image/x-icon"),
        ("a.woff",             &binary,                                     "font/woff"), // RFC 8081
        ("a.woff2",            &binary,                                     "font/woff2"),
        ("a.ttf",              &binary,                                     "font/ttf"),
        ("a.otf",              &binary,                                     "font/otf"),
        ("LICENSE",            b"text",                                     "application/octet-stream"),
        ("a.unheard-of",       b"text",                                     "application/octet-stream"),
        ("feed.xml",           b"<a/>",                                     "text/xml; charset=utf-8"),
        ("doc.pdf",            &binary,                                     "application/pdf"),
    ];
    let files: Vec<(&str, &[u8])> = cases.iter().map(|(path, bytes, _)| (*path, *bytes)).collect();
    let edge = edge().with_app("shop", &files).start().await;
    for protocol in protocols(&edge) {
        for (path, bytes, media_type) in cases {
            let target = format!("/{path}");
            // A page is found without the extension, whatever the name.
            let answer = ask(&target).send(&edge, protocol).await;
            assert_eq!(answer.status, 200, "{protocol:?} {path}");
            assert_eq!(answer.header("content-type"), *media_type, "{protocol:?} {path}");
            assert!(answer.body == *bytes, "{protocol:?} {path}");
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_type_that_the_manifest_says_is_the_one() {
    let files: &[(&str, &[u8])] =
        &[("model.xyz", b"abc"), ("code.ts", b"let a"), ("note.txt", b"a"), ("own.dat", b"a")];
    let edge = edge().start().await;
    let mut manifest = manifest(files);
    let mut say = |path: &str, media_type: &str| {
        manifest.files.get_mut(path).unwrap().media_type = Some(media_type.to_owned());
    };
    say("model.xyz", "chemical/x-xyz");
    say("code.ts", "application/typescript");
    say("own.dat", "text/x-own");
    let begin = BeginDeploy { manifest, source: Default::default(), options: Default::default() };
    edge.try_push("shop", "prod", begin, files).await.unwrap();
    for protocol in protocols(&edge) {
        for (target, media_type) in [
            ("/model.xyz", "chemical/x-xyz"),
            ("/code.ts", "application/typescript"),
            ("/own.dat", "text/x-own; charset=utf-8"),
            ("/note.txt", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(ask(target).send(&edge, protocol).await.header("content-type"), media_type, "{protocol:?}");
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_any_size_comes_whole() {
    let sizes =
        [0, 1, 100, 16_383, 16_384, 16_385, 65_500, 65_501, 65_535, 65_536, 131_072, 131_073, 1_000_003, 5_000_000];
    let bytes = noise(5_000_000);
    let names: Vec<String> = sizes.iter().map(|size| format!("{size}.png")).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(sizes).map(|(name, size)| (name.as_str(), &bytes[..size])).collect();
    let edge = edge().with_app("shop", &files).start().await;
    for protocol in protocols(&edge) {
        for size in sizes {
            let target = format!("/{size}.png");
            let answer = ask(&target).send(&edge, protocol).await;
            assert_eq!((answer.status, answer.header("content-length")), (200, size.to_string()));
            assert!(answer.body == bytes[..size], "{protocol:?} {size}");
        }
    }
    edge.stop().await;
}
