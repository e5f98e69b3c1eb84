//! Backends pushed with a version and managed by the edge: push, switch, scale, restart, preview, retention.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::edge::{Edge, Ran, edge};
use crate::support::managed::{Project, eventually, healthy, instances, is_alive};

/// Returns the answer of `/api/who`, in its three words.
async fn who(edge: &Edge, host: &str) -> (String, String, u64) {
    let answer = edge.client(true).get(edge.url(host, "/api/who")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}\n{}", answer.text().await.unwrap(), edge.log());
    let text = answer.text().await.unwrap();
    let words: Vec<&str> = text.split(' ').collect();
    (words[0].to_owned(), words[1].to_owned(), words[2].parse().unwrap())
}

/// Returns all answering instances, after enough requests to meet each by chance.
async fn everybody(edge: &Edge, host: &str) -> BTreeSet<(String, String, u64)> {
    let mut all = BTreeSet::new();
    for _ in 0..64 {
        all.insert(who(edge, host).await);
    }
    all
}

fn names(all: &BTreeSet<(String, String, u64)>) -> Vec<String> {
    all.iter().map(|(name, instance, _)| format!("{name} {instance}")).collect()
}

fn pids(all: &BTreeSet<(String, String, u64)>) -> BTreeSet<u64> {
    all.iter().map(|(_, _, pid)| *pid).collect()
}

/// Sends requests until stopped; every answer must be 200.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<usize>>,
}

