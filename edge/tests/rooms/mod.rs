//! Checks the layers of the edge's crates and rooms (top-level modules): permitted dependencies, reads of the clock,
//! and writes of the catalog and of files.
//!
//! The sources are parsed as text, without comments, string literals and tests: a path in any form counts as a use.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod circles;
mod commits;
mod crates;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates of the edge, lowest first, each with the rooms, lowest first; a room may use earlier rooms. Cargo enforces
/// the dependencies between crates by their manifests.
const CRATES: [(&str, &[&str]); 7] = [
    ("base", &["clock", "fair", "telemetry", "durable"]),
    ("http", &[]),
    ("store", &["s3", "blobs", "catalog", "records"]),
    ("host", &["spawner", "containers", "data_task", "output"]),
    ("serve", &["version", "live", "proxy", "handler", "tls", "listen"]),
    (
        "control",
        &[
            "runner",
            "ledger",
            "cluster",
            "access",
            "encode",
            "places",
            "signing",
            "pauses",
            "upstreams",
            "instances",
            "hostnames",
            "settings",
            "aliases",
            "protection",
            "data",
            "commands",
            "schedules",
            "environments",
            "acme",
            "webhooks",
            "retention",
            "safekeeping",
            "archive",
            "switch",
            "publish",
            "admin",
        ],
    ),
    ("edge", &["server", "doctor"]),
];

/// Functions that change the file system, as written after `::` or `.`.
const WRITES: [&str; 15] = [
    "DirBuilder",
    "OpenOptions",
    "File::create",
    "File::create_new",
    "File::options",
    "fs::copy",
    "fs::create_dir",
    "fs::create_dir_all",
    "fs::hard_link",
    "fs::remove_dir",
    "fs::remove_dir_all",
    "fs::remove_file",
    "fs::rename",
    "fs::write",
    "tokio::fs",
];

/// Source file.
struct Source {
    /// Crate, such as `store`.
    of: &'static str,
    /// Path below `src`, such as `blobs/free_space.rs`.
    path: String,
    /// Code without comments, string literals and tests.
    code: String,
}

impl Source {
    /// Room of the file; a crate without rooms is one room.
    fn room(&self) -> &str {
        if self.of == "http" {
            return self.of;
        }
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Number of modules around the file's items, without the crate.
    fn depth(&self) -> usize {
        let segments = self.path.trim_end_matches(".rs").split('/');
        segments.filter(|segment| *segment != "mod").count()
    }

    /// Rooms in the file's paths from the crate root.
    fn uses(&self) -> BTreeSet<String> {
        let supers = "super::".repeat(self.depth());
        let mut found = BTreeSet::new();
        for root in ["crate::", &supers] {
            for (at, _) in self.code.match_indices(root) {
                let before = self.code[..at].chars().next_back();
                if before.is_none_or(|c| !is_word(c) && (c != ':' || root == "crate::")) {
                    found.extend(heads(&self.code[at + root.len()..]));
                }
            }
        }
        found
    }

    /// Lines that contain one of `words` as a whole word.
    fn lines_with<'s>(&'s self, words: &'s [&str]) -> Vec<String> {
        let lines = self.code.lines().enumerate();
        let hits = lines.filter(|(_, line)| words.iter().any(|word| holds_word(line, word)));
        hits.map(|(index, line)| format!("{}:{}: {}", self.path, index + 1, line.trim())).collect()
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn holds_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        before.is_none_or(|c| !is_word(c)) && after.is_none_or(|c| !is_word(c))
    })
}

