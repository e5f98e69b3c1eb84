//! Compares the documents with the code: tables, samples, commands, keys, links, names of tests.
//!
//! A table between `<!-- name -->` and `<!-- /name -->` is generated from the code. `UPDATE_DOCS=1 cargo test --test it
//! docs::` writes the tables that differ, for review and commit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod commands;
mod links;
mod roles;
mod sources;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use devanture_config::api::WebhookEvent;
use devanture_config::limits::TABLE;
use devanture_config::problem::{Code, Exit};
use devanture_control::admin::OPERATIONS;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Project files with an extension, by path from the root, without built or fetched files.
fn files(ending: &str) -> Vec<String> {
    fn below(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                if !name.starts_with('.') && !matches!(name.as_str(), "target" | "node_modules") {
                    below(&path, ending, found);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    below(&root(), ending, &mut found);
    let mut paths: Vec<String> =
        found.iter().map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()).collect();
    paths.sort();
    paths
}

/// Documents, each with the path.
fn documents() -> Vec<(String, String)> {
    // Pages of the sites built by the tests are no project documents.
    let own = files(".md").into_iter().filter(|path| !path.starts_with("tools/sites.d/"));
    let documents: Vec<_> = own.map(|path| (path.clone(), read(&path))).collect();
    assert!(documents.len() > 8, "the documents are not where they are looked for");
    documents
}

/// Text between the two marks in a document.
fn marked<'t>(document: &'t str, name: &str) -> &'t str {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (_, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("there is no {begin}"));
    rest.split_once(&end).unwrap_or_else(|| panic!("there is no {end}")).0
}

/// Compares the text between the marks with the expected text, or writes the expected text with `UPDATE_DOCS`.
fn hold(path: &str, name: &str, expected: &str) {
    let document = read(path);
    let found = marked(&document, name);
    if found == expected {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let updated = document.replacen(found, expected, 1);
        let mut file = fs::OpenOptions::new().write(true).truncate(true).open(root().join(path)).unwrap();
        file.write_all(updated.as_bytes()).unwrap();
        return;
    }
    let differing = expected.lines().find(|line| !found.contains(line)).unwrap_or("a line too much");
    panic!("{path}: the table of {name} is not what the code says: {differing}\nUPDATE_DOCS=1 writes it:\n{expected}");
}

/// Code in a document: fenced blocks line by line, and text between backticks.
fn code_lines(document: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut is_fenced = false;
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced || line.starts_with("    ") {
            lines.push(line.trim().to_owned());
        } else {
            lines.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    lines
}

#[test]
fn every_source_says_what_lives_there() {
    for path in files(".rs") {
        let first = read(&path).lines().next().unwrap_or_default().to_owned();
        assert!(first.starts_with("//! "), "{path} begins with: {first}");
    }
}

#[test]
fn law_7_every_limit_is_in_the_table_of_the_documents() {
    let grouped = |number: u64| {
        let digits = number.to_string();
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push('_');
            }
            text.push(digit);
        }
        text
    };
    let mut table = "| key | default | range | meaning |\n|---|---|---|---|\n".to_owned();
    for limit in TABLE {
        let (least, most) = (grouped(limit.range.0), grouped(limit.range.1));
        let meaning = limit.meaning.trim();
        writeln!(table, "| `{}` | {} | {least} … {most} | {meaning} |", limit.name, grouped(limit.default)).unwrap();
    }
    hold("docs/configuration.md", "limits", &table);
}

#[test]
fn law_8_every_code_is_in_the_table_of_the_documents() {
    let mut table = "| code | status | exit | meaning |\n|---|---|---|---|\n".to_owned();
    for code in Code::ALL {
        let status = if code.status() == 0 { "—".to_owned() } else { code.status().to_string() };
        writeln!(table, "| `{}` | {status} | {} | {} |", code.as_str(), code.exit() as u8, code.title()).unwrap();
    }
    hold("docs/errors.md", "codes", &table);
}

