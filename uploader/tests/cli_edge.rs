//! `devanture` against a fake edge: requests, output, and reactions to misbehaviour.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cli_support::fake_edge::{FakeEdge, Reply, event, urls};
use crate::cli_support::{NOTHING_LIVE, Project, STILL_RUNNING, write};
use devanture_config::Digest;
use devanture_config::api::{AliasList, Deploy, DeployKind, History, Outcome, PlaceStatus, SwitchReport};
use devanture_config::problem::{Code, Exit, Problem};

#[test]
fn a_push_sends_what_is_missing_and_reports_its_steps() {
    let edge = FakeEdge::start();
    let project = Project::site(&edge.url());
    project.file("dist/copy.html", "<h1>Hi</h1>");
    project.file("dist/empty.txt", "");
    write(&project.path("dist/big.bin"), &vec![7; 1_000_000]);
    let ran = project.run(&["push", "-m", "First"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let id = project.run(&["push", "--dry-run", "--quiet"]).stdout;
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(
        lines,
        [
            "  scan      5 files, 1.0 MB",
            "  diff      5 new, 0 already there",
            "  upload    5/5  1.0 MB",
            "  switch    prod: it moves   (3 ms)",
        ]
    );
    assert_eq!(ran.stdout, "  ready     https://shop.localhost  ·  preview https://preview.localhost\n");
    let state = edge.state.lock().unwrap();
    assert_eq!(state.blobs.len(), 4);
    assert_eq!(state.blobs[&Digest::of(&vec![7; 1_000_000])].len(), 1_000_000);
    assert_eq!(state.begun[0].source.message.as_deref(), Some("First"));
    assert_eq!(state.live.as_ref().unwrap().id().to_string(), id.trim_end());
    for request in &state.requests {
        assert_eq!(request.headers["authorization"], "Bearer t0ken");
        assert!(!request.target.starts_with("/v1/apps/shop/blobs") || request.target.ends_with("?deploy=d1"));
    }
}

#[test]
fn a_second_push_sends_what_is_new_and_a_third_nothing() {
    let edge = FakeEdge::start();
    let project = Project::site(&edge.url());
    let first = project.run(&["push", "--json"]).json();
    assert_eq!((&first["files"]["new"], &first["previous"]), (&2.into(), &serde_json::Value::Null));
    project.file("dist/index.html", "<h1>Ho</h1>");
    let second = project.run(&["push", "--json"]).json();
    assert_eq!((&second["files"]["new"], &second["files"]["total"]), (&1.into(), &2.into()));
    assert_eq!(second["bytes"]["sent"], 11);
    assert_eq!(second["previous"], first["version"]);
    let names: Vec<&str> = second["steps"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["scan", "diff", "upload", "switch"]);
    let third = project.run(&["push"]);
    assert_eq!(third.code, Some(0), "{third:#?}");
    assert!(third.stderr.contains("  upload    nothing to send\n"), "{third:#?}");
    assert!(third.stdout.contains("is live in prod already; nothing was sent, nothing has changed"), "{third:#?}");
    let json = project.run(&["push", "--json"]).json();
    assert_eq!((&json["version"], &json["switched"]), (&second["version"], &false.into()));
    assert_eq!(edge.seen().iter().filter(|line| line.starts_with("PUT")).count(), 3);
}

#[test]
fn how_a_push_is_to_end_is_sent() {
    let edge = FakeEdge::start();
    let project = Project::site(&edge.url());
    let ran =
        project.run(&["push", "--no-switch", "--force", "--if-live", "ABCDEF", "--allow-warnings", "--env", "staging"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stdout.contains("  stored    preview https://preview.localhost\n"), "{ran:#?}");
    assert!(ran.stdout.lines().last().unwrap().ends_with(" --env staging"), "{ran:#?}");
    let state = edge.state.lock().unwrap();
    let options = &state.begun[0].options;
    assert!(options.no_switch && options.force && options.allow_warnings && !options.allow_refingerprint);
    assert_eq!(options.if_live.as_deref(), Some("abcdef"));
    assert_eq!(state.requests[0].target, "/v1/apps/shop/environments/staging/deploys");
}

/// Starts an edge whose `finish` ends with `reply` from the second push on, or, if `at_once`, from the first.
fn edge_that_fails(at_once: bool, reply: Reply) -> FakeEdge {
    FakeEdge::start_with(move |request, state| {
        let is_due = request.target.ends_with("/finish") && (at_once || state.live.is_some());
        is_due.then(|| reply.clone())
    })
}

#[test]
fn after_a_push_that_failed_the_last_line_says_what_is_live() {
    let reply = Reply::Events(vec![event("problem", &Problem::new(Code::DiskFull, "No room.").hint("Make some."))]);
    let project = Project::site(&edge_that_fails(true, reply.clone()).url());
    let ran = project.run(&["push", "--json"]);
    let error = ran.failed("disk_full", 1);
    assert_eq!((&error["message"], &error["hint"]), (&"No room.".into(), &"Make some.".into()));
    assert_eq!(ran.last_line(), NOTHING_LIVE);

    let edge = edge_that_fails(false, reply);
    let project = Project::site(&edge.url());
    assert_eq!(project.run(&["push"]).code, Some(0));
    project.file("dist/new.html", "new");
    let ran = project.run(&["push"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.last_line()), (Some(1), "", STILL_RUNNING), "{ran:#?}");
    assert!(ran.stderr.contains("error: No room.  [disk_full]\nhint: Make some.\n"), "{ran:#?}");
    // A push that ended before any request.
    assert_eq!(project.run(&["push", "missing"]).last_line(), STILL_RUNNING);
    let fresh = Project::site(&FakeEdge::start().url());
    assert_eq!(fresh.run(&["push", "missing"]).last_line(), NOTHING_LIVE);
}

#[test]
fn codes_decide_the_exit_and_codes_of_tomorrow_are_passed_on() {
    for (code, exit) in [(Code::BadToken, 4), (Code::Forbidden, 4), (Code::BadManifest, 1), (Code::Superseded, 1)] {
        let edge = FakeEdge::start_with(move |_, _| Some(Reply::problem(code)));
        Project::site(&edge.url()).run(&["push", "--json"]).failed(code.as_str(), exit);
    }
    let edge = FakeEdge::start_with(|_, _| {
        let body = br#"{"code":"of_tomorrow","detail":"It is new.","status":409}"#;
        Some(Reply::Whole(409, "application/problem+json", body.to_vec()))
    });
    let ran = Project::site(&edge.url()).run(&["push", "--json"]);
    assert_eq!(ran.failed("of_tomorrow", 1)["message"], "It is new.");
}

#[test]
fn what_is_not_an_edge_is_reported() {
    for reply in [
        Reply::Whole(200, "text/html", b"<h1>Hello</h1>".to_vec()),
        Reply::Whole(404, "text/html", b"<h1>No</h1>".to_vec()),
        Reply::Redirect("http://127.0.0.1:1/".to_owned()),
    ] {
        let edge = FakeEdge::start_with(move |_, _| Some(reply.clone()));
        let error = Project::site(&edge.url()).run(&["status", "--json"]).failed("unreachable", 3);
        assert!(error["hint"].as_str().unwrap().contains("admin listener"), "{error}");
        assert_eq!(edge.seen().len(), 1);
    }
}

#[test]
fn what_may_help_is_tried_again() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tries);
    let edge = FakeEdge::start_with(move |request, _| {
        let is_due = request.method == "PUT" || request.target.ends_with("/deploys");
        (is_due && counter.fetch_add(1, Ordering::Relaxed).is_multiple_of(2)).then(|| match request.method.as_str() {
            "PUT" => Reply::Cut,
            _ => Reply::problem(Code::Busy),
        })
    });
    let ran = Project::site(&edge.url()).run(&["push", "--jobs", "1", "--json"]);
    assert_eq!(ran.json()["files"]["new"], 2, "{ran:#?}");
    assert_eq!(tries.load(Ordering::Relaxed), 6);

    let edge = FakeEdge::start_with(|request, _| (request.method == "PUT").then(|| Reply::problem(Code::Busy)));
    let error = Project::site(&edge.url()).run(&["push", "--jobs", "1", "--json"]).failed("busy", 3);
    assert_eq!(edge.seen().iter().filter(|line| line.starts_with("PUT")).count(), 7);
    let hint = error["hint"].as_str().unwrap();
    assert_eq!(hint, "the same push again sends only what has not arrived; Do this.");
}

#[test]
fn a_body_that_stopped_on_its_way_is_sent_again_over_another_connection() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tries);
    let edge = FakeEdge::start_with(move |request, _| {
        let is_first = request.method == "PUT" && counter.fetch_add(1, Ordering::Relaxed) == 0;
        is_first.then(|| Reply::problem(Code::BodyStalled))
    });
    let ran = Project::site(&edge.url()).run(&["push", "--jobs", "1", "--json"]);
    assert_eq!(ran.json()["files"]["new"], 2, "{ran:#?}");
    assert_eq!(tries.load(Ordering::Relaxed), 3);
    // A stalled connection is no mistake of the request.
    assert_eq!(Code::BodyStalled.exit(), Exit::Unreachable);
}