/// First segments after `crate::`: one, or each member of a group in braces.
fn heads(rest: &str) -> Vec<String> {
    let word = |text: &str| text.trim_start().chars().take_while(|c| is_word(*c)).collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let mut heads = vec![word(group)];
    let mut depth = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(word(&group[at + 1..])),
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// Text with comments, string literals and character literals blanked; lines keep their positions.
fn code_of(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let at = |index: usize| characters.get(index).copied().unwrap_or('\0');
    let mut code = String::with_capacity(text.len());
    let mut index = 0;
    while index < characters.len() {
        let end = match at(index) {
            '/' if at(index + 1) == '/' => line_end(&characters, index),
            '/' if at(index + 1) == '*' => comment_end(&characters, index),
            '"' => text_end(&characters, index + 1),
            'r' if !is_word(at(index.wrapping_sub(1))) && matches!(at(index + 1), '"' | '#') => {
                raw_text_end(&characters, index)
            }
            // `'a'` and `'\n'` are characters, `'a` is a lifetime.
            '\'' if at(index + 1) == '\\' => text_end_at(&characters, index + 3, '\''),
            '\'' if at(index + 2) == '\'' => index + 3,
            _ => index,
        };
        if end == index {
            code.push(at(index));
            index += 1;
        } else {
            let blank = characters.iter().take(end).skip(index).map(|c| if *c == '\n' { '\n' } else { ' ' });
            code.extend(blank);
            index = end;
        }
    }
    code
}

fn line_end(characters: &[char], from: usize) -> usize {
    let line = characters.iter().skip(from).take_while(|c| **c != '\n');
    from + line.count()
}

fn comment_end(characters: &[char], from: usize) -> usize {
    let mut depth = 0;
    for (index, pair) in characters.windows(2).enumerate().skip(from) {
        match pair {
            ['/', '*'] => depth += 1,
            ['*', '/'] if depth == 1 => return index + 2,
            ['*', '/'] => depth -= 1,
            _ => {}
        }
    }
    characters.len()
}

fn text_end(characters: &[char], from: usize) -> usize {
    let mut index = from;
    while let Some(c) = characters.get(index) {
        match c {
            '"' => return index + 1,
            '\\' => index += 2,
            _ => index += 1,
        }
    }
    characters.len()
}

fn text_end_at(characters: &[char], from: usize, end: char) -> usize {
    from + characters.iter().skip(from).take_while(|c| **c != end).count() + 1
}

/// End of `r"…"` or `r#"…"#`; `r#name` is a raw identifier and ends at its start.
fn raw_text_end(characters: &[char], from: usize) -> usize {
    let hashes = characters.iter().skip(from + 1).take_while(|c| **c == '#').count();
    if characters.get(from + 1 + hashes) != Some(&'"') {
        return from;
    }
    let mut closing = vec!['"'];
    closing.resize(hashes + 1, '#');
    let begin = from + 2 + hashes;
    let found = characters.windows(closing.len()).skip(begin).position(|window| window == closing);
    found.map_or(characters.len(), |found| begin + found + closing.len())
}

/// Removes every item below `#[cfg(test)]`, and returns the files that the removed items name.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut files = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, item) = rest.split_at(at);
        kept.push_str(before);
        let end = item_end(item);
        let (item, after) = item.split_at(end);
        if let Some(name) = item.strip_suffix(';').and_then(|item| item.rsplit_once("mod ")).map(|(_, name)| name) {
            files.push(name.trim().to_owned());
        }
        kept.extend(item.chars().filter(|c| *c == '\n'));
        rest = after;
    }
    kept.push_str(rest);
    (kept, files)
}

/// End of an item: the `;`, or the brace that closes the first brace.
fn item_end(item: &str) -> usize {
    let mut depth = 0;
    for (at, c) in item.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    item.len()
}

/// Source folder of a crate: of the edge, or beside the edge.
fn source_folder(of: &str) -> PathBuf {
    let edge = Path::new(env!("CARGO_MANIFEST_DIR"));
    match of {
        "edge" => edge.join("src"),
        _ if CRATES.iter().any(|(name, _)| *name == of) => edge.join(of).join("src"),
        _ => edge.join("..").join(of).join("src"),
    }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// All sources of the edge, without files and folders of tests.
fn sources() -> Vec<Source> {
    let sources: Vec<Source> = CRATES.iter().flat_map(|(name, _)| sources_of(name)).collect();
    assert!(sources.len() > 500, "the sources are not where they are looked for");
    sources
}

fn sources_of(of: &'static str) -> Vec<Source> {
    let root = &source_folder(of);
    let mut files = Vec::new();
    files_below(root, &mut files);
    let mut sources = Vec::new();
    let mut tests: Vec<PathBuf> = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (code, named) = without_tests(&code_of(&text));
        let is_folder_itself = file.file_name().is_some_and(|name| name == "mod.rs" || name == "lib.rs");
        let folder = if is_folder_itself { file.parent().unwrap().to_owned() } else { file.with_extension("") };
        tests.extend(named.into_iter().map(|name| folder.join(name)));
        let path = file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        sources.push(Source { of, path, code });
    }
    let is_test = |source: &Source| {
        let path = root.join(&source.path);
        tests.iter().any(|test| path.with_extension("") == *test || path.starts_with(test))
    };
    sources.retain(|source| !is_test(source) && source.path != "lib.rs" && !source.path.starts_with("bin/"));
    sources
}

#[test]
fn each_crate_has_exactly_these_rooms_in_this_order() {
    for (name, rooms) in CRATES.iter().filter(|(_, rooms)| !rooms.is_empty()) {
        let code = code_of(&fs::read_to_string(source_folder(name).join("lib.rs")).unwrap());
        let declared: Vec<&str> = code
            .lines()
            .filter_map(|line| line.trim().strip_suffix(';')?.split_once("mod "))
            .map(|(_, name)| name)
            .collect();
        assert_eq!(declared, *rooms, "{name}");
        for source in sources_of(name) {
            assert!(rooms.contains(&source.room()), "{} of {name} is in no room", source.path);
        }
    }
}

