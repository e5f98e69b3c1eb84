//! Output for a person: progress on a terminal, lines in CI, colours, details, tables, questions.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it is"
)]

use std::fs::File;
use std::io::{Read, Write as _};
use std::process::Stdio;
use std::time::Duration;

use crate::cli_support::fake_edge::{FakeEdge, Reply};
use crate::cli_support::{Project, Ran, signal};
use crate::support::terminal;
use devanture_config::VersionId;
use devanture_config::api::{AppEnvironment, AppInfo, AppList, AppTotals, AppUsage, CanaryShare, LimitUsage};
use devanture_config::problem::Code;

fn terminal() -> (File, File) {
    terminal::terminal(terminal::size(30, 120))
}

/// Runs a command whose stderr is a terminal; returns the exit code, stdout and the text on the terminal.
fn run_on_terminal(project: &Project, arguments: &[&str]) -> (Option<i32>, String, String) {
    let (mut outer, inner) = terminal();
    let mut child = project.command(arguments).stderr(Stdio::from(inner)).spawn().unwrap();
    let reader = std::thread::spawn(move || {
        let mut shown = Vec::new();
        let mut piece = [0; 4096];
        // Reading fails after the last writer has closed.
        while let Ok(count @ 1..) = outer.read(&mut piece) {
            shown.extend_from_slice(&piece[..count]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    });
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let code = child.wait().unwrap().code();
    (code, stdout, reader.join().unwrap())
}

/// Starts an edge that delays every blob, so that progress is visible.
fn slow_edge() -> FakeEdge {
    FakeEdge::start_with(|request, _| {
        if request.method == "PUT" {
            // The answer is late; the test itself does not wait.
            std::thread::sleep(Duration::from_millis(300));
        }
        None
    })
}

fn large_site(edge: &FakeEdge) -> Project {
    let project = Project::site(&edge.url());
    project.file("dist/large.txt", &"large ".repeat(500_000));
    project
}

#[test]
fn a_terminal_shows_how_far_an_upload_is_and_at_what_rate() {
    let edge = slow_edge();
    let project = large_site(&edge).variable("TERM", "xterm-256color");
    let (code, stdout, shown) = run_on_terminal(&project, &["push", "--jobs", "1"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(stdout.contains("https://shop.localhost") && !stdout.contains('\u{1b}'), "{stdout}");
    assert!(shown.contains('\u{1b}'), "a bar moves the cursor: {shown:?}");
    let bar = shown.split('\r').find(|line| line.contains('\u{2501}')).unwrap_or_else(|| panic!("no bar: {shown:?}"));
    assert!(
        bar.contains("upload") && bar.contains("of 3.0 MB") && bar.contains("/s") && bar.contains("left"),
        "{bar:?}"
    );
    assert!(shown.contains("3/3  3.0 MB"), "{shown:?}");
    // Colours, unless disabled; the bar has no colour.
    assert!(shown.contains("\u{1b}[2mupload"), "{shown:?}");
    let (_, _, plain) = run_on_terminal(&large_site(&slow_edge()).variable("NO_COLOR", "1"), &["push"]);
    assert!(!plain.contains("\u{1b}[2m") && !plain.contains("\u{1b}[1;"), "{plain:?}");
}

#[test]
fn a_terminal_that_is_dumb_and_one_that_is_to_be_quiet_get_no_bar() {
    let (code, _, shown) = run_on_terminal(&large_site(&slow_edge()).variable("TERM", "dumb"), &["push"]);
    assert_eq!(code, Some(0));
    assert!(!shown.contains('\u{1b}') && shown.contains("upload"), "{shown:?}");
    let (code, _, shown) = run_on_terminal(&large_site(&slow_edge()), &["push", "--quiet"]);
    assert_eq!((code, shown.as_str()), (Some(0), ""));
}

#[test]
fn the_usage_of_an_app_is_a_table_with_the_keys_of_its_limits() {
    let limit = |name: &str, used, max, own| LimitUsage { name: name.to_owned(), used, max, own };
    let limits = vec![
        limit("stored_bytes_per_app_max", Some(1_250_000), Some(10_000_000), true),
        limit("versions_max", Some(12), Some(10_000), false),
        limit("aliases_max", Some(0), Some(0), false),
        limit("requests_per_app_max", None, None, false),
        limit("cups_of_tea_max", Some(3), None, false),
    ];
    let usage = AppUsage { app: "shop".parse().unwrap(), limits };
    let answer = usage.clone();
    let edge = FakeEdge::start_with(move |request, _| {
        (request.target == "/v1/apps/shop/usage").then(|| Reply::json(200, &answer))
    });
    let project = Project::site(&edge.url());
    let ran = project.run(&["usage"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "  bytes stored             1.2 MB  of 10.0 MB (12 %)  stored_bytes_per_app_max, for this app",
            "  versions                     12  of 10000 (0 %)     versions_max",
            "  aliases                       0  of 0               aliases_max",
            "  requests under way  not counted  no limit           requests_per_app_max",
            "  cups_of_tea_max               3  no limit           cups_of_tea_max",
        ]
    );
    assert_eq!(project.run(&["usage", "--json"]).json(), serde_json::to_value(&usage).unwrap());
}

#[test]
fn the_apps_are_a_table_and_all_of_them_are_read_page_by_page() {
    let environment = |name: &str, who: &str, hostnames, paused| AppEnvironment {
        name: name.parse().unwrap(),
        version: Some(VersionId::of(name.as_bytes())),
        since_ms: Some(1_700_000_000_000),
        who: Some(who.to_owned()),
        url: format!("https://{name}.localhost"),
        hostnames,
        backend: Some(false),
        paused,
        locked: false,
        damaged: paused,
        canary: paused.then(|| CanaryShare { version: VersionId::of(b"canary"), share: "10".parse().unwrap() }),
    };
    let app = |name: &str, environments: Vec<AppEnvironment>, environments_total| AppInfo {
        app: name.parse().unwrap(),
        created_ms: Some(1),
        created_by: Some("ada".to_owned()),
        versions: Some(2),
        environments_total,
        environments,
    };
    let edge = FakeEdge::start_with(move |request, _| {
        let query = request.target.strip_prefix("/v1/apps?")?;
        let (apps, next) = match query.contains("after=blog") {
            false => (vec![app("blog", vec![], 0)], Some("blog".to_owned())),
            true => {
                let environments = vec![environment("prod", "ada", 2, false), environment("staging", "grace", 0, true)];
                (vec![app("shop", environments, 4)], None)
            }
        };
        let totals = AppTotals { apps: 2, environments: 4, hostnames: 2 };
        Some(Reply::json(200, &AppList { apps, totals, next }))
    });
    let project = Project::site(&edge.url());
    let ran = project.run(&["apps", "--search", "o"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["blog", "nothing", "is", "live"]);
    assert_eq!(
        lines[1..],
        ["  1 of 2 apps, 4 environments, 2 hostnames", "  more: devanture apps --search o --after blog",]
    );
    let ran = project.run(&["apps", "--all"]);
    let (prod, staging) = (VersionId::of(b"prod").short(), VersionId::of(b"staging").short());
    let lines: Vec<String> =
        ran.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines,
        [
            "blog nothing is live".to_owned(),
            format!("shop prod {prod} 2023-11-14 22:13:20 UTC by ada 2 hostnames"),
            format!(
                "staging {staging} 2023-11-14 22:13:20 UTC by grace paused, damaged, canary {} for 10 %",
                VersionId::of(b"canary").short()
            ),
            "and 2 more".to_owned(),
            "2 apps, 4 environments, 2 hostnames".to_owned(),
        ]
    );
    let json = project.run(&["apps", "--all", "--json"]).json();
    assert_eq!(json["apps"].as_array().unwrap().len(), 2);
    assert!(json["next"].is_null());
    assert!(edge.seen().iter().any(|line| line.contains("limit=1000&after=blog")), "{:?}", edge.seen());
}

#[test]
fn a_quiet_command_prints_nothing_of_what_went_well_and_all_of_what_was_wanted() {
    let edge = FakeEdge::start();
    let project = Project::site(&edge.url());
    let id = project.run(&["push", "--dry-run", "-q"]).stdout;
    assert_eq!(id.trim_end().len(), 64);
    let pushed = project.run(&["push", "-q"]);
    assert_eq!((pushed.code, pushed.stdout.as_str(), pushed.stderr.as_str()), (Some(0), "", ""));
    assert!(project.run(&["push", "-q", "--json"]).stdout.contains("\"switched\":false"));
    assert!(project.run(&["status", "-q"]).stdout.contains("prod"));
}

#[test]
fn ci_gets_plain_lines() {
    let edge = slow_edge();
    let ran = large_site(&edge).variable("CI", "true").run(&["push"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(!ran.stderr.contains(['\u{1b}', '\r']) && !ran.stdout.contains('\u{1b}'), "{ran:#?}");
    let steps: Vec<&str> = ran.stderr.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(steps, ["scan", "diff", "upload", "switch"], "{ran:#?}");
    let forced = large_site(&edge).variable("CLICOLOR_FORCE", "1").run(&["push"]);
    assert!(forced.stderr.contains("\u{1b}[2mscan"), "{forced:#?}");
}

#[test]
fn details_name_every_file_and_request_and_never_the_token() {
    let edge = FakeEdge::start();
    let ran = Project::site(&edge.url()).run(&["push", "-v"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(
        ran.stderr.contains("sent      dist/a/app.js  4 B") || ran.stderr.contains("dist/a/app.js  4 B"),
        "{ran:#?}"
    );
    let requests: Vec<&str> = ran.stderr.lines().filter(|line| line.trim_start().starts_with("request")).collect();
    assert_eq!(requests.len(), edge.seen().len(), "{ran:#?}");
    assert!(requests[0].contains("POST /v1/apps/shop/environments/prod/deploys  201  "), "{requests:?}");
    assert!(requests.iter().all(|line| line.ends_with(" ms")), "{requests:?}");
    assert!(!format!("{ran:?}").contains("t0ken"));
    assert!(!Project::site(&edge.url()).run(&["push"]).stderr.contains("request"));
    Project::site(&edge.url()).run(&["push", "-v", "-q", "--json"]).failed("usage", 2);
}

#[test]
fn an_interruption_at_a_question_ends_the_program() {
    let foreseen = serde_json::json!({
        "dry_run": true, "app": "shop", "until_ms": 0, "environments": ["prod"], "hostnames": [], "versions": 1,
    });
    interrupted_at_its_question(&["delete", "app"], &foreseen);
}

#[test]
fn a_question_says_that_visitors_are_held_on_what_goes() {
    let version = "ab".repeat(32);
    let foreseen = serde_json::json!({
        "dry_run": true, "app": "shop", "version": version, "until_ms": 0, "held_in": ["prod", "eu"],
    });
    let shown = interrupted_at_its_question(&["delete", "ababab"], &foreseen);
    assert!(shown.contains("at once. Visitors of prod, eu are held on it, and get what is live."), "{shown}");
    let foreseen = serde_json::json!({
        "dry_run": true, "app": "shop", "environment": "prod", "until_ms": 0, "environments": ["prod"],
        "hostnames": [], "versions": 0, "pinned": [version],
    });
    let shown = interrupted_at_its_question(&["delete", "environment", "prod"], &foreseen);
    assert!(shown.contains("Visitors are held on abababababab there"), "{shown}");
}

/// Returns the question of a command on a terminal, about a predicted deletion.
fn interrupted_at_its_question(arguments: &[&str], foreseen: &serde_json::Value) -> String {
    let edge = FakeEdge::refusing("DELETE", "dry_run=true", Reply::json(200, foreseen));
    let project = Project::site(&edge.url());
    let ((mut outer, inner), (_outer, stdin)) = (terminal(), terminal());
    let child = project.command(arguments).stdin(Stdio::from(stdin)).stderr(Stdio::from(inner)).spawn().unwrap();
    let (mut shown, mut piece) = (String::new(), [0; 256]);
    while !shown.contains("to go on: ") {
        let count = outer.read(&mut piece).unwrap();
        shown.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    signal(&child, "-INT");
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, Some(130), "{shown}");
    shown
}

/// Returns the content of a terminal of 30 lines with 120 columns after writing `text`.
fn screen(text: &str) -> Vec<String> {
    let mut parser = vt100::Parser::new(30.try_into().unwrap(), 120.try_into().unwrap(), 0);
    parser.process(text.as_bytes());
    let rows = parser.screen().rows(0, 120).map(|row| row.trim_end().to_owned());
    rows.filter(|row| !row.is_empty()).collect()
}

#[test]
fn no_frame_of_a_step_stays_on_the_screen() {
    let xterm = ("TERM", "xterm-256color");
    for variables in [&[][..], &[xterm, ("NO_COLOR", "1")], &[xterm], &[("TERM", "dumb")]] {
        let edge = slow_edge();
        let mut project = large_site(&edge);
        for (name, value) in variables {
            project = project.variable(name, value);
        }
        let (code, _, shown) = run_on_terminal(&project, &["push", "--jobs", "1"]);
        assert_eq!(code, Some(0), "{shown}");
        let mut rows = screen(&shown);
        // An upload of more than a second shows a rate behind its size.
        for row in rows.iter_mut().filter(|row| row.starts_with("  upload ") && row.ends_with("/s")) {
            row.truncate(row.find("3.0 MB").map_or(row.len(), |at| at + "3.0 MB".len()));
        }
        let expected = [
            "  scan      3 files, 3.0 MB",
            "  diff      3 new, 0 already there",
            "  upload    3/3  3.0 MB",
            "  switch    prod: it moves   (3 ms)",
        ];
        assert_eq!(rows, expected, "{variables:?}: {shown:?}");
        // A command with a step of its own, and a failing command.
        let (code, _, shown) = run_on_terminal(&project, &["check"]);
        assert_eq!((code, screen(&shown)), (Some(0), Vec::new()), "{variables:?}: {shown:?}");
        let (code, _, shown) = run_on_terminal(&project, &["push", "nowhere"]);
        let rows = screen(&shown);
        assert!(code == Some(2) && rows[0].starts_with("error: "), "{variables:?}: {rows:#?}");
    }
}

#[test]
fn a_value_is_requested_on_a_terminal_and_not_shown() {
    let edge = FakeEdge::start_with(|request, _| {
        request.target.contains("/settings").then(|| Reply::problem(Code::Forbidden))
    });
    let project = Project::site(&edge.url());
    let (mut outer, inner) = terminal();
    let mut child = project
        .command(&["env", "set", "API_KEY", "--secret"])
        .stdin(Stdio::from(inner.try_clone().unwrap()))
        .stderr(Stdio::from(inner))
        .spawn()
        .unwrap();
    let mut shown = Vec::new();
    let mut piece = [0; 4096];
    // The question appears only once the echo is off.
    while !String::from_utf8_lossy(&shown).contains("API_KEY (not shown): ") {
        let count = outer.read(&mut piece).unwrap();
        shown.extend_from_slice(&piece[..count]);
    }
    outer.write_all(b"hush hush\n").unwrap();
    while let Ok(count @ 1..) = outer.read(&mut piece) {
        shown.extend_from_slice(&piece[..count]);
    }
    child.wait().unwrap();
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(shown.contains("[forbidden]") && !shown.contains("hush"), "{shown:?}");
    let requests = edge.state.lock().unwrap().requests.clone();
    let sent = requests.iter().find(|request| request.target.contains("/settings")).unwrap();
    assert!(String::from_utf8_lossy(&sent.body).contains("\"hush hush\""), "{sent:?}");
}
