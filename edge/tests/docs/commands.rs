//! Every command and flag in a document exists in the programs.

use std::collections::BTreeSet;

use super::{code_lines, documents, files, read};

/// Command line form of `PushArgs` and `no_switch`: `push-args`, `no-switch`.
fn kebab(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.extend(c.to_lowercase());
    }
    text.replace('_', "-")
}

/// Variants of an enum in a source file, as commands.
fn commands(source: &str, name: &str) -> BTreeSet<String> {
    let (_, rest) = source.split_once(&format!("enum {name} {{")).unwrap_or_else(|| panic!("there is no enum {name}"));
    let body = rest.split("\n}").next().unwrap();
    let names = body.lines().filter_map(|line| {
        let line = line.strip_prefix("    ")?;
        line.starts_with(|c: char| c.is_ascii_uppercase()).then(|| line.split(['(', ',', ' ']).next().unwrap())
    });
    names.map(kebab).collect()
}

/// Every field of a source file that may be a flag.
fn flags(source: &str) -> BTreeSet<String> {
    let fields = source.lines().filter_map(|line| {
        let line = line.trim();
        let field = line.strip_prefix("pub(crate) ").unwrap_or(line);
        let (name, _) = field.split_once(": ")?;
        name.chars().all(|c| c.is_ascii_lowercase() || c == '_').then(|| kebab(name))
    });
    fields.chain(["help".to_owned(), "version".to_owned()]).collect()
}

/// Words after each call of `program` in a line of code, up to the end of the command.
fn calls<'l>(line: &'l str, program: &str) -> Vec<Vec<&'l str>> {
    let mut calls = Vec::new();
    let words: Vec<&str> = line.split_whitespace().collect();
    // The `su` line of logrotate names a user and a group.
    let names_users = words.first() == Some(&"su");
    for (index, word) in words.iter().enumerate().filter(|_| !names_users) {
        let name = word.rsplit('/').next().unwrap();
        // `cargo test -p devanture-edge` names a package.
        let is_package = index > 0 && words[index - 1] == "-p";
        if name == program && !is_package {
            let ends = |word: &&&str| !matches!(**word, "--" | "|" | "&&" | "#" | ">" | "and" | "by" | "in");
            let call = words[index + 1..].iter().take_while(ends);
            calls.push(call.map(|word| word.trim_end_matches([',', ';', '.', ')', '"', '\''])).collect());
        }
    }
    calls
}

#[test]
fn every_command_in_a_document_exists() {
    let of_args = files(".rs").into_iter().filter(|path| path.starts_with("uploader/src/args"));
    let args: String = of_args.map(|path| read(&path)).collect();
    let main = ["main", "cluster", "console", "copy", "doctor", "init", "rights", "safekeeping", "terminal", "upgrade"];
    let main: String = main.map(|file| read(&format!("edge/src/bin/devanture-edge/{file}.rs"))).concat();
    let client = (commands(&args, "Command"), flags(&args));
    let edge = (commands(&main, "Command"), flags(&main));
    let nested = [
        commands(&args, "AccountCommand"),
        commands(&args, "AliasCommand"),
        commands(&args, "HostnamesCommand"),
        commands(&args, "SignersCommand"),
        commands(&args, "ShareCommand"),
        commands(&args, "TokenCommand"),
        commands(&args, "UpstreamsCommand"),
        commands(&args, "WebhooksCommand"),
        commands(&main, "AccountCommand"),
        commands(&main, "ClusterCommand"),
        commands(&main, "ConsoleCommand"),
        commands(&main, "TokenCommand"),
    ];
    let nested: BTreeSet<String> = nested.into_iter().flatten().collect();
    let demo = ("demo".to_owned(), format!("```\n{}```\n", read("demo")));
    let mut count = 0;
    for (path, document) in documents().into_iter().chain([demo]) {
        for line in code_lines(&document) {
            for (program, (commands, flags)) in [("devanture", &client), ("devanture-edge", &edge)] {
                for call in calls(&line, program) {
                    let plain = |word: &&&str| word.starts_with(|c: char| c.is_ascii_lowercase());
                    match call.first() {
                        Some(command) if plain(&command) => {
                            assert!(commands.contains(*command), "{path}: there is no `{program} {command}`: {line}");
                            count += 1;
                            if let (
                                Some(second),
                                "account" | "alias" | "cluster" | "console" | "hostnames" | "token" | "upstreams"
                                | "signers" | "webhooks",
                            ) = (call.get(1), *command)
                            {
                                assert!(nested.contains(*second), "{path}: {line}");
                            }
                        }
                        _ => {}
                    }
                    for flag in call.iter().filter_map(|word| word.strip_prefix("--")?.split('=').next()) {
                        assert!(flags.contains(flag), "{path}: {program} has no --{flag}: {line}");
                    }
                }
            }
        }
    }
    assert!(count > 40, "the commands are not where they are looked for: {count}");
}

/// The service's control group contains backend instances of an edge that starts them, and earlier edges still
/// draining: a signal to all processes would end both.
#[test]
fn no_document_signals_all_processes_of_the_service() {
    let mut found = 0;
    for (path, document) in documents() {
        for line in code_lines(&document).iter().filter(|line| line.contains("systemctl kill")) {
            assert!(line.contains("--kill-whom=main"), "{path}: {line}");
            found += 1;
        }
    }
    assert!(found > 0, "no document has such a line any more");
}
