//! Stories of pages of `docs`: the section `## A story` is run unchanged, and its output compared.
//! An `sh` block is run by `bash`, with the project as its folder, and a `text` block after it is its output, errors
//! included. All commands succeed except as many as lines of the output begin with `error:`. A comment before a block
//! changes its meaning:
//!
//! - `<!-- file: NAME -->`: a file of the project.
//! - `<!-- as: NAME -->`: the commands have the variables of the named person or program, in place of the first.
//! - `<!-- terminal: NAME -->`: the commands run beside the rest of the story, and a `text` block with the same comment
//!   is their output until then.
//!
//! In an output, `…` stands for any text and, alone on a line, for any lines. Ids, dates, times and milliseconds may
//! differ; the same id stands for the same id in all of the story, its commands too. Ports of the page, 8443 and 8444,
//! are replaced by the edge's, and 9000 by a free port.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

use super::edge::Edge;
use super::page;

/// Time limit for the expected output of a terminal.
const PRINTED_WITHIN: Duration = Duration::from_secs(60);

/// A block of a story, with the comment before.
struct Block {
    mark: Option<String>,
    language: String,
    text: String,
}

/// The blocks of the section of a page.
fn blocks(name: &str) -> Vec<Block> {
    let page = page::page(name);
    let (_, story) = page.split_once("\n## A story").unwrap_or_else(|| panic!("{name} has no story"));
    let story = story.split("\n## ").next().unwrap();
    let (mut blocks, mut mark, mut lines) = (Vec::new(), None, story.lines());
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: String = lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
            blocks.push(Block { mark: mark.take(), language: language.to_owned(), text });
        } else {
            mark = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->")).map(str::to_owned);
        }
    }
    blocks
}

/// A program beside a story, ended on drop.
struct Terminal(Child);

impl Drop for Terminal {
    fn drop(&mut self) {
        Command::new("kill").args(["--", &format!("-{}", self.0.id())]).status().ok();
        self.0.wait().ok();
    }
}

/// Persons and programs of a story, each with its variables.
pub(crate) type People<'a> = &'a [(&'a str, &'a [(&'a str, &'a str)])];

