//! Backends that fail to start: each failure is reported as such, and the live version keeps running.

use std::sync::Mutex;

use devanture_config::limits::Limits;
use devanture_control::runner::Error;
use serde_json::json;

use crate::runner::world::{World, eventually, limits, plain, plain_but, run};

/// Exits at once, three times; the fourth process stays, so that the number of exits is stable.
const ENDS_THREE_TIMES: &str = "#!/bin/sh
echo >> data/starts
test $(wc -l < data/starts) -gt 3 && exec sleep 1000
echo no >&2
exit 7
";
/// Maximum start timeout, doubled from try to try until a process was checked and has written its line.
const START_MS_MAX: u64 = 60_000;

/// Prepares a backend of one command beside a live backend; returns the error.
async fn failed(world: &World, command: &[&str], declared: serde_json::Value) -> Error {
    // The start timeout is long unless the test declares a timeout.
    let mut server = plain_but(json!({ "command": command, "instances": 1, "start_ms": 120_000 }));
    server.as_object_mut().unwrap().extend(declared.as_object().unwrap().clone());
    let files = [("plain.sh", "#!/bin/sh\nexit 0\n", false), ("run.sh", ENDS_THREE_TIMES, true)];
    let version = world.version_of("bad", &files, &server).await;
    world.prepare(&version).await.err().unwrap()
}

#[test]
fn why_a_backend_does_not_start_is_reported_and_what_was_live_goes_on() {
    run(async {
        // The live instances are not checked again: on a busy machine late answers would disturb the test.
        let world = World::start(Limits { instance_health_ms: 3_600_000, ..limits() }).await;
        let good = world.version("1", "one", &plain()).await;
        world.switch(&good).await;
        let before = world.pids();

        let error = failed(&world, &["./run.sh"], json!({})).await;
        assert!(matches!(&error, Error::CrashLoop { instance, times: 3, .. } if instance == "web.1"), "{error:?}");
        assert_eq!(error.to_string(), "web.1 ended 3 times before it was healthy; the last time it exited with code 7");
        assert_eq!(error.lines(), ["no", "no", "no"]);

        // The progress of a process in a short time depends on the machine: each try doubles the timeout.
        let mut start_ms = 700;
        let error = loop {
            let command = ["sh", "-c", "echo begun; exec sleep 1000"];
            let error = failed(&world, &command, json!({ "start_ms": start_ms })).await;
            assert!(matches!(error, Error::NotHealthy { .. }), "{error:?}");
            let was_asked = error.to_string().contains("does not listen on its port");
            if was_asked && !error.lines().is_empty() || start_ms > START_MS_MAX {
                break error;
            }
            start_ms *= 2;
        };
        assert!(matches!(error, Error::NotHealthy { after_ms, .. } if after_ms == start_ms), "{error:?}");
        assert!(error.to_string().contains("does not listen on its port"), "{error}");
        assert_eq!(error.lines(), ["begun"]);

        // Stays above the edge's limit and below the limits of Node.js until the excess is detected, however busy the
        // machine.
        let hog = "const all = []; setInterval(() => all.length < 200 && all.push(Buffer.alloc(1 << 20, 1)), 2);";
        let error = failed(&world, &["node", "-e", hog], json!({ "memory_mb": 128 })).await;
        assert!(error.to_string().ends_with("it took more memory than it may"), "{error}");

        let error = failed(&world, &["no-such-command"], json!({})).await;
        assert!(matches!(error, Error::Missing { .. }), "{error:?}");
        assert!(error.to_string().contains("there is no `no-such-command`"), "{error}");

        let error = failed(&world, &["./plain.sh"], json!({})).await;
        assert!(error.to_string().contains("lacks the run bit"), "{error}");

        eventually("nothing of them is left", || world.instances().len() == 2).await;
        assert_eq!(world.pids(), before);
        assert_eq!(world.json("/").await["build"], "one");
        let code = || std::fs::read_dir(world.path("run/code/shop/prod")).unwrap().count();
        eventually("their folders are gone", || code() == 1).await;
        world.end().await;
    });
}

