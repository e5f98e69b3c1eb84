//! Hostile text from a project and an edge on a terminal or in the log of CI: no text moves the cursor, forges a line
//! or reverses text; JSON contains the text unchanged.
#![cfg(unix)]

use std::os::unix::ffi::OsStrExt as _;

use devanture_config::problem::{Code, Problem};
use serde_json::Value;

use crate::cli_support::fake_edge::{FakeEdge, Reply};
use crate::cli_support::{Project, Ran};

/// Hostile text for every field: clears the screen, forges a line, renames the window (also by C1 controls), imitates
/// the colour of success, and reverses a name.
const EVIL: &str =
    "\u{1b}[2J\r\nerror: forged\u{1b}]0;own\u{7}\u{9b}31m\u{1b}[1;32m\u{7f}\u{202e}gpj.exe\u{200b}\u{2066}\u{61c}";

/// The colours of this program, and of clap.
const COLOURS: [&str; 9] = [
    "\u{1b}[0m",
    "\u{1b}[1;32m",
    "\u{1b}[1;31m",
    "\u{1b}[2m",
    "\u{1b}[1m",
    "\u{1b}[31m",
    "\u{1b}[32m",
    "\u{1b}[33m",
    "\u{1b}[36m",
];

/// Returns true if a character may reach a terminal.
fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

/// Runs a command as in CI and as on a terminal with colours, and checks for plain lines, none forged. Returns the
/// output of CI.
#[track_caller]
fn prints_plainly(project: &Project, arguments: &[&str]) -> Ran {
    let ran = project.run(arguments);
    for text in [&ran.stdout, &ran.stderr] {
        let bad: Vec<char> = text.chars().filter(|c| *c != '\n' && !is_plain(*c)).collect();
        assert!(bad.is_empty(), "{bad:?} in {ran:#?}");
        assert!(!text.lines().any(|line| line.starts_with("error: forged")), "{ran:#?}");
    }
    let coloured: Ran = project.command(arguments).env("CLICOLOR_FORCE", "1").output().unwrap().into();
    for text in [&coloured.stdout, &coloured.stderr] {
        let plain = COLOURS.iter().fold(text.clone(), |text, colour| text.replace(colour, ""));
        assert!(plain.chars().all(|c| c == '\n' || is_plain(c)), "{coloured:#?}");
        // The colour in the hostile text is shown with its escape character replaced.
        let count = |part: &str| text.matches(part).count();
        assert_eq!(count("\\u{1b}]0;own"), count("\\u{1b}[1;32m"), "{coloured:#?}");
    }
    ran
}

/// Returns the line of `--json`, with all unusual characters escaped.
#[track_caller]
fn json(project: &Project, arguments: &[&str]) -> Value {
    let ran = project.run(&[arguments, &["--json"]].concat());
    assert!(ran.stdout.trim_end().chars().all(is_plain), "{ran:#?}");
    ran.json()
}

/// Quotes a text for TOML.
fn toml(text: &str) -> String {
    text.chars().map(|c| if is_plain(c) { c.to_string() } else { format!("\\u{:04X}", u32::from(c)) }).collect()
}

#[test]
fn names_of_files_are_shown_and_not_obeyed() {
    let edge = FakeEdge::start();
    let file_name = EVIL.replace('/', "");
    // A name impossible in a bundle, a name left out, a link that leads out, and a reserved name.
    let project = Project::site(&edge.url());
    project.file(&format!("dist/{file_name}"), "x");
    std::os::unix::fs::symlink(&file_name, project.path(&format!("dist/link{file_name}"))).unwrap();
    let broken = std::ffi::OsStr::from_bytes(b"caf\xe9\x1b[2J");
    drop(std::fs::File::create_new(project.path("dist").join(broken)).unwrap());
    for command in ["check", "push"] {
        let ran = prints_plainly(&project, &[command]);
        assert!(ran.code == Some(2) && ran.stderr.contains("\\u{1b}[2J\\u{d}\\u{a}error: forged"), "{ran:#?}");
        let output = json(&project, &[command]);
        assert!(
            output["error"]["mistakes"][0]["file"].as_str().unwrap().contains(&file_name),
            "the exact value: {output}"
        );
    }
    let project = Project::site(&edge.url());
    project.file(&format!("dist/.env{file_name}"), "x");
    project.file("dist/invoice\u{202e}fdp.exe", "x");
    project.file("dist/a.html", "<a href=\"/\u{202e}none\u{9b}31m\">x</a>");
    for arguments in
        [&["push", "--verbose"][..], &["check"], &["push", "--dry-run"], &["routes"], &["check", "--format", "github"]]
    {
        prints_plainly(&project, arguments);
    }
    let plan = json(&project, &["push", "--dry-run"]);
    assert_eq!(plan["left_out"][0], format!(".env{file_name}"));
}