/// Runs the story of a page against an edge, in the folder of a project of the app `shop`.
#[track_caller]
pub(crate) fn run(name: &str, edge: &Edge, people: People<'_>) -> tempfile::TempDir {
    let project = tempfile::tempdir().unwrap();
    // Bound, to reserve the port; a program of the story may listen there.
    let free = TcpSocket::new_v4().unwrap();
    free.set_reuseaddr(true).unwrap();
    free.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let ports = [
        ("8443", edge.https().port().to_string()),
        ("8444", edge.admin().port().to_string()),
        ("9000", free.local_addr().unwrap().port().to_string()),
    ];
    let mut ids = Ids::new();
    let mut terminals: BTreeMap<String, Terminal> = BTreeMap::new();
    let blocks = blocks(name);
    let mut rest = blocks.iter().peekable();
    while let Some(block) = rest.next() {
        let (kind, value) = block.mark.as_deref().and_then(|mark| mark.split_once(": ")).unwrap_or_default();
        let show =
            |printed: &str| ports.iter().fold(printed.to_owned(), |text, (here, there)| text.replace(there, here));
        let output_file = project.path().join(format!(".{value}.out"));
        match (block.language.as_str(), kind) {
            (_, "file") => std::fs::write(project.path().join(value), &block.text).unwrap(),
            ("sh", _) => {
                let person = people.iter().find(|(name, _)| kind != "as" || *name == value);
                let (_, variables) = person.unwrap_or_else(|| panic!("{name} has nobody named {value}"));
                let real = ports.iter().map(|(here, there)| (*here, there.as_str()));
                let real = real.chain(ids.iter().map(|(here, there)| (here.as_str(), there.as_str())));
                let script = real.fold(block.text.clone(), |text, (here, there)| text.replace(here, there));
                let mut bash = bash(edge, project.path(), &script);
                bash.env_remove("DEVANTURE_TOKEN").envs(variables.iter().copied());
                if kind == "terminal" {
                    bash.stdout(std::fs::File::create(&output_file).unwrap()).process_group(0);
                    terminals.insert(value.to_owned(), Terminal(bash.spawn().unwrap()));
                    continue;
                }
                let output = bash.output().unwrap();
                let printed = show(&String::from_utf8(output.stdout).unwrap());
                let expected = rest.next_if(|next| next.language == "text" && next.mark.is_none());
                let expected = expected.map_or("…", |block| block.text.as_str());
                let fits = lines_match(&lines(expected), &lines(&printed), &mut ids);
                assert!(fits, "{name}:\n{}\nprints\n{printed}\nand not\n{expected}\n{}", block.text, edge.log());
                let failed = String::from_utf8(output.stderr).unwrap();
                let refused = expected.lines().filter(|line| line.starts_with("error:")).count();
                assert_eq!(failed.lines().count(), refused, "{name}:\n{}\n{printed}\n{failed}", block.text);
            }
            ("text", "terminal") => {
                let deadline = Instant::now() + PRINTED_WITHIN;
                loop {
                    let printed = show(&std::fs::read_to_string(&output_file).unwrap());
                    if lines_match(&lines(&block.text), &lines(&printed), &mut ids) {
                        break;
                    }
                    assert!(Instant::now() < deadline, "{name}: {value} prints\n{printed}\nand not\n{}", block.text);
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            // Further blocks of the page.
            _ => {}
        }
    }
    project
}

/// Runs a script with its errors among its output; failures of the script itself go to standard error.
fn bash(edge: &Edge, folder: &Path, script: &str) -> Command {
    let settings = edge.command(folder, "shop", &[]);
    let programs = Path::new(settings.get_program()).parent().unwrap().to_owned();
    let script = format!("exec 3>&2 2>&1\nset -o pipefail\ntrap 'echo \"$BASH_COMMAND\" >&3' ERR\n{script}");
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(folder).stdin(Stdio::null()).env_clear();
    bash.envs(settings.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let path = std::env::var("PATH").unwrap();
    // curl needs the name of the certificate.
    bash.env("PATH", format!("{}:{path}", programs.display())).env("HOME", folder);
    bash.env("DEVANTURE_URL", format!("https://localhost:{}", edge.admin().port()));
    bash
}

fn lines(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| pieces(line.trim())).collect()
}

/// Words, numbers, single signs and spaces of a line.
fn pieces(line: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let is_like: fn(char) -> bool = match first {
            ' ' => |one| one == ' ',
            first if first.is_ascii_alphanumeric() => |one| one.is_ascii_alphanumeric(),
            _ => |_| false,
        };
        let length = rest.find(|one| !is_like(one)).unwrap_or(rest.len()).max(first.len_utf8());
        let (piece, after) = rest.split_at(length);
        // Columns are as wide as their content.
        pieces.push(if first == ' ' { " " } else { piece });
        rest = after;
    }
    pieces
}

type Ids = BTreeMap<String, String>;

/// Returns true if lines match the expected lines. Records the meaning of ids.
fn lines_match(expected: &[Vec<&str>], printed: &[Vec<&str>], ids: &mut Ids) -> bool {
    let Some((line, others)) = expected.split_first() else { return printed.is_empty() };
    if *line == ["…"] {
        return (0..=printed.len()).any(|count| attempt(ids, |ids| lines_match(others, &printed[count..], ids)));
    }
    let Some((first, after)) = printed.split_first() else { return false };
    attempt(ids, |ids| line_matches(line, first, None, ids) && lines_match(others, after, ids))
}

/// Keeps recorded ids only after a match.
fn attempt(ids: &mut Ids, try_it: impl FnOnce(&mut Ids) -> bool) -> bool {
    let mut learned = ids.clone();
    let fits = try_it(&mut learned);
    if fits {
        *ids = learned;
    }
    fits
}

fn line_matches(expected: &[&str], printed: &[&str], before: Option<&str>, ids: &mut Ids) -> bool {
    let Some((piece, others)) = expected.split_first() else { return printed.is_empty() };
    if *piece == "…" {
        return (0..=printed.len())
            .any(|count| attempt(ids, |ids| line_matches(others, &printed[count..], Some("…"), ids)));
    }
    let Some((first, after)) = printed.split_first() else { return false };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = is_number(piece) && is_number(first);
    let is_beside = |sign: &str| before == Some(sign) || others.first() == Some(&sign);
    let is_time = (is_beside("-") || is_beside(":")) && piece.len() == first.len() && matches!(first.len(), 2 | 4);
    let is_duration = others.starts_with(&[" ", "ms"]);
    let fits = if is_id(piece) && is_id(first) {
        let is_new = !ids.contains_key(*piece) && ids.values().all(|known| known != first);
        if is_new {
            ids.insert((*piece).to_owned(), (*first).to_owned());
        }
        ids.get(*piece).is_some_and(|known| known == first)
    } else {
        piece == first || is_number && (is_time && piece.len() == first.len() || is_duration)
    };
    fits && line_matches(others, after, Some(piece), ids)
}

/// Returns true for a hexadecimal id.
fn is_id(word: &str) -> bool {
    matches!(word.len(), 12 | 14 | 16 | 64) && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[test]
fn an_output_fits_where_only_ids_and_times_differ() {
    let fits = |expected: &str, printed: &str| lines_match(&lines(expected), &lines(printed), &mut Ids::new());
    let expected = "2026-11-27 05:15:14 UTC  0a1b2c3d4e5f  push  live (3 ms)\n…\nundo 0a1b2c3d4e5f";
    assert!(fits(expected, "2027-01-02 15:00:00 UTC 111111111111 push live (12 ms)\nundo 111111111111"));
    assert!(fits(expected, "2027-01-02 15:00:00 UTC 111111111111 push live (1 ms)\na\nb\nundo 111111111111"));
    assert!(!fits(expected, "2027-01-02 15:00:00 UTC 111111111111 push live (1 ms)\nundo 222222222222"));
    assert!(!fits(expected, "2027-01-02 15:00:00 UTC 111111111111 pull live (1 ms)\nundo 111111111111"));
    assert!(!fits("a 0a1b2c3d4e5f b 1a1b2c3d4e5f", "a 0a1b2c3d4e5f b 0a1b2c3d4e5f"));
    assert!(fits("secret whsec_…  of …", "secret whsec_abc/+  of ci"));
    assert!(!fits("10 % of 3 visitors", "10 % of 4 visitors"));
    assert!(!fits("one", "one\ntwo") && !fits("one\ntwo", "one"));
}