#[test]
fn an_app_that_is_not_there_is_not_pushed_to_be_deleted() {
    let edge = FakeEdge::start_with(|_, _| Some(Reply::problem(Code::NotFound)));
    let error = Project::site(&edge.url()).run(&["delete", "app", "--yes", "--json"]).failed("not_found", 1);
    assert_eq!(error["hint"], "check how its name is spelt; nothing was deleted");
}

#[test]
fn a_token_that_may_read_and_not_push_learns_what_is_live() {
    let edge = FakeEdge::start_with(|request, _| (request.method == "POST").then(|| Reply::problem(Code::Forbidden)));
    let ran = Project::site(&edge.url()).run(&["push", "--json"]);
    ran.failed("forbidden", 4);
    assert_eq!(ran.last_line(), NOTHING_LIVE, "{ran:#?}");
}

#[test]
fn a_file_that_changes_before_it_is_sent_is_read_again() {
    for (changes, is_done) in [(1, true), (usize::MAX, false)] {
        let project = Project::site("");
        let path = project.path("dist/index.html");
        let begun = AtomicUsize::new(0);
        let edge = FakeEdge::start_with(move |request, _| {
            let count = request.target.ends_with("/deploys").then(|| begun.fetch_add(1, Ordering::Relaxed));
            if let Some(count) = count.filter(|count| *count < changes) {
                write(&path, format!("<h1>H{count}</h1>").as_bytes());
            }
            None
        });
        let ran = project.run(&["push", "--url", &edge.url(), "--json"]);
        if is_done {
            assert_eq!(ran.json()["files"]["total"], 2, "{ran:#?}");
            assert!(ran.stderr.contains("index.html has changed; the folder is read again"), "{ran:#?}");
        } else {
            let error = ran.failed("unreadable_file", 2);
            assert!(error["message"].as_str().unwrap().contains("keeps changing"), "{error}");
            assert_eq!(ran.last_line(), NOTHING_LIVE);
        }
        let state = edge.state.lock().unwrap();
        assert_eq!(state.begun.len(), if is_done { 2 } else { 3 });
        assert_eq!(state.live.is_some(), is_done);
    }
}