#[test]
fn every_fault_is_in_the_table_of_the_documents() {
    let mut table = "| word | status | when |\n|---|---|---|\n".to_owned();
    for (word, status, when) in devanture_serve::handler::FAULTS {
        let status = if status == 200 { "as sent".to_owned() } else { status.to_string() };
        writeln!(table, "| `{word}` | {status} | {when} |").unwrap();
    }
    hold("docs/http.md", "faults", &table);
}

#[test]
fn every_exit_code_is_in_the_readme() {
    let readme = read("README.md");
    let (_, section) = readme.split_once("## Exit codes").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let found: Vec<u8> =
        section.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect();
    let ours = [Exit::Done, Exit::Refused, Exit::Usage, Exit::Unreachable, Exit::Forbidden].map(|exit| exit as u8);
    assert_eq!(found, [&ours[..], &[130, 143]].concat());
    for code in Code::ALL {
        assert!(found.contains(&(code.exit() as u8)), "{}", code.as_str());
    }
}

#[test]
fn every_metric_is_in_the_table_of_the_documents() {
    let mut table = "| metric | kind | meaning |\n|---|---|---|\n".to_owned();
    for (kind, name, meaning) in devanture_base::telemetry::METRICS {
        writeln!(table, "| `{name}` | {} | {meaning} |", kind.word()).unwrap();
    }
    hold("docs/operating.md", "metrics", &table);
}

#[test]
fn every_event_of_webhooks_is_in_the_documents() {
    let mut table = "| event | when |\n|---|---|\n".to_owned();
    for event in WebhookEvent::ALL {
        writeln!(table, "| `{event}` | {} |", event.meaning().trim()).unwrap();
    }
    hold("docs/webhooks.md", "webhook events", &table);
}

#[test]
fn every_address_of_the_api_is_in_the_documents() {
    let mut table = "| method | address | scope |\n|---|---|---|\n".to_owned();
    for operation in OPERATIONS {
        writeln!(table, "| {} | `{}` | {} |", operation.method, operation.path, operation.needs()).unwrap();
    }
    hold("docs/api.md", "addresses", &table);
}

#[test]
fn what_changes_something_for_visitors_is_in_the_documents() {
    let mut table = "| method | address | where signatures are wanted | confirmed |\n|---|---|---|---|\n".to_owned();
    for operation in OPERATIONS {
        let Some((needs, confirmed)) = operation.changes() else { continue };
        writeln!(table, "| {} | `{}` | {needs} | {confirmed} |", operation.method, operation.path).unwrap();
    }
    hold("docs/signing.md", "changes for visitors", &table);
}

#[test]
fn every_status_of_the_edges_own_is_in_the_documents() {
    let source = read("edge/serve/src/handler/refused.rs");
    let (_, rows) = source.split_once("fn row(self)").unwrap();
    let rows = rows.split("\n    }").next().unwrap();
    let statuses = rows.split("=> (").skip(1).map(|row| row.split(',').next().unwrap());
    let statuses: BTreeSet<&str> = statuses.collect();
    assert!(statuses.len() > 8, "the statuses are not where they are looked for");
    let document = read("docs/http.md");
    let (_, table) = document.split_once("## Statuses of the edge's own").unwrap();
    for status in statuses {
        assert!(table.contains(&format!("\n| {status} | ")), "docs/http.md does not have {status}");
    }
}

