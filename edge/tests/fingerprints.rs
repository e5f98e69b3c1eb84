//! File names written by real site generators: names with a content hash are recognized, and no other names.
//!
//! `tools/sites` builds each site in two releases. A missing site is skipped. With `CI=true` or `DEVANTURE_REQUIRE=1` a
//! missing site fails the test if the run requires the site: two sites in every run, all sites with `FULL=1`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::panic,
    reason = "a test that cannot go on should stop where it is"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use devanture_site::fingerprint;

/// Sites that every run requires.
const EVERY_RUN: [&str; 2] = ["vite-react", "astro"];

/// For each site: the folder of hashed names, and the names or subfolders there without a hash.
const SITES: [(&str, &[&str], &[&str]); 13] = [
    ("angular", &["media/"], &[]),
    ("astro", &["_astro/"], &[]),
    ("docusaurus", &["assets/"], &[".LICENSE.txt"]),
    ("eleventy", &[], &[]),
    ("esbuild", &[""], &[]),
    // The folder is named after the build id, which two builds may share; ambiguous names are not fingerprinted.
    ("next", &["_next/static/"], &["Manifest.js"]),
    ("next-webpack", &["_next/static/"], &["Manifest.js"]),
    (
        "nuxt",
        &["_nuxt/"],
        &["_nuxt/builds/latest.json", "_nuxt/builds/meta/release-a.json", "_nuxt/builds/meta/release-b.json"],
    ),
    ("parcel", &[""], &["index.html"]),
    ("rollup", &[""], &[]),
    ("sveltekit", &["_app/immutable/"], &[]),
    ("vite-react", &["assets/"], &[]),
    ("vitepress", &["assets/"], &[]),
];

fn built(name: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let folder = target.join("test-inputs").join(format!("site-{name}"));
    if folder.is_dir() {
        return Some(folder);
    }
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    let belongs = EVERY_RUN.contains(&name) || is_set("FULL");
    assert!(!(belongs && (is_set("CI") || is_set("DEVANTURE_REQUIRE"))), "{name} is not built: run tools/sites {name}");
    eprintln!("left out: {name} is not built: run tools/sites {name}");
    None
}

fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(path, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

/// Returns true for names whose last eight characters before the extension are a generator's suffix in place of a hash.
fn is_outside_the_definition(path: &str) -> bool {
    let stem = path.rsplit('/').next().unwrap().rsplit_once('.').unwrap().0;
    let stem = stem.strip_suffix(".lean").unwrap_or(stem);
    let token = &stem[stem.len().saturating_sub(8)..];
    let has_digit = token.bytes().any(|byte| byte.is_ascii_digit());
    let rest: Vec<bool> =
        token.bytes().filter(u8::is_ascii_alphabetic).skip(1).map(|b| b.is_ascii_uppercase()).collect();
    let is_mixed = rest.contains(&true) && rest.contains(&false);
    !(has_digit || is_mixed) || token.bytes().all(|byte| byte.is_ascii_digit())
}

#[test]
fn names_that_change_with_their_content_are_seen_and_no_others() {
    let (mut hashed, mut seen) = (0, 0);
    for (name, hashed_folders, own_names) in SITES {
        let Some(folder) = built(name) else { continue };
        let (first, second) = (files(&folder.join("a")), files(&folder.join("b")));
        let (mut hashed_here, mut missed) = (0, Vec::new());
        for path in first.keys().chain(second.keys().filter(|path| !first.contains_key(*path))) {
            if fingerprint::is_fingerprinted(path) {
                let has_changed = matches!((first.get(path), second.get(path)), (Some(a), Some(b)) if a != b);
                assert!(!has_changed, "{name}: {path} has other content under the same name");
            }
            let is_renamed = first.contains_key(path) != second.contains_key(path);
            let is_own = own_names.iter().any(|own| path.ends_with(own));
            if is_own || !(is_renamed || hashed_folders.iter().any(|folder| path.starts_with(folder))) {
                continue;
            }
            hashed_here += 1;
            if !fingerprint::is_fingerprinted(path) {
                missed.push(path.as_str());
            }
        }
        let (outside, overlooked): (Vec<_>, Vec<_>) =
            missed.into_iter().partition(|path: &&str| is_outside_the_definition(path));
        let seen_here = hashed_here - outside.len() - overlooked.len();
        eprintln!(
            "{name}: {seen_here} of {hashed_here}; not hashes by definition: {outside:?}; overlooked: {overlooked:?}"
        );
        // One in thirty of a generator's hashes reads as words.
        assert!(overlooked.len() * 8 <= hashed_here, "{name}: {overlooked:?}");
        hashed += hashed_here;
        seen += seen_here;
    }
    eprintln!("{seen} of {hashed} seen");
}