#[test]
fn an_edge_that_is_lost_at_the_end_is_asked_what_came_of_it() {
    let went_live = FakeEdge::start_with(|request, state| {
        request.target.ends_with("/finish").then(|| {
            state.live = Some(state.begun.last().unwrap().manifest.clone());
            Reply::Events(vec![": cut short\n\n".to_owned()])
        })
    });
    let ran = Project::site(&went_live.url()).run(&["push", "--json"]);
    let json = ran.json();
    assert_eq!((ran.code, &json["switched"], &json["files"]["new"]), (Some(0), &true.into(), &2.into()), "{ran:#?}");

    for reply in [Reply::Cut, Reply::Events(Vec::new())] {
        let lost = edge_that_fails(true, reply);
        let ran = Project::site(&lost.url()).run(&["push", "--json"]);
        let error = ran.failed("unreachable", 3);
        assert!(error["hint"].as_str().unwrap().contains("may still be at work"), "{error}");
        assert_eq!(ran.last_line(), NOTHING_LIVE, "{ran:#?}");
    }
}

#[test]
fn an_archive_is_sent_as_it_is() {
    let edge = FakeEdge::start_with(|request, _| {
        let is_archive = request.headers.get("content-type").is_some_and(|value| value == "application/zip");
        is_archive.then(|| {
            let report = serde_json::json!({
                "app": "shop", "environment": "prod", "version": Digest::of(b""), "previous": null, "urls": urls(),
                "files": { "total": 1, "new": 1 }, "bytes": { "total": 1, "sent": 1 }, "deploy": "d1", "switched": false,
                "steps": [{ "name": "upload", "state": "done", "detail": "1 file", "ms": 1 }],
            });
            Reply::json(200, &report)
        })
    });
    let project = Project::site(&edge.url());
    write(&project.path("site.zip"), b"PK not really");
    let ran = project.run(&["push", "site.zip", "--no-switch", "-m", "A & B", "--json"]);
    assert_eq!(ran.json()["deploy"], "d1", "{ran:#?}");
    assert_eq!(ran.json()["steps"].as_array().unwrap().len(), 1, "an upload is told once: {ran:#?}");
    let state = edge.state.lock().unwrap();
    let sent = state.requests.last().unwrap();
    assert_eq!(sent.target, "/v1/apps/shop/environments/prod/deploys?no_switch=true&message=A+%26+B");
    assert_eq!(sent.body, b"PK not really");
}

