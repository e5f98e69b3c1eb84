//! Checks the dependencies between folders of the command line, the imports of the other crates, and the module style
//! of all crates.

use std::path::{Path, PathBuf};

use super::circles::{CIRCLE_FILES_MAX, Modules, circles};
use super::{CRATES, Source, WRITES, files_below, source_folder, sources_of};

/// Folders and files of `uploader/src`, lowest first; each may use the earlier entries.
const COMMAND_LINE: [&str; 9] =
    ["platform", "output", "signals", "settings", "source", "edge", "args", "context", "commands"];

/// Crates below the command line, which decide without questions or output.
const PURE: [&str; 3] = ["uploader/check", "uploader/migrate", "uploader/project"];

fn command_line() -> Vec<Source> {
    let mut sources = sources_of("uploader");
    sources.retain(|source| source.path != "main.rs");
    assert!(sources.len() > 80, "the sources are not where they are looked for");
    sources
}

#[test]
fn a_folder_of_the_command_line_uses_only_those_before_it() {
    let position = |name: &str| COMMAND_LINE.iter().position(|folder| *folder == name);
    let mut wrong = Vec::new();
    for source in command_line() {
        let own = position(source.room()).unwrap_or_else(|| panic!("{} is in no folder", source.path));
        for used in source.uses() {
            if position(&used).is_none_or(|other| other > own) {
                wrong.push(format!("{} uses `{used}`", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_one_module_of_the_command_line_knows_its_system() {
    let of_systems = ["std::os", "rustix", "signal::unix", "signal::windows"];
    // `dev` starts an edge, and exists on Unix alone, as the edge does.
    let (knowing, others): (Vec<Source>, Vec<Source>) = command_line()
        .into_iter()
        .chain(PURE.iter().flat_map(|name| sources_of(name)))
        .partition(|source| source.room() == "platform" || source.path.starts_with("commands/dev/"));
    let lines = |sources: &[Source]| -> Vec<String> {
        sources.iter().flat_map(|source| source.lines_with(&of_systems)).collect()
    };
    assert_eq!(lines(&others), Vec::<String>::new(), "this belongs to `platform` of uploader or uploader/project");
    assert!(!lines(&knowing).is_empty(), "the module has another name");
}

#[test]
fn what_is_decided_about_a_folder_asks_nobody_and_changes_nothing() {
    const OUTSIDE: [&str; 11] = [
        "std::env",
        "std::net",
        "std::process",
        "stderr",
        "stdin",
        "stdout",
        "eprintln",
        "println",
        "clap",
        "reqwest",
        "tokio",
    ];
    for name in PURE {
        let sources = sources_of(name);
        assert!(sources.len() > 10, "the sources of {name} are not where they are looked for");
        let wrong: Vec<String> = sources
            .iter()
            .flat_map(|source| [source.lines_with(&OUTSIDE), source.lines_with(&WRITES)].concat())
            .collect();
        assert!(wrong.is_empty(), "{name}: {}", wrong.join("\n"));
    }
}

#[test]
fn no_large_circle_of_imports_is_in_the_other_crates() {
    for name in ["config", "site", "uploader"].into_iter().chain(PURE) {
        let sources = if name == "uploader" { command_line() } else { sources_of(name) };
        let modules = Modules::of(&sources);
        let edges = modules.edges();
        assert!(edges.len() > 10, "the sources of `{name}` are not where they are looked for");
        let largest = circles(&edges).into_iter().max_by_key(std::collections::BTreeSet::len).unwrap_or_default();
        assert!(largest.len() <= CIRCLE_FILES_MAX, "{name}: {largest:?}");
    }
}

#[test]
fn a_module_with_files_of_its_own_is_a_folder_and_its_tests_are_in_it() {
    let mut files = Vec::new();
    for name in CRATES.iter().map(|(name, _)| *name).chain(["config", "site", "uploader"]).chain(PURE) {
        files_below(&source_folder(name), &mut files);
    }
    assert!(files.len() > 500, "{}", files.len());
    let is_wrong = |file: &&PathBuf| {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        stem.ends_with("_tests") || file.with_extension("").is_dir()
    };
    let wrong: Vec<&Path> = files.iter().filter(is_wrong).map(PathBuf::as_path).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
