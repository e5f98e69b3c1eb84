//! What a person sees: progress on a terminal, lines in CI, colours, details, and the last words of what failed.
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
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::cli_support::fake_edge::{FakeEdge, Reply, event};
use crate::cli_support::{Project, Ran};
use devanture_config::VersionId;
use devanture_config::api::{AppEnvironment, AppInfo, AppList, AppTotals, AppUsage, LimitUsage, Step, StepState};
use devanture_config::problem::{Code, Problem};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const STILL_RUNNING: &str = "The previous version is still running.";
const NOTHING_LIVE: &str = "Nothing is live yet; nothing has changed.";

/// A terminal: what is written to the second is read from the first.
fn terminal() -> (File, File) {
    let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&outer).unwrap();
    unlockpt(&outer).unwrap();
    let name = ptsname(&outer, Vec::new()).unwrap().into_string().unwrap();
    let inner = File::options().read(true).write(true).open(name).unwrap();
    tcsetwinsize(&inner, Winsize { ws_row: 30, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    (File::from(outer), inner)
}

/// Runs a command whose stderr is a terminal; gives its exit code, its stdout and what the terminal showed.
fn run_on_terminal(project: &Project, arguments: &[&str]) -> (Option<i32>, String, String) {
    let (mut outer, inner) = terminal();
    let mut child = project.command(arguments).stderr(Stdio::from(inner)).spawn().unwrap();
    let reader = std::thread::spawn(move || {
        let mut shown = Vec::new();
        let mut piece = [0; 4096];
        // The system says an error where the last writer has gone.
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

/// An edge that takes its time with every blob, so that there is something to see.
fn slow_edge() -> FakeEdge {
    FakeEdge::start_with(|request, _| {
        if request.method == "PUT" {
            // The answer is late; nothing here waits for it.
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
    // Colours, unless they are not wanted; the bar is none.
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
        paused,
        locked: false,
        damaged: paused,
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
            format!("staging {staging} 2023-11-14 22:13:20 UTC by grace paused, damaged"),
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

/// An edge that answers requests whose target ends so with this, and all others as it should.
fn refusing(method: &'static str, part: &'static str, reply: Reply) -> FakeEdge {
    FakeEdge::start_with(move |request, _| {
        (request.method == method && request.target.contains(part)).then(|| reply.clone())
    })
}

#[test]
fn every_push_that_fails_says_why_and_what_is_live() {
    let step = Step { name: "prepare".to_owned(), state: StepState::Failed, detail: "exit code 1".to_owned(), ms: 1 };
    let not_ready = Problem::new(Code::NotReady, "The backend did not start.").hint("look at its log");
    let stopped = Reply::Events(vec![event("step", &step), event("problem", &not_ready)]);
    for (method, part, reply, code, exit, last) in [
        ("POST", "/deploys", Reply::problem(Code::BadToken), "bad_token", 4, STILL_RUNNING),
        ("POST", "/deploys", Reply::problem(Code::BundleTooLarge), "bundle_too_large", 1, NOTHING_LIVE),
        ("POST", "/deploys", Reply::problem(Code::Internal), "internal", 1, NOTHING_LIVE),
        ("POST", "/deploys", Reply::Whole(502, "text/html", b"<h1>".to_vec()), "unreachable", 3, STILL_RUNNING),
        ("PUT", "/blobs", Reply::problem(Code::TooLarge), "too_large", 1, NOTHING_LIVE),
        ("PUT", "/blobs", Reply::problem(Code::DiskFull), "disk_full", 1, NOTHING_LIVE),
        ("POST", "/finish", stopped, "not_ready", 1, NOTHING_LIVE),
        ("POST", "/finish", Reply::problem(Code::Superseded), "superseded", 1, NOTHING_LIVE),
    ] {
        let edge = refusing(method, part, reply);
        let ran = Project::site(&edge.url()).run(&["push", "--json"]);
        let error = ran.failed(code, exit);
        assert_eq!(ran.last_line(), last, "{code}: {ran:#?}");
        let lines: Vec<&str> = ran.stderr.lines().collect();
        let reason = lines.iter().find(|line| line.starts_with("error: ")).unwrap();
        assert!(
            reason.contains(error["message"].as_str().unwrap()) && reason.ends_with(&format!("[{code}]")),
            "{ran:#?}"
        );
        if code == "not_ready" {
            assert!(lines.iter().any(|line| line.contains("exit code 1")), "{ran:#?}");
        }
    }
}

/// Waits until the edge has seen a request whose target ends so.
fn wait_for(edge: &FakeEdge, end: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !edge.seen().iter().any(|line| line.ends_with(end)) {
        assert!(Instant::now() < deadline, "the push never came so far");
        std::thread::yield_now();
    }
}

fn signal(child: &Child, name: &str) {
    let sent = std::process::Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_signal_ends_a_push_with_the_sentence_and_its_exit_code() {
    for (name, exit) in [("-INT", 130), ("-TERM", 143)] {
        let edge = refusing("POST", "/finish", Reply::Endless(vec![": at work\n\n".to_owned()]));
        let project = Project::site(&edge.url());
        let child = project.command(&["push", "--json"]).spawn().unwrap();
        wait_for(&edge, "/finish");
        signal(&child, name);
        let ran: Ran = child.wait_with_output().unwrap().into();
        ran.failed("interrupted", exit);
        assert_eq!(ran.last_line(), NOTHING_LIVE, "{ran:#?}");
    }
}

#[test]
fn a_push_whose_output_nobody_reads_goes_on() {
    let edge = FakeEdge::start();
    let project = Project::site(&edge.url());
    let mut child = project.command(&["push"]).spawn().unwrap();
    drop(child.stdout.take());
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(edge.state.lock().unwrap().live.is_some());
}

#[test]
fn a_slip_of_an_environment_gets_a_suggestion() {
    let edge = FakeEdge::start_with(|request, _| {
        let status = serde_json::json!({
            "app": "shop", "environment": "prod", "version": null, "since_ms": null, "deploy": null, "urls": null,
            "hostnames": [], "places": [
                { "name": "staging", "alias": false, "version": "ab".repeat(32), "url": "https://s.localhost" },
            ],
        });
        match (request.method.as_str(), request.target.as_str()) {
            ("GET", "/v1/apps/shop/environments/prod") => Some(Reply::json(200, &status)),
            ("POST", target) if target.ends_with("/rollback") => Some(Reply::problem(Code::NoPrevious)),
            ("POST", target) if target.ends_with("/promote") => Some(Reply::problem(Code::NothingLive)),
            _ => None,
        }
    });
    let project = Project::site(&edge.url());
    let expected = "there is no environment \"stagng\": did you mean \"staging\"?";
    let promote = &["promote", "--from", "stagng", "--to", "prod", "--json"][..];
    for (arguments, code) in
        [(&["rollback", "--env", "stagng", "--json"][..], "no_previous"), (promote, "nothing_live")]
    {
        assert_eq!(project.run(arguments).failed(code, 1)["hint"], expected);
    }
    // One that is there, and one that is like none, are no slips.
    for name in ["staging", "canary"] {
        assert_eq!(project.run(&["rollback", "--env", name, "--json"]).failed("no_previous", 1)["hint"], "Do as told.");
    }
    let pushed = project.run(&["push", "--env", "stagng"]);
    assert!(pushed.stderr.contains("stagng is a new environment; did you mean staging?"), "{pushed:#?}");
}

/// An edge that is lost in the watch of a push, and reports later how the watch ended.
fn lost_in_the_watch(ended: impl Fn() -> serde_json::Value + Send + Sync + 'static) -> FakeEdge {
    FakeEdge::start_with(move |request, state| match (request.method.as_str(), request.target.as_str()) {
        ("POST", "/v1/apps/shop/deploys/d1/finish") => {
            let step = Step { name: "switch".to_owned(), state: StepState::Done, detail: "moved".to_owned(), ms: 1 };
            state.live = state.begun.last().map(|begin| begin.manifest.clone());
            Some(Reply::Events(vec![event("step", &step)]))
        }
        ("GET", "/v1/apps/shop/deploys/d1") => Some(Reply::json(200, &ended())),
        _ => None,
    })
}

#[test]
fn a_push_whose_watch_is_not_heard_to_the_end_asks_how_it_ended() {
    let status = |state: &str, problem: Option<Problem>| {
        serde_json::json!({
            "deploy": "d1", "app": "shop", "environment": "prod", "state": state, "version": null, "steps": [],
            "problem": problem,
        })
    };
    let undone = Problem::new(Code::WatchFailed, "404 rose.").hint("look at the log");
    let edge = lost_in_the_watch(move || status("failed", Some(undone.clone())));
    let ran = Project::site(&edge.url()).run(&["push", "--watch", "1s", "--json"]);
    assert_eq!(ran.failed("watch_failed", 1)["message"], "404 rose.");
    // A restarted edge knows that it went live, and has no watch.
    let edge = lost_in_the_watch(move || status("live", None));
    let ran = Project::site(&edge.url()).run(&["push", "--watch", "1s", "--json"]);
    let hint = ran.failed("unreachable", 3)["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("nobody heard its watch to the end"), "{ran:#?}");
    assert!(ran.last_line().ends_with("is live; the edge goes on watching it, and may go back."), "{ran:#?}");
}

#[test]
fn what_cannot_be_known_is_not_reported_to_be_so() {
    // The archive is with the edge when it is lost, and nobody answers from then on.
    let is_lost = std::sync::atomic::AtomicBool::new(false);
    let edge = FakeEdge::start_with(move |request, _| {
        let is_push = request.method == "POST" && request.target.contains("/deploys");
        let was_lost = is_lost.fetch_or(is_push, std::sync::atomic::Ordering::Relaxed);
        (is_push || was_lost).then_some(Reply::Cut)
    });
    let project = Project::site(&edge.url());
    std::fs::write(project.path("site.zip"), b"PK\x03\x04").unwrap();
    let ran = project.run(&["push", "site.zip", "--json"]);
    ran.failed("unreachable", 3);
    assert_eq!(ran.last_line(), "What is live is not known: `devanture status` tells it.", "{ran:#?}");
    let ran = project.run(&["rollback", "--json"]);
    ran.failed("unreachable", 3);
    assert_eq!(ran.last_line(), "What is live is not known: `devanture status` tells it.", "{ran:#?}");
    let edge = refusing("POST", "/deploys", Reply::problem(Code::Deleted));
    assert_eq!(Project::site(&edge.url()).run(&["push"]).last_line(), NOTHING_LIVE);
}

#[cfg(target_os = "linux")]
#[test]
fn what_could_not_be_written_is_a_failure() {
    let edge = FakeEdge::start();
    let project = Project::site(&edge.url());
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ran: Ran = project.command(&["push", "--json"]).stdout(full).output().unwrap().into();
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("stdout cannot be written"), "{ran:#?}");
    assert!(edge.state.lock().unwrap().live.is_some());
}

#[test]
fn a_purge_of_an_app_or_an_environment_wants_yes() {
    let edge = FakeEdge::start();
    let project = Project::site(&edge.url());
    for target in [&["delete", "app"][..], &["delete", "environment", "staging"]] {
        for flags in [&["--purge"][..], &["--now"], &["--now", "--purge"]] {
            let error = project.run(&[target, flags, &["--json"]].concat()).failed("usage", 2);
            assert!(error["hint"].as_str().unwrap().contains("pass --yes to mean it"), "{error}");
        }
    }
    assert_eq!(edge.seen(), [""; 0], "nothing was sent");
}

#[test]
fn an_interruption_at_a_question_ends_the_program() {
    let foreseen = serde_json::json!({
        "dry_run": true, "app": "shop", "until_ms": 0, "environments": ["prod"], "hostnames": [], "versions": 1,
    });
    let edge = refusing("DELETE", "dry_run=true", Reply::json(200, &foreseen));
    let project = Project::site(&edge.url());
    let ((mut outer, inner), (_outer, stdin)) = (terminal(), terminal());
    let child =
        project.command(&["delete", "app"]).stdin(Stdio::from(stdin)).stderr(Stdio::from(inner)).spawn().unwrap();
    let (mut shown, mut piece) = (String::new(), [0; 256]);
    while !shown.contains("to go on: ") {
        let count = outer.read(&mut piece).unwrap();
        shown.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    signal(&child, "-INT");
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, Some(130), "{shown}");
}

#[test]
fn a_slip_of_a_command_gets_a_suggestion() {
    let edge = FakeEdge::start();
    let project = Project::site(&edge.url());
    for (arguments, meant) in
        [(["psh", "--json"], "push"), (["push", "--jso"], "--json"), (["stats", "--json"], "status")]
    {
        let ran = project.run(&arguments);
        assert_eq!(ran.code, Some(2), "{ran:#?}");
        let output = ran.stderr.clone() + &ran.stdout;
        assert!(output.contains(meant), "{arguments:?}: {ran:#?}");
        if arguments[1] == "--json" {
            assert_eq!(ran.failed("usage", 2)["hint"], format!("did you mean `{meant}`?"));
        }
    }
}

/// What stands on a terminal of 30 lines with 120 columns after `text` was written to it.
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
        // An upload of more than a second has a rate behind its size.
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
        // A command with a step of its own, and one that fails.
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
    // The question is there only once nothing that is typed is shown.
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
