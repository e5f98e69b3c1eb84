//! Environment of an instance, and restarts after an exit.

use devanture_config::api::InstanceState;
use serde_json::json;

use crate::runner::world::{World, eventually, is_root, is_there, limits, plain_but, run};

#[test]
fn instances_are_prepared_and_have_what_they_are_to_have() {
    run(async {
        let world = World::start(limits()).await;
        world.set("prod", 0, "GAME_PASSWORD", "sesame");
        world.set("prod", 0, "PORT", "1");
        let version = world.version("1", "one", &plain_but(json!({ "instances": 3 }))).await;
        let (held, reported) = world.prepare(&version).await.unwrap();
        // A slow instance is reported before, too.
        let mut names: Vec<&str> =
            reported.iter().filter_map(|line| Some(line.split_once(" healthy in ")?.0)).collect();
        names.sort_unstable();
        assert_eq!(names, ["node-1/web.1", "node-1/web.2", "node-1/web.3"], "{reported:?}");
        world.point(&version, 0).await;
        drop(held);
        // Without separate users, strangers' apps would run as the edge.
        assert_eq!(world.runner.check(false).is_ok(), is_root());
        let env = world.json("/env").await;
        let of = |name: &str| env[name].as_str().unwrap_or_default().to_owned();
        assert_eq!((of("GAME_PASSWORD"), of("DEVANTURE_APP")), ("sesame".to_owned(), "shop".to_owned()));
        assert_eq!(of("DEVANTURE_VERSION"), version.id.to_string());
        assert!(of("PORT").parse::<u16>().unwrap() > 1);
        for missing in ["CARGO_MANIFEST_DIR", "USER", "SOCKET"] {
            assert!(env.get(missing).is_none(), "{missing}");
        }
        // The data stays; the code is read-only.
        world.json("/keep").await;
        assert_eq!(world.json("/").await["kept"], true);
        if is_root() {
            assert_eq!(world.get("/spoil").await.1, "EACCES");
            assert!(world.json("/").await["uid"].as_u64().unwrap() >= 200_000);
        }
        world.end().await;
    });
}

#[test]
fn an_interpreter_begins_with_no_settings_that_the_application_wrote() {
    run(async {
        let world = World::start(limits()).await;
        world.switch(&world.version("1", "one", &plain_but(json!({ "instances": 1 }))).await).await;
        let nothing = json!([]);
        for _ in 0..2 {
            let seen = world.json("/settings").await;
            // Neither in the working folder or above, nor in the previous instance's home.
            assert!(!is_root() || seen["made"] == nothing, "{seen}");
            assert_eq!(seen["found"], nothing, "{seen}");
            let before = world.pids();
            world.get("/die").await;
            eventually("another one runs", || world.pids().len() == 1 && world.pids() != before).await;
        }
        world.end().await;
    });
}