#[test]
fn what_an_instance_lacks_that_takes_long_is_reported_once() {
    run(async {
        let world = World::start(limits()).await;
        let code = "let status = 500; process.on('SIGUSR2', () => { status = 200; });
            require('http').createServer((_, answer) => { answer.statusCode = status; answer.end(); })
            .listen(+process.env.PORT, '127.0.0.1');";
        let server = plain_but(json!({ "command": ["node", "-e", code], "instances": 1 }));
        let version = world.version_of("slow", &[("some", "file", false)], &server).await;
        let reported: Mutex<Vec<String>> = Mutex::default();
        // The process becomes healthy once the report exists, or never.
        let report = |line: &str| {
            reported.lock().unwrap().push(line.to_owned());
            if line.ends_with("is not healthy yet: it answered 500 to /healthz") {
                let pid = world.instances()[0].pid.unwrap();
                let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::USR2).unwrap();
            }
        };
        drop(world.runner.prepare(&world.wanted(&version, 0), &report).await.unwrap());
        let reported = reported.into_inner().unwrap();
        let count = |text: &str| reported.iter().filter(|line| line.contains(text)).count();
        assert_eq!((count("it answered 500"), count("healthy in")), (1, 1), "{reported:?}");
        world.end().await;
    });
}

#[test]
fn instances_that_are_healthy_and_end_soon_after_again_and_again_are_given_up() {
    run(async {
        let world = World::start(limits()).await;
        // The other instance never listens, so that the two are never healthy at the same time.
        let brief = "if (process.env.DEVANTURE_INSTANCE === 'web.2') setInterval(() => {}, 1000); else {
            require('http').createServer((_, answer) => answer.end()).listen(+process.env.PORT, '127.0.0.1');
            setTimeout(() => process.exit(5), 300); }";
        let server = plain_but(json!({ "command": ["node", "-e", brief], "instances": 2 }));
        let version = world.version_of("brief", &[("some", "file", false)], &server).await;
        let error = world.prepare(&version).await.err().unwrap();
        assert!(matches!(&error, Error::CrashLoop { instance, times: 3, .. } if instance == "web.1"), "{error:?}");
        world.end().await;
    });
}

#[test]
fn more_instances_than_may_be_are_refused() {
    run(async {
        let world = World::start(Limits { instances_max: 2, ..limits() }).await;
        let version = world.version("1", "one", &plain_but(json!({ "instances": 3 }))).await;
        let error = world.prepare(&version).await.err().unwrap();
        assert!(matches!(error, Error::TooMany { wanted: 3, max: 2, setting: "instances_max" }), "{error:?}");
        eventually("nothing runs", || world.instances().is_empty()).await;
        world.end().await;
    });
}

#[test]
fn a_release_runs_once_with_the_same_variables_and_its_failure_is_reported() {
    run(async {
        let world = World::start(limits()).await;
        world.set("prod", 0, "GAME_PASSWORD", "sesame");
        let reported: Mutex<Vec<String>> = Mutex::default();
        let report = |line: &str| reported.lock().unwrap().push(line.to_owned());
        let release = |command: &str| plain_but(json!({ "release": ["sh", "-c", command] }));
        let good = release("echo $GAME_PASSWORD $DEVANTURE_APP >> data/releases; echo migrated");
        let good = world.version("1", "one", &good).await;
        let took = world.runner.release(&world.wanted(&good, 0), &report).await.unwrap();
        assert!(took.is_some());
        assert_eq!(*reported.lock().unwrap(), ["migrated"]);
        assert_eq!(std::fs::read_to_string(world.path("run/data/shop/prod/releases")).unwrap(), "sesame shop\n");
        let bad = world.version("1", "one", &release("echo gone wrong >&2; exit 4")).await;
        let error = world.runner.release(&world.wanted(&bad, 0), &report).await.unwrap_err();
        assert_eq!(error.to_string(), "the command `release` exited with code 4");
        assert_eq!(error.lines(), ["gone wrong"]);
        let none = world.version("1", "one", &plain()).await;
        assert_eq!(world.runner.release(&world.wanted(&none, 0), &report).await.unwrap(), None);
        world.end().await;
    });
}

#[test]
fn a_release_whose_time_is_over_is_asked_to_end_before_it_is_killed() {
    run(async {
        let world = World::start(Limits { release_ms_max: 2_000, ..limits() }).await;
        // Some shells report on standard error which signal ended their children.
        let script = "exec 2>/dev/null; trap 'echo asked; exit' TERM; while :; do sleep 0.01; done";
        let late = world.version("1", "one", &plain_but(json!({ "release": ["sh", "-c", script] }))).await;
        let error = world.runner.release(&world.wanted(&late, 0), &|_line| {}).await.unwrap_err();
        assert_eq!(error.to_string(), "the command `release` was not done within 2000 ms");
        assert_eq!(error.lines(), ["asked"]);
        world.end().await;
    });
}