fn report(previous: Option<Digest>) -> SwitchReport {
    SwitchReport {
        dry_run: false,
        app: "shop".parse().unwrap(),
        environment: "staging".parse().unwrap(),
        version: Digest::of(b"new"),
        previous,
        switched: true,
        urls: urls(),
        deploy: Some("d2".to_owned()),
        ms: 2,
        steps: Vec::new(),
        settings: None,
        paused: None,
    }
}

/// An entry of a history.
fn deploy() -> Deploy {
    Deploy {
        id: "d1".to_owned(),
        kind: DeployKind::Push,
        environment: "staging".parse().unwrap(),
        version: Digest::of(b"new"),
        previous: None,
        who: "ci".to_owned(),
        at_ms: 0,
        source: Default::default(),
        steps: Vec::new(),
        outcome: Outcome::Live,
        alias: None,
        problem: None,
        went_back: None,
        reason: None,
        halves: None,
        with: None,
        log: Vec::new(),
        settings: 0,
    }
}

#[test]
fn every_other_command_is_one_question_to_the_edge() {
    let deploy = deploy();
    let place = PlaceStatus {
        name: "feature-x".parse().unwrap(),
        alias: true,
        version: Digest::of(b"new"),
        url: "https://x".to_owned(),
        since_ms: 0,
        who: None,
        expires_ms: None,
    };
    let edge = FakeEdge::start_with(move |request, _| {
        let path = request.target.split('?').next().unwrap();
        Some(match (request.method.as_str(), path.rsplit('/').next().unwrap()) {
            ("POST", _) => Reply::json(200, &report(Some(Digest::of(b"old")))),
            ("GET", "history") => Reply::json(
                200,
                &History {
                    app: "shop".parse().unwrap(),
                    environment: "staging".parse().unwrap(),
                    deploys: vec![deploy.clone()],
                    deleted: Vec::new(),
                    collected: Vec::new(),
                    unreadable: 0,
                    next: Some("d0".to_owned()),
                },
            ),
            ("GET", "aliases") => {
                let list = AliasList { app: "shop".parse().unwrap(), aliases: vec![place.clone()], next: None };
                Reply::json(200, &list)
            }
            ("PUT", _) => Reply::json(200, &place),
            ("DELETE", _) => Reply::Whole(204, "text/plain", Vec::new()),
            _ => return None,
        })
    });
    let project = Project::site(&edge.url());
    let short = Digest::of(b"new").short();
    for (arguments, request, body, text) in [
        (
            "switch abcdef --if-live 123456",
            "POST /v1/apps/shop/environments/staging/switch",
            r#""version":"abcdef","if_live":"123456""#,
            "2 ms",
        ),
        ("rollback", "POST /v1/apps/shop/environments/staging/rollback", "{}", &short),
        (
            "rollback abcdef --if-live 123456",
            "POST /v1/apps/shop/environments/staging/rollback",
            r#"{"version":"abcdef","if_live":"123456"}"#,
            "  undo      devanture switch",
        ),
        (
            "promote --from prod --to staging",
            "POST /v1/apps/shop/environments/staging/promote",
            r#"{"from":"prod"}"#,
            &short,
        ),
        (
            "promote abcdef --from prod --to staging --if-live 123456",
            "POST /v1/apps/shop/environments/staging/promote",
            r#"{"from":"prod","version":"abcdef","if_live":"123456"}"#,
            &short,
        ),
        (
            "history -n 5 --before d9",
            "GET /v1/apps/shop/environments/staging/history?limit=5&before=d9",
            "",
            "1970-01-01 00:00:00 UTC",
        ),
        ("status", "GET /v1/apps/shop/environments/staging?nodes=true", "", "nothing is live yet"),
        ("alias set feature-x abcdef", "PUT /v1/apps/shop/aliases/feature-x", r#"{"version":"abcdef"}"#, "https://x"),
        ("alias list", "GET /v1/apps/shop/aliases?limit=1000", "", "feature-x"),
        ("alias delete feature-x", "DELETE /v1/apps/shop/aliases/feature-x", "", "The alias feature-x is gone"),
    ] {
        let words: Vec<&str> = arguments.split(' ').chain(["--env", "staging"]).collect();
        let ran = project.run(&words);
        assert_eq!(ran.code, Some(0), "{arguments}: {ran:#?}");
        assert!(ran.stdout.contains(text), "{arguments}: {ran:#?}");
        assert_eq!(edge.seen().last().map(String::as_str), Some(request));
        let sent = edge.state.lock().unwrap().requests.last().unwrap().body.clone();
        assert!(String::from_utf8(sent).unwrap().contains(body), "{arguments}");
        let words: Vec<&str> = words.into_iter().chain(["--json"]).collect();
        project.run(&words).json();
    }
    project.run(&["promote", "--from", "prod", "--to", "prod", "--json"]).failed("usage", 2);
}

fn server_config(
    certificate: rustls::pki_types::CertificateDer<'static>,
    key: &rcgen::KeyPair,
) -> rustls::ServerConfig {
    let der = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    config.with_no_client_auth().with_single_cert(vec![certificate], der).unwrap()
}

#[test]
fn a_ca_of_ones_own_is_trusted_where_it_is_named() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let edge = FakeEdge::start_tls(server_config(key.cert.der().clone(), &key.signing_key));
    let project = Project::site(&edge.url());
    project.file("ca.pem", &key.cert.pem());
    let ran = project.run(&["push", "--ca", "ca.pem", "--jobs", "1", "--json"]);
    assert_eq!(ran.json()["switched"], true, "{ran:#?}");
    let error = project.run(&["status", "--json"]).failed("unreachable", 3);
    assert!(error["hint"].as_str().unwrap().contains("set DEVANTURE_CA"), "{error}");
    // `openssl req -x509` makes a CA's certificate, used here as the server's own.
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let own = FakeEdge::start_tls(server_config(certificate.der().clone(), &key));
    project.file("own.pem", &certificate.pem());
    let ran = project.run(&["push", "--ca", "own.pem", "--url", &own.url(), "--jobs", "1", "--json"]);
    assert_eq!(ran.json()["switched"], true, "{ran:#?}");
    let ran = project.run(&["status", "--ca", "ca.pem", "--url", &own.url(), "--json"]);
    assert!(ran.failed("unreachable", 3)["hint"].as_str().unwrap().contains("signed itself"), "{ran:#?}");
    project.file("ca.pem", "nothing");
    project.run(&["status", "--ca", "ca.pem", "--json"]).failed("usage", 2);
    project.run(&["status", "--ca", "missing.pem", "--json"]).failed("usage", 2);
}