impl Load {
    fn start(edge: &Edge, host: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |number: usize| {
            let (client, url, stop) =
                (edge.client(number.is_multiple_of(2)), edge.url(host, "/api/slow?ms=5"), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get(&url).send().await.unwrap();
                    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
                    answer.text().await.unwrap();
                    count += 1;
                }
                count
            })
        };
        let clients = (0..4).map(client).collect();
        Self { stop, clients }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            assert!(client.await.unwrap() > 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_brings_the_backend_and_says_when_each_instance_is_ready() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "one", "instances = 3");
    let ran = project.run(&edge, &["push"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", edge.log());
    for instance in ["web.1", "web.2", "web.3"] {
        assert!(ran.stderr.contains(&format!("node-1/{instance} healthy in ")), "{ran:#?}");
    }
    let (_, after) = ran.stderr.rsplit_once("healthy in").unwrap();
    assert!(format!("{after}{}", ran.stdout).contains("ready     https://game.localhost"), "{ran:#?}");
    let first = everybody(&edge, "game.localhost").await;
    assert_eq!(names(&first), ["one web.1", "one web.2", "one web.3"]);
    assert_eq!(healthy(&edge, "game", 3).await, pids(&first));

    // The front alone: the instances stay.
    project.front("two");
    project.push(&edge);
    assert_eq!(everybody(&edge, "game.localhost").await, first);

    // The backend: new instances answer, and the previous instances stay for a rollback.
    project.backend("three");
    project.push(&edge);
    let third = everybody(&edge, "game.localhost").await;
    assert_eq!(names(&third), ["three web.1", "three web.2", "three web.3"]);
    assert!(pids(&third).is_disjoint(&pids(&first)));
    assert!(pids(&first).into_iter().all(is_alive));
    let warm = instances(&edge, "game", "prod").await.iter().filter(|one| one["state"] == "warm").count();
    assert_eq!(warm, 3);

    let ran = project.run(&edge, &["rollback", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(everybody(&edge, "game.localhost").await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_has_its_settings_and_nothing_of_the_edges_own() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "one", "persist = \"data\"");
    let version = project.push(&edge);
    let environment = async || -> serde_json::Value {
        let answer = edge.client(true).get(edge.url("game.localhost", "/api/environment")).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    };
    let found = environment().await;
    let names: Vec<&str> = found.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = vec![
        "DEVANTURE_APP",
        "DEVANTURE_DATA",
        "DEVANTURE_ENVIRONMENT",
        "DEVANTURE_INSTANCE",
        "DEVANTURE_NODE",
        "DEVANTURE_VERSION",
        "HOME",
        "HOST",
        "LANG",
        "PATH",
        "PORT",
        "TMPDIR",
    ];
    let marks = ["DEVANTURE_EDGE_ID", "DEVANTURE_INSTANCE_ID"];
    expected.extend(marks);
    expected.sort_unstable();
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(
        (found["DEVANTURE_VERSION"].as_str(), found["DEVANTURE_ENVIRONMENT"].as_str()),
        (Some(version.as_str()), Some("prod"))
    );

    // A setting and a secret start new instances, ready when the command ends.
    let before = who(&edge, "game.localhost").await;
    for arguments in [["env", "set", "GREETING=hello"].as_slice(), &["env", "set", "--secret", "KEY=quiet"]] {
        let ran = project.run(&edge, arguments);
        assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", edge.log());
    }
    let found = environment().await;
    assert_eq!((found["GREETING"].as_str(), found["KEY"].as_str()), (Some("hello"), Some("quiet")));
    assert_ne!(who(&edge, "game.localhost").await.2, before.2);

    // Persistent data survives a further release.
    let keep = async |text: &'static str| {
        let request = edge.client(true).post(edge.url("game.localhost", "/api/keep")).body(text);
        request.send().await.unwrap().text().await.unwrap()
    };
    assert_eq!(keep("a").await, "a");
    project.backend("two");
    project.push(&edge);
    assert_eq!(keep("b").await, "ab");
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_scaled_and_restarted_without_a_failed_request() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "one", "instances = 2");
    project.push(&edge);
    let load = Load::start(&edge, "game.localhost");
    let scaled = async |arguments: &[&str], count: usize| {
        let ran = project.run(&edge, arguments);
        assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", edge.log());
        healthy(&edge, "game", count).await
    };
    let two = scaled(&["restart"], 2).await;
    let four = scaled(&["scale", "web=4"], 4).await;
    assert!(two.is_subset(&four));
    assert_eq!(everybody(&edge, "game.localhost").await.len(), 4);
    let again = scaled(&["restart", "web"], 4).await;
    assert!(again.is_disjoint(&four), "{again:?} {four:?}");
    let one = scaled(&["scale", "web=1"], 1).await;
    assert!(one.is_subset(&again));
    // A scale setting survives a push, until reset.
    project.backend("two");
    project.push(&edge);
    healthy(&edge, "game", 1).await;
    scaled(&["scale", "web=default"], 2).await;
    load.end().await;
    for command in [&["scale", "mailer=1", "--json"][..], &["restart", "mailer", "--json"]] {
        let ran = project.run(&edge, command);
        assert_eq!(ran.problem(), "bad_request");
        assert!(ran.stderr.contains("it has web"), "{command:?}: {ran:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_ends_with_the_instances_that_began_it() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "one", "warm_ms = 0\ndrain_ms = 60_000");
    project.push(&edge);
    let before = who(&edge, "game.localhost").await;
    let (client, url) = (edge.client(true), edge.url("game.localhost", "/api/slow?ms=3000"));
    let slow = tokio::spawn(async move { client.get(url).send().await.unwrap().text().await.unwrap() });
    // The pool reports a running request.
    eventually("the slow request", async || {
        let (_, report) = edge.api("GET", "/v1/apps/game/environments/prod/upstreams", None).await;
        let text = report.to_string();
        text.contains("\"requests\":1").then_some(())
    })
    .await;
    project.backend("two");
    project.push(&edge);
    assert_eq!(who(&edge, "game.localhost").await.0, "two");
    assert_eq!(slow.await.unwrap(), format!("one web.1 {}", before.2));
    eventually("the end of the old instance", async || (!is_alive(before.2)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_apps_of_one_repository_are_a_web_one_and_a_worker() {
    let edge = edge().with_runner().start();
    let project = Project::new("shop", "one", "");
    project.write(
        "devanture.toml",
        "[apps.shop]\nwww = \"www\"\n[apps.shop.server]\ndir = \"out\"\ncommand = [\"node\", \"server.js\"]\n\
         routes = [\"/api/*\"]\n[apps.notifier.server]\ndir = \"notifier\"\ncommand = [\"node\", \"notify.js\"]\n\
         kind = \"worker\"\n",
    );
    project.write("notifier/notify.js", "console.log('notifying'); setInterval(() => {}, 1000);");
    for app in ["shop", "notifier"] {
        let ran = project.run(&edge, &["push", "--app", app, "--json"]);
        assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", edge.log());
    }
    assert_eq!(who(&edge, "shop.localhost").await.0, "one");
    let worker = &instances(&edge, "notifier", "prod").await[0];
    assert_eq!((worker["name"].as_str(), worker["kind"].as_str()), (Some("worker.1"), Some("worker")));
    eventually("the worker's line", async || {
        let ran = project.run(&edge, &["logs", "--app", "notifier", "--source", "worker"]);
        ran.stdout.contains("notifying").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_say_how_many_older_lines_of_instances_are_gone() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "one", "");
    // Three times the log limit of an environment.
    let flood = "for (let n = 0; n < 3000; n++) console.log(n + ' ' + 'x'.repeat(1000));";
    project.write("out/flood.js", flood);
    let server = std::fs::read_to_string(project.path().join("out/server.js")).unwrap();
    project.write("out/server.js", &format!("require('./flood.js');\n{server}"));
    let ran = project.run(&edge, &["push", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", edge.log());
    eventually("lines that are gone", async || {
        let ran = project.run(&edge, &["logs", "--source", "web", "--lines", "100000"]);
        let held = ran.stdout.lines().filter(|line| line.contains("xxxx")).count();
        let note = ran.stderr.lines().find(|line| line.contains(" older lines are gone: the edge holds lines"))?;
        let gone: usize = note.split(' ').find_map(|word| word.parse().ok()).unwrap();
        (held > 0 && gone > 1_000).then_some(())
    })
    .await;
    let few = project.run(&edge, &["logs", "--source", "web", "--lines", "5"]);
    assert!(!few.stderr.contains("gone"), "all that were asked for are there: {few:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_runs_once_before_the_switch_and_its_failure_stops_the_deploy() {
    let edge = edge().with_runner().start();
    let project =
        Project::new("game", "one", "instances = 2\npersist = \"data\"\nrelease = [\"node\", \"migrate.js\"]");
    let migrate = "require('fs').appendFileSync(process.env.DEVANTURE_DATA + '/kept', 'm'); console.log('migrated');";
    project.write("out/migrate.js", migrate);
    let ran = project.run(&edge, &["push", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", edge.log());
    let steps: Vec<String> =
        ran.json()["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap().to_owned()).collect();
    assert!(steps.iter().position(|name| name == "release") < steps.iter().position(|name| name == "switch"));
    let kept = async || {
        let request = edge.client(true).post(edge.url("game.localhost", "/api/keep"));
        request.send().await.unwrap().text().await.unwrap()
    };
    assert_eq!(kept().await, "m");
    // Neither a push without changes, nor a push with a failed condition, migrates.
    project.push(&edge);
    project.front("other");
    let ran = project.run(&edge, &["push", "--if-live", "0123456789", "--json"]);
    assert_eq!(ran.problem(), "live_moved", "{ran:#?}");
    assert_eq!(kept().await, "m");
    project.backend("two");
    project.write("out/migrate.js", "console.error('no such table: users'); process.exit(4);");
    let ran = project.fails(&edge, "release_failed");
    assert!(ran.stderr.contains("no such table: users") && ran.stderr.contains("exited with code 4"), "{ran:#?}");
    assert_eq!(ran.last_line(), "The previous version is still running.");
    assert_eq!(who(&edge, "game.localhost").await.0, "one");
    assert_eq!(kept().await, "m");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_changes_of_settings_at_once_leave_instances_with_what_is_set() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "one", "");
    project.push(&edge);
    for round in 0..4 {
        let changes = ["A", "B"].map(|name| {
            let value = format!("{name}{round}");
            let patch = serde_json::json!({ "set": { "WINNER": { "value": value } } });
            let edge = &edge;
            async move { edge.api("PATCH", "/v1/apps/game/environments/prod/settings", Some(patch)).await }
        });
        for (status, answer) in futures_util::future::join_all(changes).await {
            assert_eq!(status, 200, "{answer}");
        }
        let (_, body) = edge.api("GET", "/v1/apps/game/environments/prod/settings", None).await;
        let answer = edge.client(true).get(edge.url("game.localhost", "/api/environment")).send().await.unwrap();
        let runs: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(body["settings"][0]["value"], runs["WINNER"], "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_settings_during_a_push_counts_for_what_the_push_brings() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "one", "");
    project.push(&edge);
    // Slow, and reports its begin.
    project.backend_that(
        "two",
        "console.log('thinking'); setTimeout(() => server.listen(Number(process.env.PORT), '127.0.0.1'), 3000);",
    );
    let mut push = edge.command(project.path(), "game", &["push", "--json"]);
    let pushed = std::thread::spawn(move || push.output().unwrap());
    eventually("its beginning", async || {
        project.run(&edge, &["logs", "--source", "web"]).stdout.contains("thinking").then_some(())
    })
    .await;
    let ran = project.run(&edge, &["env", "set", "GREETING=hello"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let output = pushed.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer = edge.client(true).get(edge.url("game.localhost", "/api/environment")).send().await.unwrap();
    let runs: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(runs["GREETING"], "hello");
    assert_eq!(who(&edge, "game.localhost").await.0, "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_lost_its_backend_says_so_before_anything_changes() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "one", "");
    project.push(&edge);
    project.toml("");
    project.front("two");
    let ran = project.fails(&edge, "warnings");
    assert!(ran.stderr.contains("has a backend"), "{ran:#?}");
    assert_eq!(who(&edge, "game.localhost").await.0, "one");
    let ran = project.run(&edge, &["push", "--allow-warnings", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let answer = edge.client(true).get(edge.url("game.localhost", "/api/who")).send().await.unwrap();
    assert_eq!(answer.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_needs_settings_has_them_from_its_first_push_on() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "one", "");
    project.backend_that(
        "one",
        "if (!process.env.SECRET_KEY) { console.error('SECRET_KEY is not set'); process.exit(1); }
        server.listen(process.env.SOCKET || Number(process.env.PORT), '127.0.0.1');
        process.on('SIGTERM', () => process.exit(0));",
    );
    let set = ["env", "set", "SECRET_KEY=hush", "--secret"];
    let ran = project.run(&edge, &["env", "unset", "SECRET_KEY", "--json"]);
    assert_eq!(ran.problem(), "not_found", "nothing is set, so no app is made");
    let reader = edge.new_token(&["--name", "reader", "--app", "game", "--scope", "read"]);
    let mut command = edge.command(project.path(), "game", &[&set[..], &["--json"]].concat());
    let refused = Ran::of(command.env("DEVANTURE_TOKEN", reader).output().unwrap());
    assert_eq!(refused.problem(), "forbidden");
    let ran = project.run(&edge, &[&set[..], &["--dry-run"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(project.run(&edge, &["env", "list", "--json"]).problem(), "not_found", "that was a dry run");
    let ran = project.run(&edge, &set);
    assert!(ran.stdout.contains("will hold once something is live there"), "{ran:#?}");
    assert_eq!(project.run(&edge, &["env", "list"]).stdout.lines().next(), Some("  SECRET_KEY  secret  (not shown)"));
    project.push(&edge);
    assert_eq!(who(&edge, "game.localhost").await.0, "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_waits_no_longer_than_its_limit() {
    let edge = edge().with_runner().with_limit("purge_wait_ms_max", 0).start();
    let project = Project::new("game", "one", "stop_ms = 20_000");
    project
        .backend_that("one", "server.listen(Number(process.env.PORT), '127.0.0.1'); process.on('SIGTERM', () => {});");
    project.push(&edge);
    let gone = project.run(&edge, &["delete", "app", "--yes", "--purge", "--json"]);
    assert_eq!(gone.code, Some(0), "{gone:#?}\n{}", edge.log());
    let why = gone.json()["purged"]["remains"]["why"].clone();
    assert!(why.as_str().is_some_and(|why| why.contains("have not ended yet")), "{gone:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_waits_for_the_instances_and_frees_their_files() {
    let edge = edge().with_runner().start();
    let project = Project::new("game", "one", "persist = \"data\"");
    let ran = project.run(&edge, &["push", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", edge.log());
    let (sent, pid) = (ran.json()["bytes"]["total"].as_u64().unwrap(), who(&edge, "game.localhost").await.2);
    let gone = project.run(&edge, &["delete", "app", "--yes", "--purge", "--json"]);
    assert_eq!(gone.code, Some(0), "{gone:#?}\n{}", edge.log());
    let purged = &gone.json()["purged"];
    assert!(purged["bytes"].as_u64().unwrap() >= sent && purged["remains"].is_null(), "{purged}\n{}", edge.log());
    assert!(!is_alive(pid), "the answer comes after the last instance");
    // The name is free, and its next owner finds no data.
    let again = project.run(&edge, &["push", "--json"]);
    assert_eq!((again.code, &again.json()["files"]["new"]), (Some(0), &again.json()["files"]["total"]), "{again:#?}");
}