/// First text of each call of the reader: the name of a key.
fn keys_of(source: &str) -> BTreeSet<String> {
    const CALLS: [&str; 12] = [
        "bytes",
        "string",
        "parsed",
        "list",
        "boolean",
        "integer",
        "word",
        "table",
        "tables",
        "text_or_list",
        "named_tables",
        "named_strings",
    ];
    let code = source.split("#[cfg(test)]").next().unwrap();
    let calls = CALLS.iter().flat_map(|call| {
        let call = format!(".{call}(\"");
        code.match_indices(&call)
            .map(|(at, call)| code[at + call.len()..].split('"').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    });
    calls.collect()
}

#[test]
fn every_key_of_both_files_is_in_the_documents_and_no_other() {
    let document = read("docs/configuration.md");
    let edge = [
        "config/src/edge_toml/mod.rs",
        "config/src/edge_toml/access_log.rs",
        "config/src/edge_toml/cluster.rs",
        "config/src/edge_toml/console.rs",
        "config/src/edge_toml/images.rs",
        "config/src/edge_toml/listen.rs",
        "config/src/edge_toml/metrics.rs",
        "config/src/edge_toml/drain.rs",
        "config/src/edge_toml/names.rs",
        "config/src/edge_toml/oidc.rs",
        "config/src/edge_toml/runner.rs",
        "config/src/edge_toml/storage.rs",
        "config/src/edge_toml/tls.rs",
        "config/src/edge_toml/trust/mod.rs",
        "config/src/edge_toml/watch.rs",
    ];
    let site = [
        "config/src/site_toml/site_file.rs",
        "config/src/site_toml/serving_table.rs",
        "config/src/site_toml/check.rs",
        "config/src/site_toml/field_rules.rs",
        "config/src/site_toml/folder_globs.rs",
        "config/src/site_toml/media_types.rs",
        "config/src/site_toml/process.rs",
        "config/src/site_toml/routes.rs",
        "config/src/site_toml/schedule.rs",
        "config/src/site_toml/server.rs",
        "config/src/site_toml/smoke.rs",
        "config/src/site_toml/upstreams.rs",
    ];
    for (file, sources) in [("edge.toml", &edge[..]), ("devanture.toml", &site)] {
        let table = marked(&document, &format!("keys of {file}"));
        let named = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        // Tables are named by their keys.
        let named: BTreeSet<String> = named.flat_map(|key| key.split('.')).map(str::to_owned).collect();
        let keys: BTreeSet<String> = sources.iter().flat_map(|source| keys_of(&read(source))).collect();
        assert_eq!(named, keys, "{file}");
    }
}

#[test]
fn every_code_of_a_check_is_in_the_documents() {
    let document = read("docs/checking.md");
    for code in devanture_config::site_toml::check::CODES {
        assert!(document.contains(&format!("\n| `{code}` | ")), "docs/checking.md does not have {code}");
    }
}

#[test]
fn every_sample_in_a_document_is_a_file_that_is_tested() {
    let mut count = 0;
    for (path, document) in documents() {
        for part in document.split("<!-- sample: ").skip(1) {
            let (sample, rest) = part.split_once(" -->\n").unwrap();
            assert!(sample.starts_with("config/samples/valid/"), "{path}: {sample} is not tested");
            let indent: String = rest.chars().take_while(|c| *c == ' ').collect();
            let (_, rest) = rest.split_once("```toml\n").unwrap();
            let (shown, _) = rest.split_once(&format!("{indent}```\n")).unwrap();
            let shown: String =
                shown.lines().map(|line| format!("{}\n", line.strip_prefix(&indent).unwrap_or(line))).collect();
            assert_eq!(shown, read(sample), "{path}: {sample}");
            count += 1;
        }
    }
    assert!(count > 4, "the samples are not where they are looked for");
}

#[test]
fn every_variable_in_a_document_is_read() {
    // The command line reads some variables, the edge others, and instances receive the rest.
    let settings = read("uploader/src/settings/mod.rs")
        + &read("uploader/src/settings/identity.rs")
        + &read("uploader/project/src/dotenv.rs")
        + &read("config/src/edge_toml/identity.rs")
        + &read("edge/src/bin/devanture-edge/main.rs")
        + &read("edge/control/src/runner/environment.rs")
        + &read("edge/host/src/spawner/processes/mod.rs");
    for (path, document) in documents() {
        for (at, _) in document.match_indices("DEVANTURE_") {
            let name: String = document[at..].chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            assert!(settings.contains(&format!("\"{name}\"")), "{path}: {name} is read by nobody");
        }
    }
}

/// Test names in a line, each of which must be in `sources`.
fn tests_in<'l>(line: &'l str, sources: &str) -> Vec<&'l str> {
    let is_test = |name: &&str| {
        name.matches('_').count() > 2 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let names: Vec<&str> = line.split('`').skip(1).step_by(2).filter(is_test).collect();
    for name in &names {
        let is_there = sources.contains(&format!("fn {name}(")) || sources.contains(&format!(" {name},"));
        assert!(is_there, "there is no test {name}");
    }
    names
}