#[test]
fn an_address_without_https_is_reported() {
    // An edge answers plain HTTP with a TLS alert, which is no HTTP.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read, Write};
            let mut stream = stream.unwrap();
            stream.read_exact(&mut [0]).ok();
            stream.write_all(b"\x15\x03\x01\0\x02\x02\x0a").ok();
        }
    });
    let error = Project::site(&url).run(&["status", "--json"]).failed("unreachable", 3);
    assert!(error["hint"].as_str().unwrap().contains("speaks https"), "{error}");
}

/// Makes a tar of files with one line each.
fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn what_an_archive_leaves_out_and_its_secrets_are_reported_as_of_a_folder() {
    let edge = FakeEdge::start_with(|request, _| (request.method == "POST").then(|| Reply::problem(Code::DiskFull)));
    let project = Project::site(&edge.url());
    let token = format!("ghp_{}", "Ab3dE5gH7jK9".repeat(3));
    let files = [("index.html", "hi"), (".env", "A=b"), ("keys/id_rsa", "x"), ("app.js", token.as_str())];
    write(&project.path("site.tar"), &tar_of(&files));
    let ran = project.run(&["push", "site.tar"]);
    assert!(ran.stderr.contains("left out: .env, keys/id_rsa"), "{ran:#?}");
    assert!(ran.stderr.contains("warning") && ran.stderr.contains("app.js holds a token of GitHub"), "{ran:#?}");
    let before = edge.seen().len();
    let ran = project.run(&["push", "site.tar", "--strict", "--json"]);
    let error = ran.failed("bad_bundle", 2);
    let refused: Vec<_> = error["mistakes"].as_array().unwrap().iter().map(|m| m["file"].as_str().unwrap()).collect();
    assert_eq!(refused, ["site.tar/.env", "site.tar/keys/id_rsa"], "{error}");
    assert!(edge.seen()[before..].iter().all(|line| line.starts_with("GET")), "nothing was sent: {:?}", edge.seen());
    // Left-out files are unknown in an unreadable archive.
    write(&project.path("broken.tar"), b"no tar");
    project.run(&["push", "broken.tar", "--strict", "--json"]).failed("unreadable_file", 2);
    write(&project.path("fine.tar"), &tar_of(&files[..1]));
    project.run(&["push", "fine.tar", "--strict", "--json"]).failed("disk_full", 1);
}