#[test]
fn an_instance_that_dies_is_started_again_and_others_answer_meanwhile() {
    run(async {
        let world = World::start(limits()).await;
        let version = world.version("1", "one", &plain_but(json!({}))).await;
        world.switch(&version).await;
        let before = world.pids();
        assert_eq!(before.len(), 2);
        world.get("/die").await;
        for _ in 0..50 {
            assert_eq!(world.get("/").await.0, 200);
        }
        eventually("two are healthy again", || world.pids().len() == 2 && world.pids() != before).await;
        assert_eq!(world.pids().iter().filter(|pid| before.contains(pid)).count(), 1, "the other was left alone");
        let restarts: u64 = world.instances().iter().map(|one| one.restarts).sum();
        assert_eq!(restarts, 1);
        let mut gauges = devanture_base::telemetry::Gauges::default();
        world.runner.add_metrics(&mut gauges);
        assert!(gauges.render().contains(r#"state="healthy"} 2"#), "{}", gauges.render());
        world.end().await;
    });
}

#[test]
fn a_request_waits_for_the_only_instance_where_it_is_started_again() {
    run(async {
        let world = World::start(limits()).await;
        let version = world.version("1", "one", &plain_but(json!({ "instances": 1 }))).await;
        world.switch(&version).await;
        let before = world.pids();
        world.get("/die").await;
        eventually("it is gone", || !is_there(before[0])).await;
        assert_eq!(world.get("/").await.0, 200);
        world.end().await;
    });
}

#[test]
fn an_instance_that_answers_no_more_gets_no_requests_and_is_restarted() {
    run(async {
        for path in ["/close", "/sick"] {
            let world = World::start(limits()).await;
            let version = world.version("1", "one", &plain_but(json!({}))).await;
            world.switch(&version).await;
            let before = world.pids();
            world.get(path).await;
            eventually("one was restarted", || {
                let now = world.pids();
                now.len() == 2 && now != before
            })
            .await;
            let detail = world.lines("web").await;
            assert!(detail.iter().any(|line| line.contains("was not well 4 times in a row")), "{detail:?}");
            world.end().await;
        }
    });
}

#[test]
fn a_worker_runs_beside_and_gets_no_requests() {
    run(async {
        let world = World::start(limits()).await;
        let worker = json!({ "worker": { "command": ["sh", "-c", "echo works; exec sleep 1000"] } });
        let version = world.version("1", "one", &plain_but(json!({ "processes": worker }))).await;
        world.switch(&version).await;
        let names: Vec<String> = world.instances().into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["web.1", "web.2", "worker.1"]);
        assert_eq!(world.state("worker.1"), Some(InstanceState::Healthy));
        assert_eq!(world.lines("worker.1").await, ["works"]);
        for _ in 0..20 {
            assert!(world.json("/").await["instance"].as_str().unwrap().starts_with("web."));
        }
        world.end().await;
    });
}

#[test]
fn a_worker_behind_a_shell_ends_its_job_before_the_next_one_begins() {
    run(async {
        let world = World::start(limits()).await;
        let job = "trap 'sleep 0.3; echo done; exit' TERM; echo works; while :; do sleep 0.01; done";
        // Debian's shell exits on SIGTERM without waiting for the job.
        let script = format!("exec 2>/dev/null; sh -c \"{job}\"; true");
        let worker = json!({ "worker": { "command": ["sh", "-c", script] } });
        let version = world.version("1", "one", &plain_but(json!({ "instances": 1, "processes": worker }))).await;
        world.switch(&version).await;
        while world.lines("worker.1").await.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let worker = "worker".parse().unwrap();
        world.runner.restart(&world.app, "prod", Some(&worker), &|_line: &str| {}).await.unwrap();
        while world.lines("worker.1").await.len() < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(world.lines("worker.1").await, ["works", "done", "works"]);
        world.end().await;
        assert_eq!(world.lines("worker.1").await, ["works", "done", "works", "done"]);
    });
}

/// Backend that refuses requests for unknown hosts, as Django does; `WHERE` is the listening address.
const STRICT: &str = "
    require('http').createServer((question, answer) => {
      const { host, 'x-forwarded-host': asked, 'x-forwarded-proto': scheme } = question.headers;
      const is_visitor = host === 'shop.localhost' && asked === host && scheme === 'https';
      answer.statusCode = is_visitor || question.url !== '/healthz' ? 200 : 400;
      answer.end(process.env.HOST);
    }).listen(+process.env.PORT, WHERE);
    process.on('SIGTERM', () => process.exit(0));
";

#[test]
fn an_instance_is_asked_for_the_host_of_its_visitors_and_is_named_where_it_listens_on_all_addresses() {
    run(async {
        let world = World::start(limits()).await;
        for (place, open) in [("process.env.HOST", 0), ("undefined", 1)] {
            let declared = plain_but(json!({ "instances": 1, "warm_ms": 0, "start_ms": 10_000 }));
            let code = STRICT.replace("WHERE", place);
            world.switch(&world.version_of("1", &[("server.js", &code, false)], &declared).await).await;
            assert_eq!(world.get("/").await, (200, "127.0.0.1".to_owned()));
            eventually("what was before has ended", || world.instances().len() == 1).await;
            let found = world.runner.open_ports();
            assert_eq!(found.len(), open, "{place}: {found:?}");
            assert!(found.iter().all(|one| one.instance == "node-1/web.1" && one.place == "prod"), "{found:?}");
            let detail = world.instances()[0].detail.clone().unwrap_or_default();
            assert_eq!(detail.contains("all addresses"), open > 0, "{place}: {detail}");
        }
        world.end().await;
    });
}

#[test]
fn an_instance_may_listen_on_a_socket() {
    run(async {
        let world = World::start(limits()).await;
        let version = world.version("1", "one", &plain_but(json!({ "listen": "socket" }))).await;
        world.switch(&version).await;
        assert_eq!(world.json("/").await["build"], "one");
        assert!(world.json("/env").await.get("PORT").is_none());
        world.end().await;
    });
}

#[test]
fn the_end_kills_an_instance_that_ignores_sigterm() {
    run(async {
        let world = World::start(limits()).await;
        let deaf = json!({ "deaf": { "command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"] } });
        let declared = plain_but(json!({ "processes": deaf, "stop_ms": 200 }));
        let version = world.version("1", "one", &declared).await;
        world.switch(&version).await;
        // `end` checks that no process is left.
        world.end().await;
    });
}

#[test]
fn what_is_live_runs_again_when_the_edge_starts_again() {
    run(async {
        let mut world = World::start(limits()).await;
        let version = world.version("1", "one", &plain_but(json!({}))).await;
        world.switch(&version).await;
        world.json("/keep").await;
        world.end().await;
        assert_eq!(world.get("/").await.0, 503);
        world.start_again().await;
        // The first requests wait for the instance.
        assert_eq!(world.json("/").await["kept"], true);
        assert!(world.runner.forget(&world.app, None).await.is_err(), "it runs");
        world.end().await;
        world.runner.forget(&world.app, None).await.unwrap();
        assert!(!world.path("run/data/shop").exists() && world.lines("web").await.is_empty());
    });
}

#[test]
fn an_instance_that_leads_to_the_socket_of_somebody_else_gets_no_requests() {
    // Without separate users, instances run as the edge's user, who owns every file.
    if !is_root() {
        return;
    }
    run(async {
        let world = World::start(limits()).await;
        let socket = world.path("control.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let (hear, mut heard) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let hear = hear.clone();
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes).await.ok();
                    hear.send(bytes).ok();
                });
            }
        });
        let version = world.version("1", "one", &plain_but(json!({ "instances": 1, "listen": "socket" }))).await;
        world.switch(&version).await;
        let before = world.pids();
        assert_eq!(world.get(&format!("/swap?{}", socket.display())).await.0, 200);
        // The connection verified the socket's owner, and sent no bytes.
        assert_eq!(heard.recv().await, Some(Vec::new()));
        world.get("/").await;
        eventually("it is restarted", || world.pids().len() == 1 && world.pids() != before).await;
        assert_eq!(world.get("/").await.0, 200);
        while let Ok(bytes) = heard.try_recv() {
            assert_eq!(bytes, Vec::<u8>::new());
        }
        world.end().await;
    });
}