#[test]
fn a_room_uses_only_rooms_before_it() {
    let mut wrong = Vec::new();
    for (name, rooms) in CRATES.iter().filter(|(_, rooms)| !rooms.is_empty()) {
        for source in sources_of(name) {
            let own = rooms.iter().position(|room| *room == source.room()).unwrap();
            for used in source.uses() {
                match rooms.iter().position(|room| *room == used) {
                    Some(other) if other <= own => {}
                    Some(_) => wrong.push(format!("{} uses `{used}`, which comes after its room", source.path)),
                    None => wrong.push(format!("{} uses `{used}` of {name}, which is no room", source.path)),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Cargo enforces the rule; the test names the manifests in which a new line would break it.
#[test]
fn serving_knows_nothing_of_control_and_no_crate_uses_a_later_one() {
    for (own, (name, _)) in CRATES.iter().enumerate() {
        let manifest = fs::read_to_string(source_folder(name).join("../Cargo.toml")).unwrap();
        for (later, _) in &CRATES[own + 1..] {
            let dependency = format!("devanture-{later}");
            assert!(!manifest.contains(&dependency), "{name} depends on {dependency}");
        }
    }
}

#[test]
fn the_site_has_no_io_no_clock_and_no_async() {
    const WORDS: [&str; 12] = [
        "async",
        "await",
        "tokio",
        "std::env",
        "std::fs",
        "std::io",
        "std::net",
        "std::process",
        "std::thread",
        "SystemTime",
        "Instant",
        "Future",
    ];
    let sources = sources_of("site");
    assert!(sources.len() > 20, "the sources are not where they are looked for");
    let wrong: Vec<String> = sources.iter().flat_map(|source| source.lines_with(&WORDS)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn law_6_only_the_durable_helper_changes_files() {
    // Files of the kernel, a tmpfs that one instance alone sees, and fixtures that tests alone write.
    const NO_FILES: [&str; 4] =
        ["records/golden/mod.rs", "spawner/cgroup/mod.rs", "spawner/kernel_files.rs", "spawner/private_folders.rs"];
    let mut sources = sources();
    sources.retain(|source| !NO_FILES.contains(&source.path.as_str()));
    let (durable, others): (Vec<&Source>, Vec<&Source>) =
        sources.iter().partition(|source| source.path.starts_with("durable/"));
    let wrong: Vec<String> = others.into_iter().flat_map(|source| source.lines_with(&WRITES)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(durable.into_iter().any(|source| !source.lines_with(&WRITES).is_empty()), "the helper has another name");
}

#[test]
fn numbers_of_things_are_put_into_words_by_one_function() {
    let mut files = Vec::new();
    for name in CRATES.iter().map(|(name, _)| *name).chain([
        "config",
        "uploader",
        "uploader/check",
        "uploader/migrate",
        "uploader/project",
    ]) {
        files_below(&source_folder(name), &mut files);
    }
    assert!(files.len() > 300, "{}", files.len());
    let by_hand = ["else { \"s\" }", "then_some(\"s\")"];
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        // A verb has a separate form.
        let lines =
            text.lines().filter(|line| by_hand.iter().any(|hand| line.contains(hand)) && !line.contains("hold{}"));
        assert_eq!(
            lines.collect::<Vec<_>>(),
            Vec::<&str>::new(),
            "{}: `devanture_config::text::counted` does it",
            file.display()
        );
    }
}

#[test]
fn the_clock_of_the_day_is_read_where_it_is_needed() {
    let sources = sources();
    // Times of certificates, of certificate files, of ticket keys, and of everything else.
    let allowed = ["clock.rs", "cluster/authority.rs", "tls/authority.rs", "tls/file_watch.rs", "tls/tickets.rs"];
    let others = sources.iter().filter(|source| !allowed.contains(&source.path.as_str()));
    let wrong: Vec<String> = others
        .flat_map(|source| source.lines_with(&["SystemTime::now", "OffsetDateTime::now_utc", "Utc::now"]))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_command_line_starts_an_edge_in_one_place_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../uploader/src");
    let mut files = Vec::new();
    files_below(&root, &mut files);
    let with = |words: &str| -> Vec<&Path> {
        let found = files.iter().filter(|file| fs::read_to_string(file).unwrap().contains(words));
        found.map(|file| file.strip_prefix(&root).unwrap()).collect()
    };
    assert_eq!(with("\"devanture-edge\""), [Path::new("commands/dev/edge.rs")]);
    // A separate program, and no part of the crate.
    assert!(with("devanture_edge").is_empty());
    let manifest = fs::read_to_string(root.join("../Cargo.toml")).unwrap();
    assert!(!manifest.contains("devanture-edge"), "{manifest}");
}

#[test]
fn code_is_distinguished_from_comments_texts_and_tests() {
    let text = r##"
use crate::proxy; // crate::listen
/* crate::admin /* crate::server */ */
fn one<'a>(c: char) -> &'a str { if c == '"' || c == '\'' { "crate::server \" crate::admin" } else { r#"crate::admin"# } }
use crate::{blobs::{self, Blobs}, catalog};
#[cfg(test)]
mod tests;
#[cfg(test)]
mod more { use crate::server; }
use super::super::live;
"##;
    let (code, files) = without_tests(&code_of(text));
    assert_eq!(files, ["tests"]);
    assert_eq!(code.lines().count(), text.lines().count());
    let source = Source { of: "store", path: "blobs/free_space.rs".to_owned(), code };
    assert_eq!(source.depth(), 2);
    assert_eq!(source.uses().into_iter().collect::<Vec<_>>(), ["blobs", "catalog", "live", "proxy"]);
    let path = Source { of: "store", path: "blobs/mod.rs".to_owned(), code: String::new() };
    assert_eq!((path.depth(), path.room()), (1, "blobs"));
}