#[test]
fn keys_values_and_rules_are_shown_and_not_obeyed() {
    let edge = FakeEdge::start();
    let evil = toml(EVIL);
    for text in [
        format!("app = \"shop\"\n\"{evil}\" = 1\n"),
        format!("app = \"{evil}\"\n"),
        format!("app = \"shop\"\nwww = \"{evil}\"\n"),
        format!("app = \"shop\"\nnot_found = \"{evil}\"\n"),
        format!("app = \"shop\"\nwww = \"dist\"\n[types]\n\"{evil}\" = \"{evil}\"\n"),
        format!("app = \"shop\"\nwww = \"dist\"\n[[routes]]\npath = \"/{evil}\"\nto = \"http://{evil}\"\n"),
        format!("app = \"shop\"\nwww = \"dist\"\n[cache]\n\"/{evil}\" = \"{evil}\"\n"),
        format!("app = \"shop\"\nwww = \"dist\"\n[server]\ncommand = [\"{evil}\"]\ndir = \"{evil}\"\n"),
        format!("[apps.\"{evil}\"]\nwww = \"dist\"\n"),
        format!("app = \"shop\"\nurl = \"https://{evil}\"\n"),
        EVIL.to_owned(),
    ] {
        let project = Project::site(&edge.url());
        project.file("devanture.toml", &text);
        for arguments in [&["check"][..], &["check", "--explain"], &["push"], &["status", "--explain"], &["routes"]] {
            prints_plainly(&project, arguments);
        }
        json(&project, &["check", "--explain"]);
    }
    let project = Project::site(&edge.url());
    let rule = EVIL.replace(['\r', '\n'], "");
    project.file("dist/_redirects", &format!("/{rule} /b 999\n/a{rule} {rule}\n/c{rule} /index.html 200\n"));
    project.file("dist/_headers", &format!("/{rule}\n  X-{rule}: {rule}\n"));
    for arguments in
        [&["check"][..], &["push"], &["routes"], &["routes", "/c\u{202e}"], &["check", "--format", "github"]]
    {
        prints_plainly(&project, arguments);
    }
    // Text from `.env`, and from the command line.
    let project = Project::new(&[("devanture.toml", "www = \"dist\"\n"), ("dist/index.html", "x")]);
    project.file(".env", &format!("DEVANTURE_URL={rule}\nDEVANTURE_APP={rule}\nDEVANTURE_ENV={rule}\n"));
    for arguments in [&["status", "--explain"][..], &["push"], &["push", "--env", EVIL], &["push", EVIL], &[EVIL]] {
        prints_plainly(&project, arguments);
    }
    prints_plainly(&project, &["delete", "app", EVIL]);
}

#[test]
fn what_an_edge_says_is_shown_and_not_obeyed() {
    let edge = FakeEdge::start_with(|request, _| {
        let mut problem = Problem::new(Code::SmokeFailed, EVIL).hint(EVIL).with_lines(vec![EVIL.to_owned()]);
        problem.title = EVIL.to_owned();
        let body = serde_json::to_vec(&problem).unwrap();
        request.target.contains("/environments/").then_some(Reply::Whole(422, "application/problem+json", body))
    });
    let project = Project::site(&edge.url());
    for arguments in [&["push"][..], &["status"], &["history"], &["logs"], &["env", "list"], &["instances"]] {
        let ran = prints_plainly(&project, arguments);
        assert!(ran.code == Some(1) && ran.stderr.contains("error: \\u{1b}[2J"), "{arguments:?}: {ran:#?}");
        let output = json(&project, arguments);
        assert!(output["error"]["message"].as_str().unwrap().starts_with(EVIL), "the exact value: {output}");
    }
}
