//! Site of most tests in this folder: one file of every kind with a different response.

use crate::support::{RunningEdge, edge};

/// Compressible text of `lines` lines of 40 bytes.
pub(crate) fn text(lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|line| format!("line {line:06} of a text that compresses\n").into_bytes()).collect()
}

/// Incompressible bytes, the same in every run.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Page of the site.
pub(crate) fn page(title: &str) -> Vec<u8> {
    let mut page =
        format!("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n").into_bytes();
    page.extend_from_slice(&text(60));
    page
}

/// Edge that serves the site at `shop.localhost`.
pub(crate) async fn shop() -> RunningEdge {
    let (index, about, docs, missing) = (page("index"), page("about"), page("docs"), page("missing"));
    let (lines, photo) = (text(250), noise(1_000));
    let files: &[(&str, &[u8])] = &[
        ("index.html", &index),
        ("about.html", &about),
        ("docs/index.html", &docs),
        ("404.html", &missing),
        ("lines.txt", &lines),
        ("photo.png", &photo),
        ("assets/app-B3xY9_aZ.js", &lines),
        ("ten.txt", b"0123456789"),
        ("empty.txt", b""),
        ("a b/\u{fc}.txt", b"umlaut"),
        ("a;v=1", b"semicolon"),
        (".well-known/security.txt", b"Contact: mailto:a@example.org\n"),
    ];
    // Variants recompressed during a test would change their tags.
    edge().with_toml("[compress]\nbackground = false").with_app("shop", files).start().await
}