#[test]
fn every_promise_of_the_threat_model_names_tests_that_exist() {
    let sources: String = files(".rs").into_iter().map(|path| read(&path)).collect();
    let model = read("SECURITY.md");
    let promises = model.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise"));
    let mut count = 0;
    for promise in promises {
        assert!(!tests_in(promise, &sources).is_empty(), "a promise without a test: {promise}");
        count += 1;
    }
    assert!(count > 20, "{count} promises");
}

#[test]
fn every_test_that_the_architecture_names_exists() {
    let sources: String = files(".rs").into_iter().map(|path| read(&path)).collect();
    let architecture = read("ARCHITECTURE.md");
    let mut laws = 0;
    for line in architecture.lines() {
        let names = tests_in(line, &sources);
        let is_law = line.strip_prefix("| ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if is_law {
            assert!(!names.is_empty(), "a law without a test: {line}");
            laws += 1;
        }
    }
    assert_eq!(laws, 11);
}

/// Maximum words of `ARCHITECTURE.md`: ten minutes of reading.
const ARCHITECTURE_WORDS_MAX: usize = 2_200;

#[test]
fn the_architecture_is_read_in_ten_minutes() {
    let words = read("ARCHITECTURE.md").split_whitespace().count();
    assert!(words <= ARCHITECTURE_WORDS_MAX, "{words} words; what explains a decision goes to docs/decisions");
}

#[test]
fn every_decision_has_its_headings_and_is_in_the_list() {
    let list = read("docs/decisions/README.md");
    let paths = files(".md").into_iter().filter(|path| path.starts_with("docs/decisions/0"));
    let mut count = 0;
    for path in paths {
        count += 1;
        let name = path.strip_prefix("docs/decisions/").unwrap();
        assert!(name.starts_with(&format!("{count:04}-")), "{name} is not numbered {count:04}");
        let page = read(&path);
        let headings: Vec<&str> = page.lines().filter(|line| line.starts_with('#')).collect();
        let title = headings.first().and_then(|line| line.strip_prefix(&format!("# {count}. "))).unwrap_or_default();
        assert_eq!(headings.get(1..), Some(&["## Context", "## Decision", "## Consequences"][..]), "{name}");
        assert!(list.contains(&format!("- [{count}]({name}) {title}\n")), "docs/decisions/README.md lacks {name}");
    }
    assert!(count > 30, "the decisions are not where they are looked for");
}

/// Test subjects of a crate, by path: each file, and each folder except support folders.
fn subjects(folder: &str) -> BTreeSet<String> {
    let below = files(".rs").into_iter().filter_map(|path| path.strip_prefix(folder).map(str::to_owned));
    let names = below.map(|path| path.split('/').next().unwrap().to_owned());
    names.filter(|name| !["main.rs", "allocations.rs", "support", "cli_support"].contains(&name.as_str())).collect()
}

