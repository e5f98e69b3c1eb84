//! Whole responses checked by an independent linter: `tools/lint-responses.py` with PyPI's `httplint`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::edge;
use crate::wire::{Answer, ask, protocols};

/// Every file below a folder: path in a bundle, and bytes.
pub(crate) fn files_below(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.push((name, std::fs::read(path).unwrap()));
            }
        }
    }
    files
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

fn exchange(method: &str, target: &str, request: &[(&str, String)], answer: &Answer) -> Value {
    let response: Vec<_> = answer.headers.iter().map(|(n, v)| json!([n.as_str(), v.to_str().unwrap()])).collect();
    json!({
        "method": method, "target": target, "status": answer.status, "response": response,
        "request": request.iter().map(|(name, value)| json!([name, value])).collect::<Vec<_>>(),
        "body": base64(&answer.body),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_response_has_a_warning_that_is_not_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    let files = files_below(&root.join("examples/shop/www"));
    let mut files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    files.push(("assets/app-B3xY9_aZ.js", b"console.log(1)\n"));
    let edge = edge().with_toml("[compress]\nbackground = false").with_app("shop", &files).start().await;
    #[rustfmt::skip]
    let cases: &[(&str, &str, &[&str], u16)] = &[
        ("GET",     "/",                           &[],                              200),
        ("GET",     "/",                           &["Accept-Encoding: br"],         200),
        ("GET",     "/",                           &["Accept-Encoding: gzip"],       200),
        ("HEAD",    "/",                           &["Accept-Encoding: gzip"],       200),
        ("GET",     "/assets/shop.css",            &["Accept-Encoding: gzip"],       200),
        ("GET",     "/assets/shop.js",             &[],                              200),
        ("GET",     "/assets/logo.svg",            &[],                              200),
        ("GET",     "/assets/app-B3xY9_aZ.js",     &[],                              200),
        ("GET",     "/robots.txt",                 &[],                              200),
        ("GET",     "/.well-known/devanture/release.json", &[],                      200),
        ("GET",     "/.well-known/devanture/env.json", &[],                          200),
        ("GET",     "/.well-known/devanture/env.json", &["If-None-Match: *"],        304),
        ("OPTIONS", "/",                           &[],                              204),
        ("GET",     "/assets/shop.css",            &["Range: bytes=0-99"],           206),
        ("GET",     "/assets/shop.css",            &["Range: bytes=0-9,50-59"],      206),
        ("GET",     "/assets/shop.css",            &["Accept-Encoding: gzip", "Range: bytes=-20"], 206),
        ("GET",     "/",                           &["If-None-Match: *"],            304),
        ("GET",     "/assets/app-B3xY9_aZ.js",     &["If-None-Match: *"],            304),
        ("GET",     "/about.html",                 &[],                              307),
        ("GET",     "//about",                     &[],                              308),
        ("GET",     "/%00",                        &[],                              400),
        ("GET",     "/missing",                    &[],                              404),
        ("GET",     "/missing",                    &["Accept-Encoding: gzip"],       404),
        ("HEAD",    "/missing",                    &[],                              404),
        ("POST",    "/",                           &[],                              405),
        ("GET",     "/",                           &["If-Match: \"a\""],             412),
        ("GET",     "/assets/shop.css",            &["Range: bytes=9999999-"],       416),
        ("BREW",    "/",                           &[],                              501),
    ];
    let mut exchanges = Vec::new();
    for protocol in protocols(&edge) {
        for (method, target, lines, status) in cases {
            let request = ask(target).method(method).with_lines(lines);
            let answer = request.send(&edge, protocol).await;
            assert_eq!(answer.status, *status, "{protocol:?} {method} {target}");
            exchanges.push(exchange(method, target, &request.headers, &answer));
        }
    }
    edge.stop().await;
    let exchanges = Value::from(exchanges).to_string();
    let output = tokio::task::spawn_blocking(move || {
        let script = root.join("tools/lint-responses.py");
        let mut python = Command::new("python3")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        python.stdin.take().unwrap().write_all(exchanges.as_bytes()).ok();
        python.wait_with_output()
    });
    let output = output.await.unwrap();
    let missing = match &output {
        Ok(output) => output.status.code() == Some(3),
        Err(_) => true,
    };
    if missing {
        assert!(std::env::var_os("CI").is_none(), "python3 with httplint is missing: {output:?}");
        println!("left out: python3 with httplint is missing");
        return;
    }
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}
