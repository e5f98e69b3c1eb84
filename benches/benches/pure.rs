//! Cost of the pure functions: path to file, choice of a variant, a precondition, and manifest to id.
//!
//! The site is as large as a real front of 581 files; the headers are a browser's.

#![allow(clippy::unwrap_used, reason = "a bench that cannot begin has nothing to say")]
#![allow(missing_docs, reason = "criterion's macro makes a function without")]

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::HtmlHandling;
use devanture_config::{Digest, Manifest};
use devanture_site::conditional::{self, Preconditions, Validators};
use devanture_site::negotiate::{self, Coding};
use devanture_site::resolve::{self, PathIndex};
use devanture_site::{fingerprint, range, target};

const FILES: usize = 581;

fn paths() -> Vec<BundlePath> {
    let page = |n: usize| match n % 4 {
        0 => format!("docs/part-{n}/index.html"),
        1 => format!("docs/page-{n}.html"),
        2 => format!("assets/chunk-{n}.{n:020x}.js"),
        _ => format!("assets/images/picture-{n}.png"),
    };
    let all = (0..FILES - 1).map(page).chain(["index.html".to_owned()]);
    all.map(|path| path.parse().unwrap()).collect()
}

fn resolving(c: &mut Criterion) {
    let paths = paths();
    let index = PathIndex::new(&paths);
    let mut group = c.benchmark_group("resolve");
    for (name, path) in [
        ("root", "/"),
        ("asset", "/assets/chunk-102.00000000000000000066.js"),
        ("page", "/docs/page-101"),
        ("folder", "/docs/part-100/"),
        ("miss", "/docs/nothing-here"),
        ("redirect", "/docs/page-101.html"),
    ] {
        let resolved = |path| resolve::resolve(&index, HtmlHandling::AutoTrailingSlash, path);
        group.bench_function(name, |b| b.iter(|| resolved(black_box(path))));
    }
    group.finish();
}

fn normalising(c: &mut Criterion) {
    let mut group = c.benchmark_group("target");
    for (name, path) in [
        ("plain", "/assets/chunk-102.00000000000000000066.js"),
        ("encoded", "/docs/gr%C3%BC%C3%9Fe%20aus%20Ulm"),
        ("redirect", "/docs/../assets//%61.js"),
    ] {
        group.bench_function(name, |b| b.iter(|| target::normalise(black_box(path), 4_096)));
    }
    group.finish();
}

fn negotiating(c: &mut Criterion) {
    let available = [(Coding::Identity, 40_000), (Coding::Gzip, 12_000), (Coding::Zstd, 11_500), (Coding::Br, 10_800)];
    let mut group = c.benchmark_group("negotiate");
    for (name, accept) in [
        ("none", None),
        ("browser", Some(b"gzip, deflate, br, zstd".as_slice())),
        ("weights", Some(b"br;q=1.0, gzip;q=0.8, zstd;q=0.9, *;q=0.1".as_slice())),
    ] {
        group.bench_function(name, |b| b.iter(|| negotiate::choose(black_box(accept), black_box(&available))));
    }
    group.finish();
}

fn preconditions(c: &mut Criterion) {
    let validators =
        Validators { etag: "\"4f2a91bc03de5a6b7c8d9e0f1a2b3c4d\"", last_modified: 1_768_435_200, date_is_strong: true };
    let none = Preconditions { now_seconds: 1_768_500_000, ..Preconditions::default() };
    let tag = Preconditions { if_none_match: Some(b"W/\"4f2a91bc03de5a6b7c8d9e0f1a2b3c4d\""), ..none };
    let list =
        Preconditions { if_none_match: Some(b"\"a\", W/\"b\", \"c\", \"4f2a91bc03de5a6b7c8d9e0f1a2b3c4d\""), ..none };
    let date = Preconditions { if_modified_since: Some(b"Thu, 15 Jan 2026 00:00:00 GMT"), ..none };
    let mut group = c.benchmark_group("conditional");
    for (name, given) in [("none", none), ("tag", tag), ("list", list), ("date", date)] {
        group.bench_function(name, |b| b.iter(|| conditional::evaluate(true, black_box(&given), &validators)));
    }
    group.bench_function("range", |b| b.iter(|| range::parse(black_box(Some(b"bytes=0-1023")), 40_000)));
    group.finish();
}

fn manifests(c: &mut Criterion) {
    let file =
        |path: &BundlePath| FileEntry { hash: Digest::of(path.as_str().as_bytes()), size: 40_000, media_type: None };
    let files: BTreeMap<_, _> = paths().into_iter().map(|path| (path.clone(), file(&path))).collect();
    let manifest = Manifest::of_files(files);
    let canonical = manifest.canonical();
    let mut group = c.benchmark_group("manifest");
    group.bench_function("canonical", |b| b.iter(|| black_box(&manifest).canonical()));
    group.bench_function("id", |b| b.iter(|| black_box(&manifest).id()));
    group.bench_function("parse", |b| b.iter(|| Manifest::parse(black_box(&canonical)).unwrap()));
    let all: Vec<BundlePath> = manifest.files.keys().cloned().collect();
    group.bench_function("index", |b| b.iter(|| PathIndex::new(black_box(&all))));
    group.bench_function("fingerprints", |b| {
        b.iter(|| all.iter().filter(|path| fingerprint::is_fingerprinted(path.as_str())).count());
    });
    group.finish();
}

criterion_group!(benches, resolving, normalising, negotiating, preconditions, manifests);
criterion_main!(benches);