/// Output of `tools/tests-of` for a path.
fn tests_of(path: &str) -> String {
    let mut command = std::process::Command::new(root().join("tools/tests-of"));
    let mut tool = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writeln!(tool.stdin.take().unwrap(), "{path}").unwrap();
    let output = tool.wait_with_output().unwrap();
    assert!(output.status.success(), "{path}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_guide_has_a_row_for_every_room_and_tests_of_reads_it() {
    let guide = read("CONTRIBUTING.md");
    let (_, table) = guide.split_once("\n| changed | tests |\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let changed: Vec<&str> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).collect();
    let folders =
        ["edge/src", "edge/base/src", "edge/store/src", "edge/host/src", "edge/serve/src", "edge/control/src"];
    let rooms = folders.into_iter().flat_map(|folder| {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        entries.map(move |entry| format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap()))
    });
    let rooms = rooms.filter(|path| !path.ends_with("/lib.rs"));
    for path in rooms.chain(
        [
            "config",
            "edge/http/src",
            "edge/src/lib.rs",
            "site",
            "uploader/check",
            "uploader/migrate",
            "uploader/project",
            "uploader/src",
            "docs",
        ]
        .map(str::to_owned),
    ) {
        assert!(changed.contains(&path.as_str()), "CONTRIBUTING.md has no row for {path}");
    }
    let always = ["it devanture-edge docs::", "it devanture-edge rooms::"];
    let has = |path: &str, expected: &[&str]| {
        let found = tests_of(path);
        let lines: Vec<&str> = found.lines().collect();
        for line in expected.iter().chain(&always) {
            assert!(lines.contains(line), "{path}: {line} is not in {lines:?}");
        }
        assert_eq!(
            lines.iter().any(|line| line.starts_with("all ")),
            expected.contains(&format!("all {path}").as_str())
        );
    };
    has(
        "edge/store/src/blobs/fs/mod.rs",
        &["units devanture-store", "it devanture-edge upkeep::", "it devanture e2e::crash::"],
    );
    has("uploader/check/src/names.rs", &["package devanture-check", "it devanture cli_check::"]);
    // Of the rows for `uploader/src` and for `dev`, the longer name wins.
    has("uploader/src/commands/dev/mod.rs", &["units devanture", "it devanture e2e::dev::"]);
    assert!(!tests_of("uploader/src/commands/dev/mod.rs").contains("cli_edge"));
    has("docs/storage.md", &["units devanture-store blobs::fs", "it devanture-edge http::docs::"]);
    has("site/src/lib.rs", &["package devanture-site"]);
    // A test module depends on itself, and so do the modules that import from it.
    has("edge/tests/lane/ask.rs", &["it devanture-edge lane::", "it devanture-edge dictionaries::"]);
    for path in ["config/src/lib.rs", "Cargo.lock", "edge/tests/support/mod.rs", "a/path/of/no/row"] {
        has(path, &[&format!("all {path}")]);
    }
}

#[test]
fn the_guide_names_every_subject_of_tests_and_only_paths_that_exist() {
    let guide = read("CONTRIBUTING.md");
    let spans: Vec<&str> = guide.split('`').skip(1).step_by(2).collect();
    for (folder, programs) in [("edge/tests/", &["main.rs", "allocations.rs"][..]), ("uploader/tests/", &["main.rs"])] {
        let modules: String = programs.iter().map(|program| read(&format!("{folder}{program}"))).collect();
        for name in subjects(folder) {
            let (path, module) = (format!("{folder}{name}"), name.trim_end_matches(".rs"));
            assert!(spans.contains(&path.as_str()), "CONTRIBUTING.md has no row for {path}");
            // Automatic discovery of test programs is off: a file without a program would never run.
            assert!(modules.contains(&format!("\nmod {module};\n")), "no program has {path} as a module");
        }
    }
    let sources: String = files(".rs").iter().map(|path| read(path)).collect();
    for list in ["tools/slow-tests", "tools/disk-tests"] {
        for test in read(list).lines().filter(|line| !line.starts_with('#')) {
            assert!(sources.contains(&format!("fn {test}(")), "{list} names {test}, which does not exist");
        }
    }
    for span in spans {
        let first = span.split('/').next().unwrap();
        if !first.is_empty() && span.contains('/') && !span.contains([' ', '…', '*']) && root().join(first).is_dir() {
            assert!(root().join(span).exists(), "CONTRIBUTING.md names {span}, which does not exist");
        }
    }
}
