//! The last output of failed commands: the reason, the live version, suggestions, and the exit code.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it is"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cli_support::fake_edge::{FakeEdge, Reply, event};
use crate::cli_support::{NOTHING_LIVE, Project, Ran, STILL_RUNNING, signal};
use devanture_config::Digest;
use devanture_config::api::{Step, StepState};
use devanture_config::problem::{Code, Problem};

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
        let edge = FakeEdge::refusing(method, part, reply);
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

/// Waits until the edge has received a request whose line contains `part`, behind the first `before` requests.
fn wait_for_request(edge: &FakeEdge, before: usize, part: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !edge.seen().iter().skip(before).any(|line| line.contains(part)) {
        assert!(Instant::now() < deadline, "the command never came so far");
        std::thread::yield_now();
    }
}

/// Starts a push, sends a signal once the edge has received a further request whose line contains `part`, and returns
/// the output.
fn interrupted(edge: &FakeEdge, project: &Project, arguments: &[&str], part: &str, name: &str) -> Ran {
    let before = edge.seen().len();
    let child = project.command(arguments).spawn().unwrap();
    wait_for_request(edge, before, part);
    signal(&child, name);
    child.wait_with_output().unwrap().into()
}

/// Starts an edge that never finishes the answer to a request whose line contains `part`, once a version is live.
fn edge_that_takes_long(part: &'static str) -> FakeEdge {
    FakeEdge::start_with(move |request, state| {
        let is_meant = format!("{} {}", request.method, request.target).contains(part);
        (is_meant && state.live.is_some()).then(|| Reply::Endless(vec![": at work\n\n".to_owned()]))
    })
}

#[test]
fn a_signal_ends_a_push_with_the_sentence_and_its_exit_code() {
    for (name, exit) in [("-INT", 130), ("-TERM", 143)] {
        let edge = FakeEdge::refusing("POST", "/finish", Reply::Endless(vec![": at work\n\n".to_owned()]));
        let ran = interrupted(&edge, &Project::site(&edge.url()), &["push", "--json"], "/finish", name);
        let hint = ran.failed("interrupted", exit)["hint"].to_string();
        assert!(hint.contains("the edge goes on with ") && hint.contains("`devanture status`"), "{ran:#?}");
        assert!(!hint.contains("rollback"), "nothing was live: {ran:#?}");
        assert_eq!(ran.last_line(), NOTHING_LIVE, "{ran:#?}");
    }
}

/// From then on the edge is about to be replaced, and answers no request.
#[test]
fn a_second_signal_ends_a_command_that_asks_what_is_live() {
    for (arguments, part) in [(&["push", "--json"][..], "/finish"), (&["rollback", "--json"], "/rollback")] {
        let is_replaced = AtomicBool::new(false);
        let edge = FakeEdge::start_with(move |request, _| match request.method.as_str() {
            "POST" if request.target.ends_with(part) => {
                is_replaced.store(true, Ordering::Relaxed);
                Some(Reply::Endless(vec![": at work\n\n".to_owned()]))
            }
            "GET" => is_replaced.load(Ordering::Relaxed).then(|| Reply::problem(Code::Restarting)),
            _ => None,
        });
        let project = Project::site(&edge.url());
        let child = project.command(arguments).spawn().unwrap();
        wait_for_request(&edge, 0, part);
        let before = edge.seen().len();
        signal(&child, "-INT");
        wait_for_request(&edge, before, "GET ");
        signal(&child, "-INT");
        let ran: Ran = child.wait_with_output().unwrap().into();
        ran.failed("interrupted", 130);
        assert!(ran.last_line().starts_with("What is live is not known"), "{ran:#?}");
    }
}

#[test]
fn a_push_that_is_interrupted_after_the_edge_has_accepted_it_says_that_the_edge_goes_on() {
    let edge = edge_that_takes_long("/finish");
    let project = Project::site(&edge.url());
    assert_eq!(project.run(&["push"]).code, Some(0));
    project.file("dist/index.html", "changed");
    let ran = interrupted(&edge, &project, &["push", "--env", "prod", "--json"], "/finish", "-INT");
    let id = edge.state.lock().unwrap().begun.last().unwrap().manifest.id();
    assert_eq!(ran.last_line(), STILL_RUNNING, "{ran:#?}");
    let error = ran.failed("interrupted", 130);
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.starts_with(&format!("the edge goes on with {} and may make it live", id.short())), "{hint}");
    assert!(hint.contains("`devanture status --env prod` shows what is live"), "{hint}");
    assert!(hint.contains("`devanture rollback --env prod` undoes it"), "{hint}");
    let ran = interrupted(&edge, &project, &["push", "--no-switch", "--json"], "/finish", "-INT");
    assert!(ran.failed("interrupted", 130)["hint"].is_null(), "{ran:#?}");
    assert_eq!(ran.last_line(), STILL_RUNNING, "what is only stored does not go live");
}

