//! Checks the recipes of `examples/ci`, and their parts of `deploy`, against the command line: each is YAML, and each
//! call in it is valid.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use yaml_rust2::{Yaml, YamlLoader};

use crate::args::{AliasCommand, Cli, Command};

/// The files of each recipe.
const RECIPES: [&[&str]; 4] = [
    &["examples/ci/buildkite.yml"],
    &["examples/ci/circleci.yml"],
    &["examples/ci/github-actions.yml", "deploy/github-action/action.yml"],
    &["examples/ci/gitlab-ci.yml", "deploy/gitlab/devanture.yml"],
];
/// Variables that a CI system fills in.
const FILLED: [(&str, &str); 6] = [
    ("$EXPIRES", "14d"),
    ("$PREVIEW_EXPIRES", "14d"),
    ("$SOURCE", "staging"),
    ("$PROMOTE_FROM", "staging"),
    ("$PLACE", "prod"),
    ("$PROMOTE_TO", "prod"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(name: &str) -> Yaml {
    let text = std::fs::read_to_string(root().join(name)).unwrap();
    let mut documents = YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(documents.len(), 1, "{name}");
    documents.remove(0)
}

/// Every text of a document.
fn texts(yaml: &Yaml, found: &mut Vec<String>) {
    match yaml {
        Yaml::String(text) => found.push(text.clone()),
        Yaml::Array(list) => list.iter().for_each(|one| texts(one, found)),
        Yaml::Hash(table) => table.iter().for_each(|(key, value)| {
            texts(key, found);
            texts(value, found);
        }),
        _ => {}
    }
}

/// Returns the words of each call of `devanture` in a script, split as by a shell, without expansion.
fn calls(script: &str) -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    for line in script.replace("\\\n", " ").lines() {
        let line = line.trim();
        let call = line.strip_prefix("devanture ").or_else(|| line.split_once("$(devanture ").map(|(_, rest)| rest));
        calls.extend(call.map(words));
    }
    calls
}

fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut depth) = (Vec::new(), String::new(), None, 0);
    for c in line.chars() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => break,
            ')' => depth -= 1,
            _ => {}
        }
        match (quote, c) {
            (None, '|' | '>' | '&' | ';') => break,
            (None, ' ') => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            (None, '"' | '\'') => quote = Some(c),
            // Within `$( )` quotes may stand in quotes.
            (Some(open), _) if c == open && depth == 0 => quote = None,
            _ => word.push(c),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

#[test]
fn a_call_is_parted_as_a_shell_does() {
    for (script, expected) in [
        ("devanture push dist --alias > push.json", &[&["push", "dist", "--alias"][..]][..]),
        ("x=$(devanture push --json | jq .)\nls", &[&["push", "--json"]]),
        (
            "devanture diff live \"$(jq -r .version push.json)\" > x",
            &[&["diff", "live", "$(jq -r .version push.json)"]],
        ),
        ("devanture push \\\n  -m 'New checkout'", &[&["push", "-m", "New checkout"]]),
        ("echo devanture push", &[]),
    ] {
        assert_eq!(calls(script), expected, "{script}");
    }
}

#[test]
fn every_call_of_a_recipe_is_one_that_the_command_line_takes() {
    let mut names: Vec<String> = std::fs::read_dir(root().join("examples/ci"))
        .unwrap()
        .map(|entry| format!("examples/ci/{}", entry.unwrap().file_name().into_string().unwrap()))
        .filter(|name| name.ends_with(".yml"))
        .collect();
    names.sort();
    assert_eq!(names, RECIPES.map(|files| files[0]));
    for files in RECIPES {
        let name = files[0];
        let mut found = Vec::new();
        files.iter().for_each(|name| texts(&read(name), &mut found));
        let (mut aliases, mut stagings, mut promotions, mut removals) = (0, 0, 0, 0);
        for call in found.iter().flat_map(|text| calls(text)) {
            // Other expansions of a shell are an id, or a folder.
            let words = call.iter().map(|word| match FILLED.iter().find(|(variable, _)| word == variable) {
                Some((_, value)) => value,
                None if word.starts_with('$') => "4f2a91bc03de",
                None => word.as_str(),
            });
            let cli = Cli::try_parse_from(std::iter::once("devanture").chain(words));
            match cli.unwrap_or_else(|error| panic!("{name}: {call:?}: {error}")).command {
                Command::Push(args) if args.alias.is_some() => {
                    assert!(args.expires.is_some(), "{name}: a preview of a branch that is gone should end");
                    aliases += 1;
                }
                Command::Push(_) => stagings += 1,
                Command::Promote(args) => {
                    assert_eq!((args.from.as_str(), args.to.as_str()), ("staging", "prod"), "{name}");
                    promotions += 1;
                }
                Command::Alias(AliasCommand::Delete { .. }) => removals += 1,
                _ => {}
            }
        }
        assert_eq!((aliases, stagings, promotions), (1, 1, 1), "{name}");
        // CircleCI and Buildkite start no job when a branch is deleted.
        let starts_none = ["examples/ci/buildkite.yml", "examples/ci/circleci.yml"].contains(&name);
        assert_eq!(removals, usize::from(!starts_none), "{name}");
        let text: String = files.iter().map(|name| std::fs::read_to_string(root().join(name)).unwrap()).collect();
        assert!(!text.contains("dvt_"), "{name}: a token stands in the file");
        assert!(text.contains(".urls.alias"), "{name}: nobody is told the address");
    }
}
