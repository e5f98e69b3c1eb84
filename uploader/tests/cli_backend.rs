//! `devanture` with a backend in the bundle: sent files, selection of the app, and the commands about instances.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Stdio;

use crate::cli_support;
use crate::cli_support::Project;
use crate::cli_support::fake_edge::{FakeEdge, Reply, event};
use devanture_config::api::{InstanceList, InstanceState, InstanceStatus, Step, StepState};
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::{Instances, Kind};
use devanture_config::{Digest, VersionId};

const STILL_RUNNING: &str = "The previous version is still running.";
const SERVER: &str = "app = \"shop\"\n[server]\ncommand = [\"./run\"]\nroutes = [\"/api/*\"]\n";

/// A project with pages and a backend, for the edge at `url`.
fn project(url: &str) -> Project {
    let files = [
        ("devanture.toml", SERVER),
        ("www/index.html", "<h1>Hi</h1>"),
        ("dist/server/run", "#!/bin/sh\n"),
        ("dist/server/same.html", "<h1>Hi</h1>"),
        ("dist/server/node_modules/a/index.js", "go()"),
        ("dist/server/.git/HEAD", "ref"),
    ];
    let project = Project::new(&files).variable("DEVANTURE_URL", url).variable("DEVANTURE_TOKEN", "t0ken");
    fs::set_permissions(project.path("dist/server/run"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("node_modules/a/index.js", project.path("dist/server/main.js")).unwrap();
    project
}

#[test]
fn a_check_names_the_folder_whose_files_it_counted() {
    let project = project(&FakeEdge::start().url());
    assert!(project.run(&["check"]).stdout.contains("www holds 1 file, 11 B · server 4 files, 25 B"));
    fs::remove_dir_all(project.path("www")).unwrap();
    let ran = project.run(&["check"]);
    assert!(ran.stdout.contains("dist/server holds 4 files, 25 B"), "{ran:#?}");
}

#[test]
fn a_push_sends_the_backend_with_the_pages() {
    let edge = FakeEdge::start();
    let project = project(&edge.url());
    let ran = project.run(&["push"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(
        lines,
        [
            "  scan      1 file, 11 B · server 4 files, 25 B",
            "  diff      4 new, 0 already there",
            "  upload    4/4  25 B",
            "  switch    prod: it moves   (3 ms)",
        ]
    );
    let state = edge.state.lock().unwrap();
    let manifest = state.live.as_ref().unwrap();
    let server = manifest.server.as_ref().unwrap();
    let files: Vec<(&str, bool)> = server.files.iter().map(|(path, file)| (path.as_str(), file.run)).collect();
    assert_eq!(files, [("node_modules/a/index.js", false), ("run", true), ("same.html", false)]);
    assert_eq!(server.links["main.js"], "node_modules/a/index.js");
    // Equal bytes of pages and backend are sent once.
    assert_eq!((state.blobs.len(), manifest.files_count()), (3, 5));
    let id = manifest.id().to_string();
    drop(state);
    let dry = project.run(&["push", "--dry-run", "--json"]).json();
    assert_eq!((&dry["version"], &dry["files"]["total"], &dry["bytes"]["total"]), (&id.into(), &5.into(), &36.into()));
    assert_eq!(dry["server"], serde_json::json!({ "files": 4, "bytes": 25 }));
    assert_eq!(project.run(&["push", "--json"]).json()["files"], serde_json::json!({ "total": 5, "new": 0 }));
}

#[test]
fn the_backend_alone_is_pushed_where_nobody_names_pages() {
    let edge = FakeEdge::start();
    let project = project(&edge.url());
    fs::remove_dir_all(project.path("www")).unwrap();
    let ran = project.run(&["push"]);
    assert!(ran.stderr.starts_with("  scan      server 4 files, 25 B\n"), "{ran:#?}");
    assert!(edge.state.lock().unwrap().live.as_ref().unwrap().files.is_empty());
    assert_eq!(project.run(&["check"]).code, Some(0));
    project.run(&["push", "www", "--json"]).failed("missing_folder", 2);
    fs::remove_dir_all(project.path("dist")).unwrap();
    let error = project.run(&["push", "--json"]).failed("missing_folder", 2);
    assert!(error["message"].as_str().unwrap().contains("dist/server"), "{error}");
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("build the backend first") && !hint.contains("--only"), "there are no pages: {error}");
    project.file("www/index.html", "hi");
    let error = project.run(&["push", "--json"]).failed("missing_folder", 2);
    assert!(
        error["hint"].as_str().unwrap().contains("`devanture push --only front` pushes the pages alone"),
        "{error}"
    );
    let error = project.run(&["push", "--only", "backend", "--json"]).failed("missing_folder", 2);
    assert!(!error["hint"].as_str().unwrap().contains("--only"), "{error}");
}

#[test]
fn what_cannot_go_along_is_reported_before_anything_is_sent() {
    let edge = FakeEdge::start();
    let project = project(&edge.url());
    symlink("../../secret", project.path("dist/server/out")).unwrap();
    let error = project.run(&["push", "--json"]).failed("bad_bundle", 2);
    assert!(error["message"].as_str().unwrap().contains("dist/server/out: it is a link that leads out"), "{error}");
    fs::remove_file(project.path("dist/server/out")).unwrap();
    project.file("site.zip", "PK");
    let error = project.run(&["push", "site.zip", "--json"]).failed("usage", 2);
    assert!(error["message"].as_str().unwrap().contains("without the backend in `dist/server`"), "{error}");
    assert!(!edge.seen().iter().any(|line| line.starts_with("POST") || line.starts_with("PUT")));
}

#[test]
fn settings_in_the_folder_of_the_backend_are_doubted() {
    let edge = FakeEdge::start();
    let project = project(&edge.url());
    project.file("dist/server/.env", "DB_PASSWORD=x\n");
    project.file("dist/server/node_modules/a/.env", "A=b\n");
    let found = project.run(&["check", "--json"]).json();
    let files: Vec<&str> = found["findings"].as_array().unwrap().iter().filter_map(|f| f["file"].as_str()).collect();
    assert_eq!((files, &found["findings"][0]["severity"]), (vec!["dist/server/.env"], &"doubt".into()), "{found}");
    let ran = project.run(&["push"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("the backend holds .env, a file of settings"), "{ran:#?}");
}

#[test]
fn of_several_apps_one_is_meant() {
    let edge = FakeEdge::start();
    let toml = "[apps.shop]\nwww = \"www\"\n[apps.shop.server]\ncommand = [\"./run\"]\n[apps.mail.server]\n\
                dir = \"mail\"\ncommand = [\"./run\"]\nkind = \"worker\"\n";
    let project = project(&edge.url());
    project.file("devanture.toml", toml);
    project.file("mail/run", "mail");
    for command in ["push", "check", "routes", "status", "dev"] {
        let error = project.run(&[command, "--json"]).failed("usage", 2);
        assert!(error["message"].as_str().unwrap().contains("mail, shop"), "{command}: {error}");
    }
    let error = project.run(&["push", "--app", "mial", "--json"]).failed("usage", 2);
    assert!(error["hint"].as_str().unwrap().contains("--app mail"), "{error}");
    let dry = |app: &str| project.run(&["push", "--app", app, "--dry-run", "--json"]).json();
    assert_eq!((&dry("shop")["app"], &dry("shop")["files"]["total"]), (&"shop".into(), &5.into()));
    assert_eq!((&dry("mail")["app"], &dry("mail")["files"]["total"]), (&"mail".into(), &1.into()));
    let mut command = project.command(&["push", "--dry-run", "--json"]);
    let ran: cli_support::Ran = command.env("DEVANTURE_APP", "mail").output().unwrap().into();
    assert_eq!(ran.json()["version"], dry("mail")["version"]);
    assert_eq!(project.run(&["push", "--app", "shop"]).code, Some(0));
}

#[test]
fn a_procfile_says_how_the_backend_is_started() {
    let edge = FakeEdge::start();
    let project = project(&edge.url());
    project.file("devanture.toml", "app = \"shop\"\n[env.staging.server]\ninstances = 3\n");
    project.file("dist/server/Procfile", "web: ./run\nmailer: ./mail\nrelease: ./migrate\n");
    let ran = project.run(&["push"]);
    let note = "  note      dist/server/Procfile says how the backend is started; as nobody says a route to it, /api/* \
                leads there\n";
    assert!(ran.code == Some(0) && ran.stderr.contains(note), "{ran:#?}");
    let state = edge.state.lock().unwrap();
    let serving = state.live.as_ref().unwrap().serving_for("staging");
    let server = serving.server.as_ref().unwrap().resolved();
    let processes: Vec<String> = server.processes.iter().map(|p| format!("{}={}", p.name, p.instances)).collect();
    assert_eq!(processes, ["mailer=1", "web=3"]);
    assert_eq!(server.release.unwrap()[2], "exec ./migrate");
    drop(state);
    project.file("dist/server/Procfile", "web ./run\n");
    let error = project.run(&["push", "--json"]).failed("bad_config", 2);
    assert!(error["message"].as_str().unwrap().contains("dist/server/Procfile:1"), "{error}");
}

#[test]
fn every_instance_is_a_line_and_a_failure_ends_with_its_last_lines() {
    let step = |name: &str, state, detail: &str| {
        event("step", &Step { name: name.to_owned(), state, detail: detail.to_owned(), ms: 1 })
    };
    let problem = Problem::new(Code::ReleaseFailed, "The release command ended with code 1.")
        .hint("Mend it.")
        .with_lines(vec!["Error: no database\u{1b}[2J".to_owned()]);
    let events = vec![
        step("prepare", StepState::Started, ""),
        step("prepare", StepState::Started, "node-1/web.1 started"),
        step("prepare", StepState::Started, "node-1/web.1 healthy in 412 ms"),
        step("prepare", StepState::Done, "1 instance is healthy"),
        step("release", StepState::Started, ""),
        step("release", StepState::Failed, "The release command ended with code 1."),
        event("problem", &problem),
    ];
    let edge = FakeEdge::start_with(move |request, _| {
        request.target.ends_with("/finish").then(|| Reply::Events(events.clone()))
    });
    let project = project(&edge.url());
    let ran = project.run(&["push"]);
    let output: Vec<&str> = ran.stderr.lines().skip(3).collect();
    assert_eq!(
        output,
        [
            "  prepare   node-1/web.1 started",
            "  prepare   node-1/web.1 healthy in 412 ms",
            "  prepare   1 instance is healthy",
            "  release   The release command ended with code 1.",
            "error: The release command ended with code 1.",
            "    | Error: no database\\u{1b}[2J  [release_failed]",
            "hint: Mend it.",
            "Nothing is live yet; nothing has changed.",
        ],
        "{ran:#?}"
    );
    assert!(!ran.stdout.contains("ready"), "{ran:#?}");
    let error = project.run(&["push", "--json"]).failed("release_failed", 1);
    assert_eq!(error["lines"], serde_json::json!(["Error: no database\u{1b}[2J"]));
    assert_ne!(STILL_RUNNING, ran.last_line());
}

/// Two instances, and an instance kept for a rollback.
fn list() -> InstanceList {
    let one = |name: &str, state| InstanceStatus {
        name: name.to_owned(),
        node: "node-1".to_owned(),
        process: "web".parse().unwrap(),
        kind: Kind::Web,
        state,
        version: VersionId::from(Digest::of(b"1")),
        settings: 1,
        pid: None,
        memory_bytes: None,
        memory_bytes_max: None,
        processes: None,
        tmp_bytes: None,
        restarts: 0,
        since_ms: 0,
        detail: None,
    };
    let instances = vec![one("web.1", InstanceState::Healthy), one("web.2", InstanceState::Waiting)];
    let scale = [("web".parse().unwrap(), Instances::Count(2))].into();
    InstanceList { instances, scale, left_out: Vec::new() }
}

#[test]
fn instances_are_listed_scaled_and_restarted() {
    let edge =
        FakeEdge::start_with(|request, _| request.target.contains("/instances").then(|| Reply::json(200, &list())));
    let project = project(&edge.url());
    let ran = project.run(&["instances", "--env", "staging"]);
    assert!(ran.code == Some(0) && ran.stdout.starts_with("  web.1  node-1  healthy  since 1970"), "{ran:#?}");
    assert_eq!(project.run(&["instances", "--json"]).json(), serde_json::to_value(list()).unwrap());
    assert!(project.run(&["scale"]).stdout.contains("2 instances, 1 healthy  2 in all"));
    let ran = project.run(&["scale", "web=5", "mailer=default"]);
    assert!(ran.stdout.ends_with("  undo      devanture scale mailer=default web=2\n"), "{ran:#?}");
    let ran = project.run(&["scale", "web=5", "--dry-run"]);
    assert!(ran.stdout.starts_with("  would     scale prod to web=5\n"), "{ran:#?}");
    let ran = project.run(&["restart", "web"]);
    assert!(ran.stdout.contains("every instance of web in prod was restarted\n  web       2 on node-1\n"), "{ran:#?}");
    let dry = project.run(&["restart", "--dry-run", "--json"]).json();
    assert_eq!((&dry["dry_run"], &dry["counts"]["web"]["node-1"]), (&true.into(), &2.into()), "{dry}");
    let begin = "/v1/apps/shop/environments";
    let bodies: Vec<String> = {
        let state = edge.state.lock().unwrap();
        let body = |request: &cli_support::fake_edge::Request| String::from_utf8_lossy(&request.body).into_owned();
        state.requests.iter().map(|r| format!("{} {} {}", r.method, r.target, body(r))).collect()
    };
    assert_eq!(
        bodies,
        [
            format!("GET {begin}/staging/instances "),
            format!("GET {begin}/prod/instances "),
            format!("GET {begin}/prod/instances "),
            format!("GET {begin}/prod/instances "),
            format!("PATCH {begin}/prod/instances {{\"processes\":{{\"mailer\":null,\"web\":5}}}}"),
            format!("PATCH {begin}/prod/instances?dry_run=true {{\"processes\":{{\"web\":5}}}}"),
            format!("POST {begin}/prod/instances/restart {{\"process\":\"web\"}}"),
            format!("POST {begin}/prod/instances/restart?dry_run=true {{\"process\":null}}"),
        ]
    );
    // Without a terminal, zero instances are refused without a question.
    project.run(&["scale", "web=0", "--json"]).failed("usage", 2);
    assert_eq!(project.run(&["scale", "web=0", "--yes"]).code, Some(0));
    project.run(&["scale", "web=1", "web=2", "--json"]).failed("usage", 2);
    project.run(&["scale", "web", "--json"]).failed("usage", 2);
}

#[test]
fn nodes_that_a_change_of_instances_did_not_wait_for_are_named() {
    let edge = FakeEdge::start_with(|request, _| {
        let left_out = if request.method == "GET" { Vec::new() } else { vec!["edge-2".to_owned()] };
        let is_meant = request.target.contains("/instances");
        is_meant.then(|| Reply::json(200, &InstanceList { left_out, ..list() }))
    });
    let project = project(&edge.url());
    for arguments in [&["scale", "web=5"][..], &["restart"]] {
        let ran = project.run(arguments);
        assert!(ran.code == Some(0) && ran.stderr.contains("edge-2 is not waited for"), "{ran:#?}");
        let json = project.run(&[arguments, &["--json"]].concat()).json();
        assert_eq!(json["left_out"], serde_json::json!(["edge-2"]), "{json}");
    }
}

#[test]
fn what_instances_write_is_read_by_its_source() {
    let line = serde_json::json!({
        "at_ms": 43_384_000, "instance": "web.2", "node": "node-1", "stream": "stdout", "text": "up\u{1b}[31m"
    });
    let edge = FakeEdge::start_with(move |request, _| {
        request.target.contains("/logs").then(|| Reply::Events(vec![event("line", &line)]))
    });
    let project = project(&edge.url());
    let ran = project.run(&["logs", "--source", "web", "--lines", "5"]);
    assert_eq!(ran.stdout, "1970-01-01 12:03:04 UTC  node-1/web.2  up\\u{1b}[31m\n", "{ran:#?}");
    assert_eq!(project.run(&["logs", "--source", "all-instances", "--json"]).json()["instance"], "web.2");
    let logs = "GET /v1/apps/shop/environments/prod/logs?source";
    assert_eq!(edge.seen(), [format!("{logs}=web&lines=5"), format!("{logs}=instances")]);
    project.run(&["logs", "--source", "web", "--status", "404", "--json"]).failed("usage", 2);
    project.run(&["logs", "--source", "Web", "--json"]).failed("usage", 2);
}

#[test]
fn a_tail_shows_what_instances_write_among_requests() {
    let of_instance = serde_json::json!({
        "at_ms": 0, "instance": "web.1", "node": "node-1", "stream": "stdout", "text": "up"
    });
    let of_request = serde_json::json!({
        "at_ms": 0, "protocol": "h2", "host": "h", "method": "GET", "target": "/a", "status": 200, "bytes": 0, "us": 0
    });
    let edge = FakeEdge::start_with(move |request, _| {
        let is_of_instances = request.target.contains("source=instances");
        let line = if is_of_instances { &of_instance } else { &of_request };
        // The stream of the instances ends without ending the stream of requests.
        let reply = if is_of_instances { Reply::Events } else { Reply::Endless };
        request.target.contains("/logs").then(|| reply(vec![event("line", line)]))
    });
    let project = project(&edge.url());
    let mut child = project.command(&["logs", "--tail"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(2);
    let mut lines: Vec<String> = lines.map(|line| line.unwrap()).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    lines.sort();
    assert!(lines[0].contains("  200  GET     /a"), "{lines:?}");
    assert!(lines[1].ends_with("node-1/web.1  up"), "{lines:?}");
}

#[test]
fn the_file_with_the_apps_name_goes_before_dotenv() {
    let edge = FakeEdge::start();
    let project = Project::new(&[("devanture.toml", SERVER), ("dist/server/run", "run")]);
    project.file(".env", "DEVANTURE_URL=https://127.0.0.1:1\nDEVANTURE_TOKEN=of-all\n");
    project.file(".env.shop", &format!("DEVANTURE_URL={}\nDEVANTURE_TOKEN=t0ken\n", edge.url()));
    let ran = project.run(&["push", "--explain"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stderr.contains("from .env.shop") && !ran.stderr.contains("t0ken"), "{ran:#?}");
    assert!(edge.state.lock().unwrap().requests.iter().all(|r| r.headers["authorization"] == "Bearer t0ken"));
    // A token of the machine goes to no address named by the file.
    let mut command = project.command(&["push", "--json"]);
    let ran: cli_support::Ran = command.env("DEVANTURE_TOKEN", "secret").output().unwrap().into();
    let error = ran.failed("untrusted_source", 2);
    assert!(error["message"].as_str().unwrap().contains(".env.shop"), "{error}");
}

#[test]
fn a_route_to_the_backend_says_who_answers() {
    let project = project("https://127.0.0.1:1");
    let ran = project.run(&["routes", "/api/x"]);
    assert!(ran.stdout.contains("the pool server, by the route `/api/*`  devanture.toml:4"), "{ran:#?}");
    assert!(ran.stdout.contains("the instances of [server], which the edge runs"), "{ran:#?}");
    assert_eq!(project.run(&["routes", "/api/x", "--json"]).json()["answer"]["upstream"], "server");
    assert_eq!(project.run(&["routes"]).code, Some(0));
}
