//! Site of which a browser may have an earlier version.

use bytes::Bytes;
use devanture_base::telemetry::AccessLog;
use devanture_config::{Digest, Sha256};
use devanture_serve::live::{DictionaryMiss, DictionaryMisses};
use devanture_store::blobs::{DeltaForm, Form, NewDelta, Quality};
use devanture_store::records;
use serde_json::json;
use tokio::sync::mpsc;

use crate::in_process::{InProcess, Stores};

pub(crate) const APP: &str = "assets/app.3f2a91bc.js";
pub(crate) const CHUNK: &str = "assets/chunk.77c01d2e.js";
/// Another, smaller script with the same pattern as [`CHUNK`].
pub(crate) const SAME_CHUNK: &str = "assets/chunk.88d12e3f.js";

/// Number of the browser's file of the previous version.
pub(crate) const OLD_APP: u8 = 1;
/// Number of a file that only another app has.
pub(crate) const FOREIGN: u8 = 2;
pub(crate) const OLD_PAGE: u8 = 3;
pub(crate) const OLD_LIB: u8 = 4;
pub(crate) const NEW_LIB: u8 = 5;
pub(crate) const PAGES: u8 = 6;
pub(crate) const NEW_APP: u8 = 9;
pub(crate) const NEW_CHUNK: u8 = 10;

/// File of `length` bytes, all one character.
pub(crate) fn text(character: char, length: usize) -> Vec<u8> {
    character.to_string().repeat(length).into_bytes()
}

/// `Available-Dictionary` for a dictionary number.
pub(crate) fn available(number: u8) -> String {
    use base64::Engine as _;
    format!(":{}:", base64::engine::general_purpose::STANDARD.encode([number; 32]))
}

/// Bytes of a delta against a dictionary number.
pub(crate) fn delta(form: DeltaForm, number: u8, length: usize) -> Vec<u8> {
    let magic: &[u8] = match form {
        DeltaForm::Dcb => b"\xff\x44\x43\x42",
        DeltaForm::Dcz => b"\x5e\x2a\x4d\x18\x20\x00\x00\x00",
    };
    [magic, &[number; 32], &vec![number; length]].concat()
}

/// `Use-As-Dictionary` with a pattern, for the file whose SHA-256 is made of the number.
pub(crate) fn used(pattern: &str, number: u8) -> String {
    format!("match=\"{pattern}\", id=\"{}\"", hex(number, 8))
}

/// Library that pages link.
pub(crate) const LIBRARY: &str = "/lib.js";
/// Header fields of Chromium's fetch of a linked dictionary.
pub(crate) const LINK_FETCH: [(&str, &str); 5] = [
    ("sec-fetch-dest", "empty"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-site", "same-origin"),
    ("sec-ch-ua", "\"Chromium\";v=\"156\""),
    ("priority", "u=4, i"),
];

/// Path of the pages' dictionary.
pub(crate) fn pages_path() -> String {
    format!("/.well-known/devanture/dictionary/{}", hex(PAGES, 32))
}

fn hex(number: u8, bytes: usize) -> String {
    format!("{number:02x}").repeat(bytes)
}

fn new(form: DeltaForm, number: u8, length: usize) -> NewDelta {
    NewDelta {
        form,
        dictionary: Digest::of(&[number]),
        sha256: Sha256::from([number; 32]),
        quality: Quality::Best,
        bytes: Bytes::from(delta(form, number, length)),
    }
}

pub(crate) struct Site {
    pub(crate) served: InProcess,
    pub(crate) misses: mpsc::Receiver<DictionaryMiss>,
}

/// Site, after `spoil` changed the stored data.
pub(crate) async fn site(headers: &str, spoil: impl FnOnce(&Stores)) -> Site {
    serving(headers, json!({}), spoil).await
}

/// Site with serving settings from a `devanture.toml`, after `spoil` changed the stored data.
pub(crate) async fn serving(headers: &str, serving: serde_json::Value, spoil: impl FnOnce(&Stores)) -> Site {
    let stores = Stores::new();
    let (page, app, chunk) = (text('p', 2_000), text('a', 4_000), text('c', 3_000));
    let (same, library, pages) = (text('d', 2_500), text('l', 40_000), text('s', 5_000));
    for bytes in [&page, &app, &library] {
        stores.encode(bytes, Form::Br, &[0x42; 500]).await;
    }
    stores.deltas(&app, vec![new(DeltaForm::Dcb, OLD_APP, 60), new(DeltaForm::Dcz, OLD_APP, 80)]).await;
    stores.deltas(&app, vec![new(DeltaForm::Dcb, FOREIGN, 10)]).await;
    stores.deltas(&page, vec![new(DeltaForm::Dcz, OLD_PAGE, 90)]).await;
    stores.deltas(&library, vec![new(DeltaForm::Dcb, OLD_LIB, 100)]).await;
    stores.deltas(&pages, vec![]).await;
    let files: &[(&str, &[u8])] = &[
        ("index.html", &page),
        ("404.html", &page),
        (APP, &app),
        (CHUNK, &chunk),
        (SAME_CHUNK, &same),
        ("lib.js", &library),
        ("small.js", b"small"),
        ("secret/app.3f2a91bc.js", &app),
        ("_headers", headers.as_bytes()),
    ];
    let id = stores.push("shop", files, serving).await;
    let from = [OLD_APP, OLD_PAGE, OLD_LIB].map(|number| Digest::of(&[number]));
    let [app, chunk, same, library] = [&app, &chunk, &same, &library].map(|bytes| Digest::of(bytes).to_string());
    let record = json!({
        "files": {app: hex(NEW_APP, 32), chunk: hex(NEW_CHUNK, 32), same: hex(11, 32), library: hex(NEW_LIB, 32)},
        "deltas_from": {"prod": from},
        "linked": ["lib.js"],
        "pages": {"blob": Digest::of(&pages), "sha256": hex(PAGES, 32), "size": pages.len()},
    });
    stores.put(records::dictionaries_key(&"shop".parse().unwrap(), &id), record).await;
    spoil(&stores);
    let (sender, misses) = DictionaryMisses::channel(60);
    let served = stores.handler_with(AccessLog::unread(), |loader| loader.with_dictionaries(30, sender)).await;
    Site { served, misses }
}
