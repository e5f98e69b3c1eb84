//! Heap sizes charged to memory budgets, compared with the allocator's count.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use std::fmt::Write as _;

use devanture_config::heap::HeapBytes;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::{HtmlHandling, Rules, Serving};
use devanture_site::fast_paths::FastPaths;
use devanture_site::resolve::PathIndex;
use devanture_site::rules::CompiledRules;
use devanture_site::rules::{self, At, Sources};

/// Compares the heap size of a value with the bytes counted while `make` ran, and returns the size.
fn assert_counted<T: HeapBytes>(what: &str, make: impl FnOnce() -> T) -> usize {
    let (mut make, mut made) = (Some(make), None);
    let given = allocation_counter::measure(|| made = make.take().map(|make| make())).bytes_current;
    let (given, counted) = (usize::try_from(given).unwrap(), made.unwrap().heap_bytes());
    assert!(counted >= given && counted <= given + given / 3, "{what}: {counted} counted, {given} allocated");
    given
}

fn compiled(meaning: Rules, redirects: &str, headers: &str) -> CompiledRules {
    let sources = Sources {
        serving: &Serving::default(),
        meaning,
        redirects: Some(redirects.as_bytes()),
        headers: Some(headers.as_bytes()),
        rules_max: 10_000,
        site_file: "devanture.toml",
        at: &|_, _| At::default(),
    };
    CompiledRules::new(rules::read(&sources).0)
}

/// Formats the rule of a given number.
type Line = fn(usize) -> String;

/// Text with `count` lines.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        writeln!(text, "{}", line(number)).unwrap();
        text
    })
}

#[test]
fn ten_thousand_redirects_are_a_few_megabytes() {
    let forms: [(&str, Line); 5] = [
        ("one segment", |number| format!("/old-{number} /new-{number} 301")),
        ("three segments", |number| format!("/blog/2020/some-post-{number} /articles/some-post-{number} 301")),
        ("a folder for each", |number| format!("/a{number}/b{number}/c{number} /articles/{number} 301")),
        ("captures", |number| format!("/docs/{number}/* /new/{number}/:splat 301")),
        ("conditions", |number| format!("/docs/{number} id=:id https://example.org/{number}?a=:id 301 Language=de")),
    ];
    for (what, line) in forms {
        let text = lines(10_000, line);
        let given = assert_counted(what, || compiled(Rules::Netlify, &text, ""));
        assert!(given / 10_000 < 640, "{what}: {} bytes by rule", given / 10_000);
    }
}

#[test]
fn rules_of_fields_are_counted() {
    let headers = lines(2_000, |number| format!("/assets/{number}.js\n  X-Number: {number}\n  ! Server-Timing"));
    assert_counted("fields", || compiled(Rules::Netlify, "", &headers));
}

#[test]
fn patterns_of_parts_of_segments_are_counted_and_no_thread_keeps_more_for_them() {
    let headers = lines(100, |number| format!("/:a/{}*/part-{number}/*.js\n  X-Number: {number}", "long-".repeat(40)));
    let made = || {
        let rules = compiled(Rules::Netlify, "", &headers);
        // The matcher is built when the size is computed, before the first request.
        assert!(rules.heap_bytes() > 0);
        rules
    };
    assert_counted("expressions", made);
    let rules = made();
    let path = format!("/a/{}/part-4/x.js", "long-".repeat(40));
    let look = || assert!(!rules.fields("shop.localhost", &path).is_empty());
    // The first copy of a field name converts the name to a shared allocation.
    look();
    assert_eq!(allocation_counter::measure(look).bytes_current, 0);
}

#[test]
fn paths_are_counted() {
    let path = |number: usize| -> BundlePath {
        let ending = if number.is_multiple_of(4) { "/index.html" } else { "-3f2a91bc.js" };
        format!("assets/chunks/page-{number:05}{ending}").parse().unwrap()
    };
    let paths: Vec<BundlePath> = (0..10_000).map(path).collect();
    assert_counted("the index", || PathIndex::new(&paths));
    let index = PathIndex::new(&paths);
    assert_counted("straight paths", || FastPaths::new(&paths, &index, HtmlHandling::AutoTrailingSlash));
}
