//! Cost of rules per request: thousands of rules against ten, and a bundle of 100,000 files against a small bundle.

#![allow(clippy::unwrap_used, reason = "a bench that cannot begin has nothing to say")]
#![allow(missing_docs, reason = "criterion's macro makes a function without")]

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use devanture_benches::worst_rules;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::{HtmlHandling, Rules, Serving};
use devanture_site::resolve::{self, PathIndex};
use devanture_site::rules::{self, Access, At, CompiledRules, Sources, Visitor};

/// `fixed` rules for one path each, then `open` rules for all paths below a folder.
fn compiled(fixed: usize, open: usize) -> CompiledRules {
    let (mut redirects, mut headers) = (String::new(), String::new());
    for number in 0..fixed {
        writeln!(redirects, "/old/section-{}/page-{number} /new/page-{number} 301", number % 40).unwrap();
    }
    for number in 0..open {
        writeln!(redirects, "/moved-{number}/:year/* /archive/{number}/:year/:splat 302").unwrap();
        writeln!(headers, "/assets/part-{number}/*\n  X-Part: {number}").unwrap();
    }
    of_files(Rules::Netlify, &redirects, &headers)
}

/// Rules of two files.
fn of_files(meaning: Rules, redirects: &str, headers: &str) -> CompiledRules {
    let sources = Sources {
        serving: &Serving::default(),
        meaning,
        redirects: Some(redirects.as_bytes()),
        headers: Some(headers.as_bytes()),
        rules_max: 10_000,
        site_file: "devanture.toml",
        at: &|_, _| At::default(),
    };
    let (rules, findings) = rules::read(&sources);
    assert!(findings.is_empty(), "{findings:?}");
    CompiledRules::new(rules)
}

/// The worst rules within the limits, and a site without rules: no request may spend over 5 ms on rules.
fn worst(c: &mut Criterion) {
    let visitor = Visitor { host: Some(HOST), cookie: Some(b"session=0d4f3a5c; theme=dark"), ..Visitor::default() };
    let (mut redirects, mut guards, mut removing) = (String::new(), String::new(), String::new());
    for number in 0..100 {
        writeln!(redirects, "/*x:a-{number}z /y/:splat/:a 301").unwrap();
    }
    for number in 0..60 {
        writeln!(guards, "/*x*x{number}*z\n  Basic-Auth: ann:one").unwrap();
    }
    for number in 0..199 {
        writeln!(removing, "/:a/*\n{}  ! X-B-{number}", "  ! X-A\n".repeat(499)).unwrap();
    }
    let (path, netlify, cloudflare) = (worst_rules::path(), worst_rules::netlify(), worst_rules::cloudflare());
    let mut group = c.benchmark_group("rules-worst");
    for (what, meaning, redirects, headers) in [
        ("none", Rules::Netlify, "", ""),
        ("captures", Rules::Cloudflare, &*redirects, ""),
        ("guards", Rules::Netlify, "", &*guards),
        ("removing", Rules::Netlify, "", &*removing),
        ("netlify", Rules::Netlify, &*netlify.0, &*netlify.1),
        ("cloudflare", Rules::Cloudflare, &*cloudflare, ""),
    ] {
        let rules = of_files(meaning, redirects, headers);
        let request = |path: &str| {
            // As often as a path is compared with guards: under all names of a file, and at the target of a rule.
            let accesses = (0..9).filter(|_| rules.access(HOST, path, None) == Access::Refused).count();
            (accesses, rules.redirect(&visitor, path, None).rule.is_some(), rules.fields(HOST, path))
        };
        group.bench_function(what, |b| b.iter(|| request(black_box(path.as_str()))));
    }
    group.finish();
}

/// Host of every request.
const HOST: &str = "shop.example.org";

fn ruling(c: &mut Criterion) {
    let visitor = Visitor { host: Some(HOST), ..Visitor::default() };
    for (name, fixed, open) in [("rules-10", 5, 5), ("rules-2100", 2_000, 100)] {
        let rules = compiled(fixed, open);
        let mut group = c.benchmark_group(name);
        for (what, path) in [
            ("fixed", "/old/section-4/page-4"),
            ("open", "/moved-4/2026/a/b"),
            ("none", "/assets/app-B3xY9_aZ.js"),
            ("almost", "/old/section-4/page-4/x"),
        ] {
            group.bench_function(what, |b| b.iter(|| rules.redirect(&visitor, black_box(path), None).rule.is_some()));
        }
        group.bench_function("fields", |b| b.iter(|| rules.fields(HOST, black_box("/assets/part-4/a.js"))));
        group.bench_function("no-fields", |b| b.iter(|| rules.fields(HOST, black_box("/docs/a.html"))));
        group.finish();
    }
}

fn resolving(c: &mut Criterion) {
    for (name, files) in [("files-500", 500), ("files-100000", 100_000)] {
        let paths: Vec<BundlePath> =
            (0..files).map(|n| format!("docs/part-{}/page-{n}.html", n % 300).parse().unwrap()).collect();
        let index = PathIndex::new(&paths);
        let mut group = c.benchmark_group(name);
        for (what, path) in [("page", "/docs/part-7/page-307"), ("miss", "/docs/part-7/nothing")] {
            let resolved = |path| resolve::resolve(&index, HtmlHandling::AutoTrailingSlash, path);
            group.bench_function(what, |b| b.iter(|| resolved(black_box(path))));
        }
        group.finish();
    }
}

criterion_group!(benches, ruling, worst, resolving);
criterion_main!(benches);