#[test]
fn a_push_that_is_interrupted_before_the_edge_has_accepted_it_leaves_what_is_live() {
    let edge = edge_that_takes_long("/prod/deploys");
    let project = Project::site(&edge.url());
    assert_eq!(project.run(&["push"]).code, Some(0));
    project.file("dist/index.html", "changed");
    let ran = interrupted(&edge, &project, &["push", "--json"], "/prod/deploys", "-INT");
    assert!(ran.failed("interrupted", 130)["hint"].is_null(), "{ran:#?}");
    assert_eq!(ran.last_line(), STILL_RUNNING);
}

/// Waits until a program handles the terminating signals, SIGTERM last.
#[cfg(target_os = "linux")]
fn wait_for_handlers(child: &std::process::Child) {
    const SIGTERM: u32 = 15;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        if u64::from_str_radix(caught, 16).unwrap() & (1 << (SIGTERM - 1)) != 0 {
            return;
        }
        assert!(Instant::now() < deadline, "it handles no signal");
        std::thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_ends_a_command_that_waits_for_stdin_or_a_pipe() {
    use std::process::{Command, Stdio};

    let project = Project::site(&crate::cli_support::dead_url());
    assert!(Command::new("mkfifo").arg(project.path("pipe")).status().unwrap().success());
    for arguments in [
        &["env", "set", "A"][..],
        &["env", "set", "--from", "pipe"],
        &["webhooks", "add", "chat", "-"],
        &["push", "--sign", "pipe"],
    ] {
        for (name, exit) in [("-INT", 130), ("-TERM", 143)] {
            let mut child = project.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
            let input = child.stdin.take();
            wait_for_handlers(&child);
            signal(&child, name);
            let deadline = Instant::now() + Duration::from_secs(20);
            while child.try_wait().unwrap().is_none() {
                if Instant::now() >= deadline {
                    child.kill().unwrap();
                }
                std::thread::yield_now();
            }
            assert_eq!(child.wait().unwrap().code(), Some(exit), "{arguments:?}");
            drop(input);
        }
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
    // An existing name, and a dissimilar name, are no slips.
    for name in ["staging", "canary"] {
        assert_eq!(project.run(&["rollback", "--env", name, "--json"]).failed("no_previous", 1)["hint"], "Do this.");
    }
    let pushed = project.run(&["push", "--env", "stagng"]);
    assert!(pushed.stderr.contains("stagng is a new environment; did you mean staging?"), "{pushed:#?}");
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

/// Starts an edge that is lost during the watch of a push, and reports the end of the watch later.
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
    // A restarted edge knows the live version, but no watch.
    let edge = lost_in_the_watch(move || status("live", None));
    let ran = Project::site(&edge.url()).run(&["push", "--watch", "1s", "--json"]);
    let hint = ran.failed("unreachable", 3)["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("nobody heard its watch to the end"), "{ran:#?}");
    assert!(ran.last_line().ends_with("is live; the edge goes on watching it, and may go back."), "{ran:#?}");
}

#[test]
fn what_cannot_be_known_is_not_reported_to_be_so() {
    // The edge is lost with the archive, and no request is answered from then on.
    let is_lost = AtomicBool::new(false);
    let edge = FakeEdge::start_with(move |request, _| {
        let is_push = request.method == "POST" && request.target.contains("/deploys");
        let was_lost = is_lost.fetch_or(is_push, Ordering::Relaxed);
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
    let ran = project.run(&["rollback", "--env", "staging", "--json"]);
    ran.failed("unreachable", 3);
    assert_eq!(ran.last_line(), "What is live is not known: `devanture status --env staging` tells it.", "{ran:#?}");
    let edge = FakeEdge::refusing("POST", "/deploys", Reply::problem(Code::Deleted));
    assert_eq!(Project::site(&edge.url()).run(&["push"]).last_line(), NOTHING_LIVE);
}

#[cfg(target_os = "linux")]
#[test]
fn what_could_not_be_written_is_a_failure() {
    let edge = FakeEdge::start();
    let project = Project::site(&edge.url());
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ran: Ran = project.command(&["push", "--json"]).stdout(full).output().unwrap().into();
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("stdout cannot be written"), "{ran:#?}");
    assert!(edge.state.lock().unwrap().live.is_some());

    // Lines of a log are sent one at a time.
    let edge = FakeEdge::refusing("GET", "/logs", Reply::Events(vec!["event: line\ndata: {}\n\n".to_owned()]));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ran: Ran = Project::site(&edge.url()).command(&["logs", "--json"]).stdout(full).output().unwrap().into();
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("stdout cannot be written"), "{ran:#?}");
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
fn an_empty_folder_or_archive_replaces_no_data_by_mistake() {
    let edge = FakeEdge::start();
    let project = Project::site(&edge.url());
    std::fs::create_dir(project.path("empty")).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir(".", project.path("empty")).unwrap();
    let packed = zstd::encode_all(tar.into_inner().unwrap().as_slice(), 1).unwrap();
    std::fs::write(project.path("empty.tar.zst"), packed).unwrap();
    // Folders alone are no data either.
    std::fs::create_dir_all(project.path("hollow/uploads/2026")).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", project.path("hollow")).unwrap();
    let packed = zstd::encode_all(tar.into_inner().unwrap().as_slice(), 1).unwrap();
    std::fs::write(project.path("hollow.tar.zst"), packed).unwrap();
    for from in ["empty", "empty.tar.zst", "hollow", "hollow.tar.zst"] {
        for flag in ["--yes", "--dry-run"] {
            let error = project.run(&["data", "push", from, "--replace", flag, "--json"]).failed("usage", 2);
            assert!(error["message"].as_str().unwrap().contains("is empty, and would remove all data"), "{error}");
        }
    }
    assert_eq!(edge.seen(), [""; 0], "nothing was sent");
    for arguments in [&["empty", "--replace", "--allow-empty"][..], &["dist", "--replace"], &["empty"]] {
        project.run(&[&["data", "push", "--dry-run", "--json"], arguments].concat());
        let sent = edge.seen();
        assert!(sent.last().is_some_and(|line| line.contains("/data")), "{arguments:?}: {sent:?}");
        edge.state.lock().unwrap().requests.clear();
    }
}

#[test]
fn a_command_that_wants_yes_is_refused_with_what_it_would_do() {
    let project = Project::site("http://localhost:1");
    for arguments in [
        &["data", "restore", "mine"][..],
        &["data", "delete", "mine"],
        &["data", "push", "dist", "--replace"],
        &["scale", "web=0"],
        &["account", "delete", "ada"],
        &["delete", "app"],
        &["delete", "environment", "staging"],
        &["delete", "version", "abcdef"],
        &["delete", "/index.html"],
    ] {
        let error = project.run(&[arguments, &["--json"]].concat()).failed("usage", 2);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(" would "), "{arguments:?}: {message}");
        assert!(error["hint"].as_str().unwrap().contains("pass --yes"), "{arguments:?}: {error}");
    }
}

#[test]
fn an_environment_that_is_not_there_yet_is_noted_where_its_name_may_be_a_slip() {
    let staging = serde_json::json!({
        "name": "staging", "alias": false, "version": Digest::of(b"x"), "url": "https://staging", "since_ms": 0,
    });
    let edge = FakeEdge::start_with(move |request, _| {
        let path = request.target.split('?').next().unwrap();
        let place = path.split('/').nth(5).unwrap_or_default();
        let answer = match (request.method.as_str(), path.ends_with("/settings")) {
            ("PATCH", true) => serde_json::json!({
                "app": "shop", "environment": place, "changed": true, "revision": 1, "previous": 0, "set": ["A"],
                "unset": [], "live": false,
            }),
            (_, true) => serde_json::json!({ "app": "shop", "environment": place, "revision": 0, "settings": [] }),
            _ => serde_json::json!({ "app": "shop", "environment": place, "version": null, "places": [staging] }),
        };
        Some(Reply::json(200, &answer))
    });
    let project = Project::site(&edge.url());
    let note = "there is no environment stagin yet; did you mean staging?";
    for arguments in [&["env", "set", "A=b"][..], &["env", "list"], &["status"]] {
        for (environment, is_slip) in [("stagin", true), ("staging", false), ("other", false)] {
            let ran = project.run(&[arguments, &["--env", environment, "--json"]].concat());
            assert_eq!(ran.code, Some(0), "{ran:#?}");
            assert_eq!(ran.stderr.contains(note), is_slip, "{arguments:?} {environment}: {ran:#?}");
        }
    }
}
