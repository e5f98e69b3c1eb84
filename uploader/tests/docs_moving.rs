//! Checks `docs/moving.md` against the tests: every row of the tables names an existing test.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop where it is")]

use std::fs;
use std::path::Path;

/// Collects the sources of the workspace's tests.
fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_row_about_a_provider_names_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut code = String::new();
    for folder in ["config/src", "config/tests", "edge/src", "edge/tests", "site/src", "uploader"] {
        sources(&root.join(folder), &mut code);
    }
    let page = fs::read_to_string(root.join("docs/moving.md")).unwrap();
    let mut tables = 0;
    let mut is_about_tests = false;
    for (number, line) in page.lines().enumerate() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if !line.starts_with('|') {
            is_about_tests = false;
        } else if cells.last() == Some(&"test") {
            tables += 1;
            is_about_tests = true;
        } else if is_about_tests && !line.starts_with("|---") {
            let names: Vec<&str> = cells.last().unwrap().split('`').skip(1).step_by(2).collect();
            assert!(!names.is_empty(), "docs/moving.md:{}: no test: {line}", number + 1);
            for name in names {
                let is_there = code.contains(&format!("fn {name}("));
                assert!(is_there, "docs/moving.md:{}: there is no test {name}", number + 1);
            }
        }
    }
    // One table for each provider, and two for clean URLs.
    assert!(tables >= 5, "{tables} tables");
}
